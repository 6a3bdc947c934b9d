import { discardRanges } from '../discard.ts';
import { HypervisorError } from '../errors.ts';
import { checkRange, checkUnsigned, hex } from '../validate.ts';
import type {
  GuestMemoryRegion,
  HypervisorDoorbell,
  HypervisorInterrupt,
  MapMemoryOptions,
  ReadShadow,
  Vm,
  VmConfig,
} from '../vm.ts';
import { CoalescedWrites } from './coalesced.ts';
import { Events } from './doorbells.ts';
import type { KvmHost } from './host.ts';
import { MemorySlots } from './memory.ts';
import type { IoctlArgument, NativeHandle, NativeVcpu, NativeVm } from './native.ts';
import { EventPump } from './pump.ts';
import { SPIN_LIMIT_MICROSECONDS } from './spin.ts';
import type { KvmSystem } from './system.ts';
import { system, systemError } from './system-error.ts';
import type { KvmVcpu, VcpuOwner } from './vcpu.ts';
import { wrongState } from './vcpu.ts';

/** Memory slots that are assumed where KVM does not tell (api.rst 4.4). */
const DEFAULT_SLOTS = 32;

/** VMs with threads: the event loop alone would not keep them from being collected. */
const RUNNING = new Set<object>();

/** What a VM is made with. */
export interface KvmVmContext {
  readonly host: KvmHost;
  readonly system: KvmSystem;
  readonly config: VmConfig;
  /** Argument of KVM_CREATE_VM. */
  readonly type: number;
}

/**
 * The part of a KVM virtual machine that no architecture changes: memory, doorbells, coalesced writes, interrupts by
 * eventfd, vCPU threads, disposal. An architecture adds its interrupt controller and makes its vCPUs.
 */
export abstract class KvmVm<V extends KvmVcpu> implements Vm<V> {
  readonly maxRegionSize: number;
  readonly releasesMemory: boolean = true;
  protected readonly native: NativeVm;
  protected readonly system: KvmSystem;
  /** Number of vCPUs that the VM is made for. */
  protected readonly vcpuCount: number;
  /** What {@link KvmVcpu}s need of the VM. */
  readonly #owner: VcpuOwner;
  readonly #pump: EventPump;
  readonly #memory: MemorySlots;
  readonly #events: Events;
  readonly #coalesced: CoalescedWrites;
  readonly #vcpus: (V | undefined)[];
  readonly #shadows = new Set<number>();
  #threads = 0;
  #disposed: Promise<void> | undefined;

  /** @throws HypervisorError `SYSTEM`, `OUT_OF_MEMORY` */
  constructor({ host, system: kvm, config, type }: KvmVmContext) {
    this.system = kvm;
    this.vcpuCount = config.vcpus;
    this.maxRegionSize = host.maxRegionSize;
    const events = new WeakTurn();
    this.native = system('creating a VM', () => kvm.native.createVm(type, events.turn));
    // vCPUs and the owner each want a core; with fewer, polling takes it from the one that is waited for.
    const spin = host.parallelism > config.vcpus;
    this.#coalesced = new CoalescedWrites(this.native, () => this.#pump.flush());
    this.#pump = new EventPump(
      this.native,
      {
        deliverWrites: () => this.#disposed === undefined && this.#coalesced.deliver(),
        fail: (error) => this.#fail(error),
      },
      spin,
    );
    events.setPump(this.#pump);
    this.#events = new Events(this.native, this.#pump);
    this.#memory = new MemorySlots(
      this.native,
      {
        maxMemory: config.maxMemory,
        maxRegionSize: host.maxRegionSize,
        slots: kvm.capability('NR_MEMSLOTS') || DEFAULT_SLOTS,
        readOnly: kvm.capability('READONLY_MEM') > 0,
      },
      (bytes, fd, offset) => kvm.addon.mapFile(bytes, fd, offset),
    );
    this.#vcpus = new Array<undefined>(config.vcpus).fill(undefined);
    this.#owner = {
      threadSpinMicroseconds: spin ? SPIN_LIMIT_MICROSECONDS : 0,
      threadStarted: () => this.#threadStarted(),
      threadEnded: () => this.#threadEnded(),
      markDue: (thread) => this.#pump.markDue(thread),
      drain: () => void this.#pump.drain(),
      checkUsable: () => this.checkUsable(),
    };
  }

  /** Makes the vCPU around its file descriptor. */
  protected abstract makeVcpu(owner: VcpuOwner, native: NativeVcpu, id: number): V;

  /** Called before a vCPU is created. */
  protected abstract beforeVcpu(): void;

  /** @throws HypervisorError unless {@link createInterrupt} can make this one */
  protected abstract checkInterrupt(gsi: number, resample: boolean): void;

  get regions(): readonly GuestMemoryRegion[] {
    return this.#memory.regions;
  }

  mapMemory(guestAddress: number, size: number, options?: MapMemoryOptions): GuestMemoryRegion {
    this.checkUsable();
    return this.#memory.map(guestAddress, size, options);
  }

  unmapMemory(region: GuestMemoryRegion): void {
    this.checkUsable();
    this.checkStill('memory can be unmapped');
    this.#memory.unmap(region);
  }

  discardMemory(ranges: Float64Array, words: number = ranges.length): void {
    this.checkUsable();
    const { addon } = this.system;
    discardRanges(
      this.regions,
      ranges,
      words,
      (region) => this.#memory.fileBytes(region),
      (bytes, offsets, count, fileBytes) =>
        system('giving memory back (MADV_DONTNEED)', () => addon.discard(bytes, offsets, count, fileBytes)),
    );
  }

  get dirtyLog(): boolean {
    return this.#memory.dirtyLog;
  }

  startDirtyLog(): void {
    this.checkUsable();
    this.#memory.startDirtyLog();
  }

  takeDirtyPages(region: GuestMemoryRegion): Uint32Array {
    this.checkUsable();
    return this.#memory.takeDirtyPages(region);
  }

  stopDirtyLog(): void {
    this.checkUsable();
    this.#memory.stopDirtyLog();
  }

  createVcpu(id: number): V {
    this.checkUsable();
    if (!Number.isInteger(id) || id < 0 || id >= this.vcpuCount) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `vCPU ${id}: the VM was made for 0 to ${this.vcpuCount - 1}`,
      );
    }
    if (this.#vcpus[id] !== undefined) throw new HypervisorError('OVERLAP', `vCPU ${id} exists already`);
    this.beforeVcpu();
    const native = system(`creating vCPU ${id}`, () => this.native.createVcpu(id));
    const vcpu = this.makeVcpu(this.#owner, native, id);
    this.#vcpus[id] = vcpu;
    this.#coalesced.attach(native.runPage, this.system.capability('COALESCED_MMIO'));
    this.#pump.addThread(native.token, vcpu.thread);
    return vcpu;
  }

  /** The vCPUs created so far. */
  protected get vcpus(): readonly V[] {
    return this.#vcpus.filter((vcpu) => vcpu !== undefined);
  }

  createInterrupt(gsi: number, onResample?: () => void): HypervisorInterrupt {
    this.checkUsable();
    if (!Number.isInteger(gsi) || gsi < 0) {
      throw new HypervisorError('INVALID_ARGUMENT', `there is no interrupt input ${gsi}`);
    }
    this.checkInterrupt(gsi, onResample !== undefined);
    if (onResample !== undefined && this.system.capability('IRQFD_RESAMPLE') === 0) {
      throw new HypervisorError(
        'UNSUPPORTED',
        'this KVM has no resampled interrupts (KVM_CAP_IRQFD_RESAMPLE)',
      );
    }
    return this.#events.createInterrupt(gsi, onResample);
  }

  createDoorbell(
    address: number,
    length: 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell {
    this.checkUsable();
    return this.#events.createDoorbell('memory', address, length, match, onRing);
  }

  /** As {@link createDoorbell}, on the bus of ports. */
  protected portDoorbell(
    port: number,
    length: 1 | 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell {
    this.checkUsable();
    return this.#events.createDoorbell('port', port, length, match, onRing);
  }

  coalesceWrites(
    address: number,
    length: number,
    onWrite: (address: number, length: number, value: number) => void,
  ): Disposable {
    this.checkUsable();
    return this.#coalesced.add('memory', address, length, onWrite);
  }

  /** As {@link coalesceWrites}, on the bus of ports; with `taken` false the stores exit. */
  protected coalescePorts(
    port: number,
    length: number,
    onWrite: (port: number, length: number, value: number) => void,
    taken: boolean,
  ): Disposable {
    this.checkUsable();
    return this.#coalesced.add('port', port, length, onWrite, taken);
  }

  /** KVM has nothing of the kind: the load exits, and the value is checked and forgotten. */
  shadowRead(address: number, value: number): ReadShadow {
    this.checkUsable();
    checkRange('shadowed read', address, 4, 4);
    checkUnsigned('shadowed value', value, 4);
    if (this.#shadows.has(address)) {
      throw new HypervisorError('OVERLAP', `reads of ${hex(address)} are shadowed already`);
    }
    this.#shadows.add(address);
    let active = true;
    return {
      set: (next) => checkUnsigned('shadowed value', next, 4),
      [Symbol.dispose]: () => {
        if (active) this.#shadows.delete(address);
        active = false;
      },
    };
  }

  /**
   * An ioctl of the VM.
   *
   * @param what what is attempted, for the message
   * @param codes error codes for some errno
   * @throws HypervisorError
   */
  protected ioctl(
    what: string,
    request: number,
    argument: IoctlArgument,
    codes?: Readonly<Partial<Record<string, HypervisorError['code']>>>,
  ): number {
    return handleIoctl(this.native, what, request, argument, codes);
  }

  #threadStarted(): void {
    if (this.#threads++ > 0) return;
    RUNNING.add(this);
    this.native.ref();
    this.#coalesced.watch(true);
  }

  #threadEnded(): void {
    if (--this.#threads > 0) return;
    RUNNING.delete(this);
    this.native.unref();
    this.#coalesced.watch(false);
  }

  #fail(error: unknown): void {
    for (const vcpu of this.#vcpus) vcpu?.fail(error);
  }

  /** @throws HypervisorError `DISPOSED` */
  checkUsable(): void {
    if (this.#disposed !== undefined) throw new HypervisorError('DISPOSED', 'the VM has been disposed');
  }

  /** @throws HypervisorError `WRONG_STATE` while a vCPU runs */
  protected checkStill(what: string): void {
    for (const vcpu of this.#vcpus) {
      if (vcpu?.running) {
        throw wrongState(`${what}: only while all vCPUs stand still, and vCPU ${vcpu.id} runs`);
      }
    }
  }

  /** Stops all threads and returns the memory: views of it have length 0 then. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    await this.#disposed;
  }

  async #dispose(): Promise<void> {
    await Promise.all(this.#vcpus.map(async (vcpu) => vcpu?.end()));
    this.#pump.close();
    this.#coalesced.close();
    for (const vcpu of this.#vcpus) vcpu?.close();
    this.native.close();
  }
}

/**
 * What the addon calls for events. It does not hold the VM, so that one that nobody knows any more can be collected, and
 * with it its file descriptors and memory.
 */
class WeakTurn {
  #pump: WeakRef<EventPump> | undefined;
  readonly turn = (): void => this.#pump?.deref()?.turn();

  setPump(pump: EventPump): void {
    this.#pump = new WeakRef(pump);
  }
}

/** An ioctl with errors of this package. */
export function handleIoctl(
  handle: NativeHandle,
  what: string,
  request: number,
  argument: IoctlArgument,
  codes?: Readonly<Partial<Record<string, HypervisorError['code']>>>,
): number {
  try {
    return handle.ioctl(request, argument);
  } catch (error) {
    throw systemError(what, error, codes);
  }
}
