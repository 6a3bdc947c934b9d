import type { Vcpu } from './vcpu.ts';

/** A range of guest physical memory and the bytes behind it. */
export interface GuestMemoryRegion {
  /** Guest physical base, a multiple of 4096. */
  readonly guestAddress: number;
  /** The region's memory: an external mapping (KVM) or a part of the engine's shared memory. */
  readonly bytes: Uint8Array;
  /** The guest's stores fault out as MMIO writes. */
  readonly readOnly: boolean;
}

/** A file whose contents guest memory begins with. */
export interface MemoryFile {
  /** Descriptor of a regular file, open for reading; it can be closed once the memory is mapped. */
  readonly fd: number;
  /** Where in the file the region's first byte is, in bytes: a multiple of 4096. */
  readonly offset: number;
}

/** How guest memory is mapped. */
export interface MapMemoryOptions {
  /** The guest's stores fault out as MMIO writes. Default false. */
  readonly readOnly?: boolean;
  /**
   * Copy-on-write: the memory reads as the file from its offset on, and as zero beyond the file's end; nothing that is
   * stored reaches the file. Where the backend can map files, pages are read when they are first used, and the file has
   * to stay as it is until the memory is unmapped and the VM disposed of. A page that nobody has stored to may show a
   * change of the file. Truncating it takes the pages beyond its new end away: the process ends by SIGBUS as soon as it
   * uses one, with a line on its standard error that names the file, and a guest of KVM that uses one has an
   * `internalError` exit (EFAULT). Deleting the file, or putting another in its place, does no harm.
   */
  readonly file?: MemoryFile | undefined;
}

/** A guest store that the hypervisor takes without an exit: KVM's ioeventfd and its software twin. */
export interface HypervisorDoorbell extends Disposable {
  readonly address: number;
}

/** An input of the interrupt controller that {@link Vm.createInterrupt} made. */
export interface HypervisorInterrupt extends Disposable {
  readonly gsi: number;
  trigger(): void;
}

export interface VmConfig {
  /** Number of vCPUs that will be created. */
  readonly vcpus: number;
  /** Upper bound of the memory that will be mapped, in bytes. */
  readonly maxMemory: number;
  /**
   * `host`: the guest's counter follows the host's clock. `instructions`: it advances with the number of
   * executed instructions, so that a run is reproducible (software hypervisor only). Default `host`.
   */
  readonly clock?: 'host' | 'instructions';
}

/** One virtual machine: memory, vCPUs, interrupt controller, doorbells. */
export interface Vm<V extends Vcpu = Vcpu> extends AsyncDisposable {
  /** Regions mapped so far, by address. */
  readonly regions: readonly GuestMemoryRegion[];

  /** Largest size of one region in bytes, a multiple of 4096; more memory takes several regions side by side. */
  readonly maxRegionSize: number;

  /**
   * Allocates and maps guest memory: zeroed, or what a file has.
   *
   * @param guestAddress multiple of 4096
   * @param size bytes, multiple of 4096
   * @throws HypervisorError `OVERLAP`, `OUT_OF_MEMORY`, `INVALID_ARGUMENT`; with a file `UNSUPPORTED` where there are none
   *   (a browser) and `SYSTEM` when it cannot be mapped or read
   */
  mapMemory(guestAddress: number, size: number, options?: MapMemoryOptions): GuestMemoryRegion;
  unmapMemory(region: GuestMemoryRegion): void;

  /** Whether {@link discardMemory} gives memory back to the host here. */
  readonly releasesMemory: boolean;

  /**
   * Gives pages of guest memory back to the host while they stay mapped: each reads as zero afterwards and takes memory
   * again when it is next stored to. Where {@link releasesMemory} is false, and for the part of a range that fills no
   * whole page of the host, contents stay as they were. vCPUs may run; what they store meanwhile may be lost.
   *
   * @param ranges for each range its guest address and its length in bytes: multiples of 4096, inside one region that is
   *   not read-only
   * @param words how many numbers of `ranges` count, an even number; default all
   * @throws HypervisorError `INVALID_ARGUMENT` (nothing was given back then), `SYSTEM`
   */
  discardMemory(ranges: Float64Array, words?: number): void;

  /** Whether the dirty log is on. */
  readonly dirtyLog: boolean;

  /**
   * Begins to note which pages the vCPUs, and what the hypervisor does for them, store to. Nothing is noted yet when this
   * returns. vCPUs may run. What the host writes is not in this log: `GuestMemory` of `@vmm/vm-memory` notes it, and
   * `DirtyBitmap.merge()` there adds what {@link takeDirtyPages} answers. {@link discardMemory} is of the host, too.
   *
   * @throws HypervisorError `WRONG_STATE` when it is on, `SYSTEM`
   */
  startDirtyLog(): void;

  /**
   * Takes what the log has of a region, and clears that. vCPUs may run: a store that this call does not tell of is told
   * by the next one, and the bytes of every page that is told are there to be read. A page that was not changed may be
   * told all the same. Memory that was mapped while the log was on begins with nothing noted.
   *
   * @returns page `n` of 4096 bytes of the region is bit `n % 32` of word `n / 32`
   * @throws HypervisorError `WRONG_STATE` when the log is off, `INVALID_ARGUMENT` for a region that is not mapped, `SYSTEM`,
   *   `ENGINE_FAULT` when a vCPU thread of the software hypervisor does not obey
   */
  takeDirtyPages(region: GuestMemoryRegion): Uint32Array;

  /** Ends the log and forgets what it has. Nothing happens when it is off. */
  stopDirtyLog(): void;

  createVcpu(id: number): V;

  /**
   * An interrupt input that is raised without the vCPUs coming back (KVM's irqfd and its software twin). The
   * interrupt controller must exist. Without `onResample` each {@link HypervisorInterrupt.trigger} is an edge. With it
   * the input is level-triggered: it stays high from `trigger` until the guest has handled the interrupt, and then
   * `onResample` runs on the owner's event loop, for the device to trigger again if it still has a reason.
   *
   * @param gsi global system interrupt: x86 GSI, arm64 SPI number (INTID - 32)
   * @throws HypervisorError `UNSUPPORTED` where there is no resampling, `WRONG_STATE` without an interrupt controller,
   *   `INVALID_ARGUMENT`
   */
  createInterrupt(gsi: number, onResample?: () => void): HypervisorInterrupt;

  /**
   * Takes guest stores of `length` bytes to `address` without an exit. `onRing` runs on the owner's event
   * loop, once for any number of stores since it last ran. With `match`, only stores of that value ring;
   * others exit as MMIO.
   *
   * @param address guest physical, a multiple of `length`
   */
  createDoorbell(
    address: number,
    length: 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell;

  /**
   * Stores to this range are queued and reach `onWrite` in order, before any later exit of any vCPU is
   * handled and at latest soon after, without stopping the vCPU (KVM_CAP_COALESCED_MMIO).
   */
  coalesceWrites(
    address: number,
    length: number,
    onWrite: (address: number, length: number, value: number) => void,
  ): Disposable;

  /**
   * Loads of 1, 2 or 4 bytes from `address` are answered with `value`, cut to their width, and do not exit (a backend without the
   * facility ignores this, and the load exits as usual). Update it with {@link ReadShadow.set}.
   */
  shadowRead(address: number, value: number): ReadShadow;
}

/** A register whose reads the hypervisor answers by itself. */
export interface ReadShadow extends Disposable {
  set(value: number): void;
}
