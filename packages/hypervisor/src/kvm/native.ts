/**
 * The addon, as TypeScript sees it. It does ioctls, mappings, vCPU threads, eventfds and one epoll set for each VM, and
 * decides nothing: structures are encoded and decoded on this side.
 *
 * A failed system call throws an `Error` with `code` ('EPERM'), `errno` (positive) and `syscall` ('KVM_CREATE_VM' is told
 * as 'ioctl'); a wrong argument throws a `TypeError` or `RangeError`; a closed handle an `Error` with code 'EBADF'.
 * Handles close by `close()`, any number of times, in any order, and at the end of their environment.
 *
 * An ioctl's structure is at least as long as the size that the request number carries (`_IOC_SIZE`), its counted tail
 * (kvm_cpuid2, kvm_msrs, kvm_irq_routing …) and what the kernel says of kvm_xsave; a shorter one throws a `RangeError`.
 * So do requests that have a function of their own here (KVM_RUN, KVM_CREATE_VCPU, KVM_IRQFD …), that answer file
 * descriptors or that hand addresses of this process to the guest. Structures lie in memory that nobody else writes.
 */
export interface NativeKvm {
  /** Changes with this contract; see {@link NATIVE_CONTRACT}. */
  readonly contract: number;
  /** Opens `/dev/kvm` or what is said to be it. */
  openSystem(path: string): NativeSystem;
  /**
   * Gives the whole pages of ranges of private memory back to the kernel (MADV_DONTNEED, or a new mapping where a file is
   * mapped): they read as zero afterwards. Pages of a file are only filled with zeros once a process has made 16384 such
   * mappings.
   *
   * @param bytes whose memory: this addon's, or a WebAssembly memory's
   * @param ranges for each range where it begins in `bytes` and its length, in bytes; outside of them a `RangeError`
   * @param words how many numbers of `ranges` count, an even number
   * @param fileBytes how many of `bytes` {@link mapFile} mapped
   */
  readonly discard: (bytes: Uint8Array, ranges: Float64Array, words: number, fileBytes: number) => void;
  /**
   * Maps a regular file over the first of `bytes`, copy-on-write (MAP_PRIVATE), and reads what cannot be mapped because a
   * page of this host is larger than 4096 bytes. Bytes beyond the file's end stay as they are; those of its last page
   * become zero. From the first call on, the end of the process by SIGBUS because of a truncated file is explained on
   * standard error.
   *
   * @param bytes whose memory: this addon's, or a WebAssembly memory's; nobody uses it meanwhile
   * @param offset in the file, a multiple of 4096
   * @returns how many bytes are a mapping of the file
   */
  readonly mapFile: (bytes: Uint8Array, fd: number, offset: number) => number;
}

/** Version of {@link NativeKvm} that this package was written for. */
export const NATIVE_CONTRACT = 3;

/** A request's third argument: a number, or a structure that is read and written in place. */
export type IoctlArgument = number | Uint8Array;

/** Something that takes ioctls. */
export interface NativeHandle {
  /**
   * Answers the non-negative result. A vCPU refuses with EBUSY while its thread runs, since KVM would make it wait.
   *
   * @param argument a number for requests whose `_IOC_SIZE` is 0, a structure for all others
   * @param pointee what the structure has the user-space address of: KVM_GET_ONE_REG, KVM_SET_ONE_REG,
   *   KVM_GET_DEVICE_ATTR and its like, KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG. The field is 0 before and after. For a
   *   device attribute this side answers for the length.
   */
  ioctl(request: number, argument: IoctlArgument, pointee?: Uint8Array): number;
  close(): void;
}

/** /dev/kvm. */
export interface NativeSystem extends NativeHandle {
  /**
   * @param type argument of KVM_CREATE_VM (arm64: bits of the physical address space)
   * @param onEvents called on the event loop when {@link NativeVm.poll} has something to tell
   */
  createVm(type: number, onEvents: () => void): NativeVm;
}

/**
 * A VM's file descriptor, its memory and its epoll set. Closing it ends its vCPUs' threads and closes its vCPUs, devices
 * and events. They keep it alive; `onEvents` and buffers do not.
 */
export interface NativeVm extends NativeHandle {
  /**
   * Maps zeroed memory into this process and into the guest (KVM_SET_USER_MEMORY_REGION).
   *
   * @param slot number of the memory slot
   * @param guestAddress guest physical; a multiple of 4096, below 2^53
   * @param size bytes; a multiple of 4096
   * @param flags KVM_MEM_READONLY, KVM_MEM_LOG_DIRTY_PAGES
   * @returns the bytes; detached (length 0) when the slot or the VM is gone
   */
  mapMemory(slot: number, guestAddress: number, size: number, flags: number): ArrayBuffer;
  /** Changes KVM_MEM_LOG_DIRTY_PAGES of a slot. vCPUs may run. */
  setMemoryFlags(slot: number, flags: number): void;
  /** Takes the slot from the guest, detaches the buffer and unmaps it. Only while no vCPU runs. */
  unmapMemory(slot: number): void;

  createVcpu(id: number): NativeVcpu;
  /** KVM_CREATE_DEVICE. */
  createDevice(type: number): NativeHandle;

  /**
   * Takes stores as an eventfd in the epoll set (KVM_IOEVENTFD).
   *
   * @param flags KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_PIO
   * @param match low and high word of the value, with DATAMATCH
   */
  createIoeventfd(
    address: number,
    length: number,
    flags: number,
    matchLow: number,
    matchHigh: number,
  ): NativeEvent;

  /** Raises an interrupt through an eventfd (KVM_IRQFD); with `resample` its end comes through the epoll set. */
  createIrqfd(gsi: number, resample: boolean): NativeIrqfd;

  /**
   * Takes what is ready out of the epoll set without waiting: the `token`s of eventfds that were written since, each
   * once, and of vCPUs that have something to tell ({@link NativeVcpu.state}). Hot: no allocation.
   *
   * @returns how many tokens were stored; call again when `tokens` was filled
   */
  poll(tokens: Int32Array): number;

  /**
   * Waits by polling for at most `microseconds` until {@link poll} would have something.
   *
   * @returns whether it has
   */
  spin(microseconds: number): boolean;

  /** While referenced, the VM keeps itself and the event loop alive. Initially it does not. */
  ref(): void;
  unref(): void;
}

/** An eventfd of the VM's epoll set. */
export interface NativeEvent {
  /** What {@link NativeVm.poll} answers for it; never reused within a VM. */
  readonly token: number;
  close(): void;
}

/** `token` is -1 without resampling. */
export interface NativeIrqfd extends NativeEvent {
  /** Writes the eventfd. Hot. */
  trigger(): void;
}

/** What the thread of a vCPU is doing: values of {@link NativeVcpu.state}. */
export const VCPU_THREAD = {
  /** There is no thread. */
  NONE: 0,
  /** In the guest, or on the way into it. */
  RUNNING: 1,
  /** KVM_RUN came back with 0; `run` holds the exit; the thread waits for {@link NativeVcpu.resume}. */
  EXIT: 2,
  /** KVM_RUN came back with EINTR after a kick; waits for {@link NativeVcpu.resume}. */
  INTERRUPTED: 3,
  /** KVM_RUN failed with {@link NativeVcpu.errno}; waits for `resume` or `stop`. */
  FAILED: 4,
  /** The thread has ended; {@link NativeVcpu.join} it. */
  ENDED: 5,
} as const;

/** A vCPU's file descriptor, its `kvm_run` and its thread. */
export interface NativeVcpu extends NativeHandle {
  /** Token under which {@link NativeVm.poll} tells of the thread. */
  readonly token: number;
  /** The shared mapping: `kvm_run`, and the page of coalesced writes. Detached after `close`. */
  readonly runPage: ArrayBuffer;

  /**
   * KVM_RUN on the calling thread. Hot.
   *
   * @returns 0, or the errno as a positive number. EINTR: `kick()` was called before or meanwhile, which clears it; after
   *   a signal that was not ours it goes on by itself. ECANCELED once the environment is ending.
   */
  run(): number;

  /**
   * Starts a thread that runs the guest. Each time it stops it changes its state, adds the token to the epoll set and
   * waits. EBUSY if there is a thread already.
   *
   * @param spinMicroseconds how long it polls for `resume` before it sleeps
   */
  start(spinMicroseconds: number): void;
  /** One of {@link VCPU_THREAD}. Hot. */
  state(): number;
  /** What KVM_RUN failed with. */
  errno(): number;
  /** Lets the waiting thread enter the guest again; EBUSY if it is not waiting, ESRCH without a thread. Hot. */
  resume(): void;
  /**
   * Sets `immediate_exit` and signals the thread that is in KVM_RUN, so that it comes back with EINTR. Nothing is lost: a
   * kick before entering counts. Callable from any thread's view of the owner, and during {@link run} by a signal.
   */
  kick(): void;
  /** Asks the thread to end, from whatever state; the token tells when it has ended. Harmless without a thread. */
  stop(): void;
  /** After ENDED: takes the thread away; the state is NONE then. */
  join(): void;
}
