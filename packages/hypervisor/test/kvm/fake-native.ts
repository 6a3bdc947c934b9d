import type {
  IoctlArgument,
  NativeEvent,
  NativeHandle,
  NativeIrqfd,
  NativeKvm,
  NativeSystem,
  NativeVcpu,
  NativeVm,
} from '../../src/kvm/native.ts';
import { NATIVE_CONTRACT, VCPU_THREAD } from '../../src/kvm/native.ts';
import {
  KVM_CAP,
  KVM_CHECK_EXTENSION,
  KVM_GET_API_VERSION,
  RING_ENTRIES,
  RING_ENTRY_SIZE,
  RUN_EXIT_REASON,
} from '../../src/kvm/uapi.ts';

/** A page of the fake's `kvm_run` mapping: kvm_run, port I/O data, coalesced writes. */
export const PAGE = 4096;
const RING_PAGE = 2;

const EINTR = 4;

/** The one descriptor that the fake has not. */
export const BAD_FD = 999;

/** What a vCPU does when it is entered: writes `kvm_run` and answers an errno. */
export type Step = (vcpu: FakeVcpu) => number | undefined;

/** An error as the addon throws it. */
export function systemCallError(code: string): Error {
  return Object.assign(new Error(`${code}: ioctl`), { code, errno: 1, syscall: 'ioctl' });
}

/** Answers to ioctls; undefined: 0. Throw {@link systemCallError} to fail. */
export type IoctlHandler = (request: number, argument: IoctlArgument) => number | undefined;

class FakeHandle implements NativeHandle {
  closed = false;
  onIoctl: IoctlHandler = () => undefined;

  ioctl(request: number, argument: IoctlArgument): number {
    if (this.closed) throw systemCallError('EBADF');
    return this.onIoctl(request, argument) ?? 0;
  }

  close(): void {
    this.closed = true;
  }
}

/** An addon without KVM: capabilities and answers are the test's, and vCPUs do what the test says step by step. */
export class FakeKvm implements NativeKvm {
  readonly contract: number = NATIVE_CONTRACT;
  readonly systems: FakeSystem[] = [];
  /** What opening the device fails with. */
  openError: Error | undefined;
  apiVersion = 12;
  readonly capabilities = new Map<number, number>([
    ...Object.values(KVM_CAP).map((number): [number, number] => [number, 1]),
    [KVM_CAP.COALESCED_MMIO, RING_PAGE],
    [KVM_CAP.MAX_VCPUS, 128],
    [KVM_CAP.NR_MEMSLOTS, 32],
    [KVM_CAP.XSAVE2, PAGE],
  ]);
  /** What vCPUs do, one after the other; with nothing left they compute until they are kicked. */
  steps: Step[] = [];

  openSystem(): FakeSystem {
    if (this.openError !== undefined) throw this.openError;
    const system = new FakeSystem(this);
    this.systems.push(system);
    return system;
  }

  discard(bytes: Uint8Array, ranges: Float64Array, words: number): void {
    for (let i = 0; i < words; i += 2) bytes.fill(0, ranges[i], ranges[i]! + ranges[i + 1]!);
  }

  mapFile(bytes: Uint8Array, fd: number): number {
    if (fd === BAD_FD) throw systemCallError('EBADF');
    bytes.fill(1);
    return bytes.length;
  }

  get vm(): FakeVm {
    return this.systems.at(-1)!.vms.at(-1)!;
  }
}

export class FakeSystem extends FakeHandle implements NativeSystem {
  readonly vms: FakeVm[] = [];
  readonly kvm: FakeKvm;

  constructor(kvm: FakeKvm) {
    super();
    this.kvm = kvm;
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    if (request === KVM_GET_API_VERSION) return this.kvm.apiVersion;
    if (request === KVM_CHECK_EXTENSION) return this.kvm.capabilities.get(Number(argument)) ?? 0;
    return super.ioctl(request, argument);
  }

  createVm(_type: number, onEvents: () => void): FakeVm {
    const vm = new FakeVm(this, onEvents);
    this.vms.push(vm);
    return vm;
  }
}

export class FakeEvent implements NativeIrqfd {
  readonly token: number;
  readonly #vm: FakeVm;
  triggered = 0;
  closed = false;

  constructor(vm: FakeVm, token: number) {
    this.#vm = vm;
    this.token = token;
  }

  /** As the guest or the kernel does. */
  ring(): void {
    this.#vm.tell(this.token);
  }

  trigger(): void {
    if (this.#vm.closed) throw systemCallError('EBADF');
    this.triggered++;
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeVm extends FakeHandle implements NativeVm {
  readonly vcpus: FakeVcpu[] = [];
  readonly events: FakeEvent[] = [];
  readonly irqfds: FakeEvent[] = [];
  readonly unmapped: number[] = [];
  readonly memoryFlags = new Map<number, number>();
  /** The mapping of vCPU 0, in which the ring is looked for. */
  readonly ringPage = new ArrayBuffer(3 * PAGE);
  referenced = false;
  /** Tokens are told in the opposite order. */
  reversed = false;
  /** What creating an eventfd fails with. */
  eventError: Error | undefined;
  readonly system: FakeSystem;
  readonly #onEvents: () => void;
  #ready: number[] = [];
  #scheduled = false;
  #nextToken = 0;

  constructor(system: FakeSystem, onEvents: () => void) {
    super();
    this.system = system;
    this.#onEvents = onEvents;
  }

  override ioctl(request: number, argument: IoctlArgument): number {
    if (request === KVM_CHECK_EXTENSION) return this.system.ioctl(request, argument);
    return super.ioctl(request, argument);
  }

  token(): number {
    return this.#nextToken++;
  }

  mapMemory(_slot: number, _guestAddress: number, size: number): ArrayBuffer {
    return new ArrayBuffer(size);
  }

  setMemoryFlags(slot: number, flags: number): void {
    this.memoryFlags.set(slot, flags);
  }

  unmapMemory(slot: number): void {
    this.unmapped.push(slot);
  }

  createVcpu(id: number): FakeVcpu {
    const vcpu = new FakeVcpu(this, id);
    this.vcpus.push(vcpu);
    return vcpu;
  }

  createDevice(): NativeHandle {
    return new FakeHandle();
  }

  createIoeventfd(): NativeEvent {
    if (this.eventError !== undefined) throw this.eventError;
    const event = new FakeEvent(this, this.token());
    this.events.push(event);
    return event;
  }

  createIrqfd(_gsi: number, resample: boolean): NativeIrqfd {
    if (this.eventError !== undefined) throw this.eventError;
    const event = new FakeEvent(this, resample ? this.token() : -1);
    this.irqfds.push(event);
    return event;
  }

  /** Makes a token ready, which the event loop learns of later. */
  tell(token: number): void {
    if (!this.#ready.includes(token)) this.#ready.push(token);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#ready.length > 0 && !this.closed) this.#onEvents();
    });
  }

  poll(tokens: Int32Array): number {
    if (this.closed) throw systemCallError('EBADF');
    const taken = this.#ready.splice(0, tokens.length);
    if (this.reversed) taken.reverse();
    tokens.set(taken);
    return taken.length;
  }

  spin(): boolean {
    return this.#ready.length > 0;
  }

  ref(): void {
    this.referenced = true;
  }

  unref(): void {
    this.referenced = false;
  }

  /** Queues a store as the kernel does; false when the ring is full. */
  coalesce(address: number, length: number, low: number, high = 0, pio = 0): boolean {
    const words = new Uint32Array(this.ringPage, RING_PAGE * PAGE, PAGE / 4);
    const entries = Math.floor((PAGE - RING_ENTRIES) / RING_ENTRY_SIZE);
    const last = words[1]!;
    const next = (last + 1) % entries;
    if (next === words[0]) return false;
    const entry = (RING_ENTRIES + last * RING_ENTRY_SIZE) / 4;
    words.set([address >>> 0, Math.floor(address / 2 ** 32), length, pio, low, high], entry);
    words[1] = next;
    return true;
  }
}

export class FakeVcpu extends FakeHandle implements NativeVcpu {
  readonly token: number;
  readonly runPage: ArrayBuffer;
  readonly view: DataView;
  readonly vm: FakeVm;
  readonly id: number;
  /** Times that the guest was entered. */
  entered = 0;
  #state: number = VCPU_THREAD.NONE;
  #errno = 0;
  #kicked = false;
  #stopping = false;

  constructor(vm: FakeVm, id: number) {
    super();
    this.vm = vm;
    this.id = id;
    this.token = vm.token();
    this.runPage = id === 0 ? vm.ringPage : new ArrayBuffer(3 * PAGE);
    this.view = new DataView(this.runPage);
  }

  #enter(): number | undefined {
    this.entered++;
    if (this.#kicked) {
      this.#kicked = false;
      return EINTR;
    }
    const step = this.vm.system.kvm.steps.shift();
    return step === undefined ? undefined : (step(this) ?? 0);
  }

  run(): number {
    const errno = this.#enter();
    if (errno === undefined) throw new Error('the guest would compute for ever');
    return errno;
  }

  start(): void {
    this.#stopping = false;
    this.resume();
  }

  /** Enters the guest on what stands for a thread. */
  resume(): void {
    this.#state = VCPU_THREAD.RUNNING;
    setImmediate(() => this.#proceed());
  }

  #proceed(): void {
    if (this.#state !== VCPU_THREAD.RUNNING) return;
    if (this.#stopping) {
      this.#come(VCPU_THREAD.ENDED);
      return;
    }
    const errno = this.#enter();
    if (errno === undefined) return;
    this.#errno = errno;
    const { EXIT, INTERRUPTED, FAILED } = VCPU_THREAD;
    this.#come(errno === 0 ? EXIT : errno === EINTR ? INTERRUPTED : FAILED);
  }

  #come(state: number): void {
    this.#state = state;
    this.vm.tell(this.token);
  }

  state(): number {
    return this.#state;
  }

  errno(): number {
    return this.#errno;
  }

  kick(): void {
    this.#kicked = true;
    if (this.#state === VCPU_THREAD.RUNNING) setImmediate(() => this.#proceed());
  }

  stop(): void {
    this.#stopping = true;
    if (this.#state === VCPU_THREAD.RUNNING) setImmediate(() => this.#proceed());
    else this.#come(VCPU_THREAD.ENDED);
  }

  join(): void {
    this.#state = VCPU_THREAD.NONE;
  }

  /** Writes the reason of an exit. */
  exit(reason: number): void {
    this.view.setUint32(RUN_EXIT_REASON, reason, true);
  }
}
