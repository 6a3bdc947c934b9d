import { discardRanges } from '../discard.ts';
import { HypervisorError } from '../errors.ts';
import type { Aarch64Vm, GicV3Config, HypervisorGic } from '../aarch64.ts';
import type {
  GuestMemoryRegion,
  HypervisorDoorbell,
  HypervisorInterrupt,
  MapMemoryOptions,
  ReadShadow,
  VmConfig,
} from '../vm.ts';
import { DirtyLog } from './dirty-log.ts';
import type { CompiledEngine, Engine } from './engine.ts';
import { instantiateEngine } from './engine.ts';
import { WasmGicV3 } from './gic.ts';
import type { EngineHost, VcpuThread } from './host.ts';
import { REGION_ALIGNMENT, RegionTable } from './regions.ts';
import { Ports } from './ports.ts';
import { OwnerPump } from './pump.ts';
import { SharedState, vcpuWords } from './shared.ts';
import type { UndefinedInstruction } from './undefined-instructions.ts';
import { countUndefined } from './undefined-instructions.ts';
import { WasmVcpu } from './vcpu.ts';
import { WASM_MAX_PAGES, WASM_PAGE, webAssembly } from './webassembly.ts';

/** Called once for each class of encodings that a guest executes and that the engine does not have. */
export type UndefinedInstructionListener = (vcpu: number, instruction: UndefinedInstruction) => void;

/** What a vCPU needs from its VM. */
export interface VcpuOwner {
  readonly engine: Engine;
  readonly shared: SharedState;
  readonly instructionClock: boolean;
  /** Calls back for doorbells and coalesced writes; true if there were any. */
  drain(): boolean;
  /** The same and exits, with errors turned into failures of the threads. */
  flush(): void;
  /** Stops all threads and makes their `start()` reject. */
  fail(error: unknown): void;
  startThread(index: number): VcpuThread;
  threadEnded(): void;
  counterNanoseconds(): bigint;
  setCounterNanoseconds(value: bigint): void;
  /** @throws HypervisorError `DISPOSED` */
  checkUsable(): void;
}

/** A VM of the software hypervisor. */
export class WasmVm implements Aarch64Vm<WasmVcpu>, VcpuOwner {
  readonly engine: Engine;
  readonly shared: SharedState;
  readonly gicVersions: readonly [3] = [3];
  readonly instructionClock: boolean;
  readonly #config: VmConfig;
  readonly #host: EngineHost;
  readonly #compiled: CompiledEngine;
  readonly #clockOrigin: number;
  readonly #onUndefined: UndefinedInstructionListener | undefined;
  readonly #spin: boolean;
  readonly #regions: RegionTable;
  readonly #dirtyLog: DirtyLog;
  readonly #ports: Ports;
  readonly #pump: OwnerPump;
  readonly #clock: BigInt64Array<SharedArrayBuffer>;
  readonly #vcpus: (WasmVcpu | undefined)[];
  #gic: WasmGicV3 | undefined;
  #disposed: Promise<void> | undefined;

  /** @throws HypervisorError `OUT_OF_MEMORY` */
  constructor(
    config: VmConfig,
    host: EngineHost,
    compiled: CompiledEngine,
    onUndefined: UndefinedInstructionListener | undefined,
  ) {
    const { layout } = compiled;
    this.#config = config;
    this.#host = host;
    this.#compiled = compiled;
    this.#onUndefined = onUndefined;
    this.#clockOrigin = host.now();
    this.instructionClock = config.clock === 'instructions';
    // vCPUs and the owner each want a core; with fewer, polling takes it from the one that is waited for.
    this.#spin = host.parallelism > config.vcpus;
    this.shared = new SharedState(allocate(layout.RAM_BASE, config.maxMemory, layout.MAX_REGIONS), layout);
    this.engine = instantiateEngine(compiled.module, this.shared.memory, {
      hostNanoseconds: () => (host.now() - this.#clockOrigin) * 1e6,
      undefinedInstruction: (index, instruction, pcLow, pcHigh) =>
        countUndefined(this.shared, vcpuWords(layout, index), instruction, pcLow, pcHigh),
    }).engine;
    const { words } = this.shared;
    words[(layout.HEADER + layout.HEADER_VCPU_COUNT) / 4] = config.vcpus;
    words[(layout.HEADER + layout.HEADER_CLOCK_MODE) / 4] = this.instructionClock ? 1 : 0;
    this.#clock = new BigInt64Array(this.shared.memory.buffer, layout.HEADER + layout.HEADER_CLOCK, 1);
    this.engine.engineInit();
    this.#regions = new RegionTable(this.shared, config.maxMemory, host);
    this.#dirtyLog = new DirtyLog(this.shared, this.engine, host.now);
    this.#ports = new Ports(this.shared);
    this.#pump = new OwnerPump(
      this.shared,
      host,
      { handle: () => this.#handle(), fail: (e) => this.fail(e) },
      this.#spin,
    );
    this.#vcpus = new Array<undefined>(config.vcpus).fill(undefined);
  }

  get maxRegionSize(): number {
    return this.#config.maxMemory;
  }

  get regions(): readonly GuestMemoryRegion[] {
    return this.#regions.regions;
  }

  mapMemory(guestAddress: number, size: number, options?: MapMemoryOptions): GuestMemoryRegion {
    this.checkUsable();
    return this.#regions.map(guestAddress, size, options);
  }

  unmapMemory(region: GuestMemoryRegion): void {
    this.checkUsable();
    this.checkStill('memory can be unmapped');
    this.#regions.unmap(region);
    this.engine.memoryChanged();
  }

  get releasesMemory(): boolean {
    return this.#host.discard !== undefined;
  }

  discardMemory(ranges: Float64Array, words: number = ranges.length): void {
    this.checkUsable();
    const fileBytes = (region: GuestMemoryRegion): number => this.#regions.fileBytes(region);
    discardRanges(this.regions, ranges, words, fileBytes, this.#host.discard);
  }

  get dirtyLog(): boolean {
    return this.#dirtyLog.on;
  }

  startDirtyLog(): void {
    this.checkUsable();
    this.#dirtyLog.start();
  }

  takeDirtyPages(region: GuestMemoryRegion): Uint32Array {
    this.checkUsable();
    return this.#dirtyLog.take(region, this.#regions.offsetOf(region));
  }

  stopDirtyLog(): void {
    this.checkUsable();
    this.#dirtyLog.stop();
  }

  createVcpu(id: number): WasmVcpu {
    this.checkUsable();
    if (!Number.isInteger(id) || id < 0 || id >= this.#config.vcpus) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `vCPU ${id}: the VM was made for 0 to ${this.#config.vcpus - 1}`,
      );
    }
    if (this.#vcpus[id] !== undefined) throw new HypervisorError('OVERLAP', `vCPU ${id} exists already`);
    const vcpu = new WasmVcpu(this, id);
    this.#vcpus[id] = vcpu;
    return vcpu;
  }

  createGicV3(config: GicV3Config): HypervisorGic {
    this.checkUsable();
    if (this.#gic !== undefined)
      throw new HypervisorError('WRONG_STATE', 'the VM has an interrupt controller already');
    this.checkStill('an interrupt controller can be created');
    const gic = new WasmGicV3(
      {
        shared: this.shared,
        engine: this.engine,
        vcpus: this.#config.vcpus,
        wakeVcpus: () => this.#wakeVcpus(),
        checkUsable: () => this.checkUsable(),
        checkStill: (what) => this.checkStill(what),
      },
      config,
    );
    this.#gic = gic;
    return gic;
  }

  /** @throws HypervisorError `UNSUPPORTED`: the engine has a GICv3 */
  createGicV2(): HypervisorGic {
    this.checkUsable();
    throw new HypervisorError('UNSUPPORTED', 'the software hypervisor has a GICv3, and no GICv2');
  }

  createInterrupt(gsi: number, onResample?: () => void): HypervisorInterrupt {
    this.checkUsable();
    const gic = this.#gic;
    if (gic === undefined) throw new HypervisorError('WRONG_STATE', 'the VM has no interrupt controller yet');
    if (onResample !== undefined)
      throw new HypervisorError('UNSUPPORTED', 'the software hypervisor has no resampled interrupts');
    return gic.createInterrupt(gsi);
  }

  createDoorbell(
    address: number,
    length: 2 | 4,
    match: number | undefined,
    onRing: () => void,
  ): HypervisorDoorbell {
    this.checkUsable();
    return this.#ports.createDoorbell(address, length, match, onRing);
  }

  coalesceWrites(
    address: number,
    length: number,
    onWrite: (address: number, length: number, value: number) => void,
  ): Disposable {
    this.checkUsable();
    return this.#ports.coalesceWrites(address, length, onWrite);
  }

  shadowRead(address: number, value: number): ReadShadow {
    this.checkUsable();
    return this.#ports.shadowRead(address, value);
  }

  drain(): boolean {
    const any = this.#ports.drain();
    if (this.#onUndefined !== undefined) this.#reportUndefined(this.#onUndefined);
    return any;
  }

  #reportUndefined(listener: UndefinedInstructionListener): void {
    for (const vcpu of this.#vcpus) {
      for (const entry of vcpu?.newUndefinedInstructions() ?? []) listener(vcpu!.id, entry);
    }
  }

  #handle(): boolean {
    if (this.#disposed === undefined) this.drain();
    let any = false;
    for (const vcpu of this.#vcpus) {
      if (vcpu?.serve()) any = true;
    }
    return any;
  }

  flush(): void {
    this.#pump.flush();
  }

  fail(error: unknown): void {
    for (const vcpu of this.#vcpus) vcpu?.fail(error);
  }

  startThread(index: number): VcpuThread {
    const thread = this.#host.startThread({
      module: this.#compiled.module,
      memory: this.shared.memory,
      index,
      clockOrigin: this.#clockOrigin,
      instructionClock: this.instructionClock,
      spin: this.#spin,
    });
    this.#pump.retain();
    return thread;
  }

  threadEnded(): void {
    this.#pump.release();
  }

  counterNanoseconds(): bigint {
    const clock = Atomics.load(this.#clock, 0);
    return this.instructionClock ? clock : this.#hostNanoseconds() - clock;
  }

  setCounterNanoseconds(value: bigint): void {
    Atomics.store(this.#clock, 0, this.instructionClock ? value : this.#hostNanoseconds() - value);
  }

  #hostNanoseconds(): bigint {
    return BigInt(Math.round((this.#host.now() - this.#clockOrigin) * 1e6));
  }

  #wakeVcpus(): void {
    const { layout } = this.shared;
    for (let index = 0; index < this.#config.vcpus; index++) this.shared.wakeVcpu(vcpuWords(layout, index));
  }

  checkUsable(): void {
    if (this.#disposed !== undefined) throw new HypervisorError('DISPOSED', 'the VM has been disposed');
  }

  checkStill(what: string): void {
    for (const vcpu of this.#vcpus) {
      if (vcpu?.running) {
        throw new HypervisorError(
          'WRONG_STATE',
          `${what}: only while all vCPUs stand still, and vCPU ${vcpu.id} runs`,
        );
      }
    }
  }

  /** Stops all threads. Views of the memory stay readable, but nothing changes in them any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    await this.#disposed;
  }

  async #dispose(): Promise<void> {
    await Promise.all(this.#vcpus.map(async (vcpu) => vcpu?.end()));
  }
}

/** Memory for the engine and the guest's RAM. */
function allocate(ramBase: number, maxMemory: number, regions: number): SharedState['memory'] {
  // What aligning the regions may cost. The last page stays unused: no access reaches beyond 4 GiB.
  const slack = regions * (REGION_ALIGNMENT / WASM_PAGE);
  const pages = Math.ceil((ramBase + maxMemory) / WASM_PAGE) + slack;
  if (pages >= WASM_MAX_PAGES) {
    throw new HypervisorError(
      'OUT_OF_MEMORY',
      `${maxMemory} bytes of guest memory do not fit into the engine's 4 GiB`,
    );
  }
  const { Memory } = webAssembly();
  try {
    return new Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new HypervisorError(
      'OUT_OF_MEMORY',
      `${pages * WASM_PAGE} bytes of shared memory for the guest and the engine cannot be allocated; ` +
        'give the guest less memory, or the process more (address space limit, container limit)',
      { cause },
    );
  }
}
