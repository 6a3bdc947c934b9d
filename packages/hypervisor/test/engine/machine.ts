import { readFileSync } from 'node:fs';
import { Assembler, CPACR_EL1, MAIR_EL1, SCTLR_EL1, TCR_EL1, TTBR0_EL1, VBAR_EL1 } from './assembler.ts';

/** Exports of the engine that are functions (ENGINE.md). */
export interface EngineFunctions {
  engineInit(): void;
  vcpuReset(index: number): void;
  run(index: number, budget: number): number;
  getRegister(index: number, id: number): bigint;
  setRegister(index: number, id: number, value: bigint): void;
  hasSystemRegister(encoding: number): number;
  getSystemRegister(index: number, encoding: number): bigint;
  setSystemRegister(index: number, encoding: number, value: bigint): number;
  timerDelay(index: number): number;
  instructionCount(index: number): number;
  advanceClock(nanoseconds: number): void;
  memoryChanged(): void;
  gicReset(): void;
}

export const PC = 33;
export const PSTATE = 34;
export const SP_EL0_ID = 31;
export const SP_EL1_ID = 32;

export const EL0T = 0x3c0n;
export const EL1H = 0x3c5n;

/** Where programs, vectors and tables of these tests lie. */
export const CODE = 0x1_0000;
export const VECTORS = 0x2_0000;
export const DATA = 0x3_0000;
export const TABLES = 0x10_0000;
/** Guest physical addresses that no memory backs. */
export const DEVICE = 0x900_0000;
export const READ_ONLY = 0x400_0000;

const RAM_SIZE = 0x20_0000;
const GICD = 0x4000_0000;
const GICR = 0x4800_0000;

export interface Exit {
  readonly reason: number;
  readonly address: number;
  readonly length: number;
  readonly write: boolean;
  readonly value: bigint;
}

export const ENGINE_FILE: URL = new URL('../../dist/wasm/engine.wasm', import.meta.url);

interface Memory {
  readonly buffer: SharedArrayBuffer;
}
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Memory: new (descriptor: { initial: number; maximum: number; shared: true }) => Memory;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
}
const api = (globalThis as unknown as { WebAssembly: WebAssemblyApi }).WebAssembly;

/** A small machine on the engine: 2 MiB of RAM at 0, a page of read-only memory, and whatever a test adds. */
export class Machine {
  readonly engine: EngineFunctions;
  readonly memory: Memory;
  readonly view: DataView;
  /** Words that raised Undefined, as the engine told its host. */
  readonly undefined: number[] = [];
  /** Host clock in nanoseconds. */
  now = 0;
  readonly #exports: Readonly<Record<string, unknown>>;

  constructor(options: { vcpus?: number; clock?: 'host' | 'instructions'; gic?: boolean } = {}) {
    const vcpus = options.vcpus ?? 1;
    this.memory = new api.Memory({ initial: 0x580, maximum: 65536, shared: true });
    const { exports } = new api.Instance(new api.Module(readFileSync(ENGINE_FILE)), {
      env: {
        memory: this.memory,
        hostNanoseconds: () => this.now,
        undefinedInstruction: (_index: number, word: number) => this.undefined.push(word >>> 0),
      },
    });
    this.#exports = exports;
    this.engine = exports as unknown as EngineFunctions;
    this.view = new DataView(this.memory.buffer);
    this.engine.engineInit();
    this.header('HEADER_VCPU_COUNT', vcpus);
    this.header('HEADER_CLOCK_MODE', options.clock === 'host' ? 0 : 1);
    this.#region(0, 0, RAM_SIZE, this.offset('RAM_BASE'), 0);
    this.#region(1, READ_ONLY, 0x1000, this.offset('RAM_BASE') + RAM_SIZE, 1);
    this.header('HEADER_REGION_COUNT', 2);
    if (options.gic === true) {
      const header = this.offset('HEADER');
      this.view.setBigUint64(header + this.offset('HEADER_GIC_DISTRIBUTOR'), BigInt(GICD), true);
      this.view.setBigUint64(header + this.offset('HEADER_GIC_REDISTRIBUTOR'), BigInt(GICR), true);
      this.header('HEADER_GIC_IRQS', 64);
      this.header('HEADER_GIC_VCPUS', vcpus);
      this.header('HEADER_GIC_ENABLED', 1);
      this.engine.gicReset();
    }
    for (let i = 0; i < vcpus; i++) this.engine.vcpuReset(i);
  }

  /** A constant of layout.ts. */
  offset(name: string): number {
    const exported = this.#exports[name];
    if (typeof exported !== 'object' || exported === null || !('value' in exported))
      throw new Error(`the engine does not export ${name}`);
    return Number(exported.value) >>> 0;
  }

  header(name: string, value: number): void {
    this.view.setUint32(this.offset('HEADER') + this.offset(name), value, true);
  }

  #region(index: number, base: number, size: number, offset: number, flags: number): void {
    const at = this.offset('HEADER') + this.offset('HEADER_REGIONS') + index * this.offset('REGION_STRIDE');
    this.view.setBigUint64(at + this.offset('REGION_BASE'), BigInt(base), true);
    this.view.setBigUint64(at + this.offset('REGION_SIZE'), BigInt(size), true);
    this.view.setUint32(at + this.offset('REGION_OFFSET'), offset, true);
    this.view.setUint32(at + this.offset('REGION_FLAGS'), flags, true);
  }

  /** Offset of guest physical RAM in the engine's memory. */
  ram(address: number): number {
    return this.offset('RAM_BASE') + (address >= READ_ONLY ? RAM_SIZE + address - READ_ONLY : address);
  }

  write64(address: number, value: bigint | number): void {
    this.view.setBigUint64(this.ram(address), BigInt.asUintN(64, BigInt(value)), true);
  }

  read64(address: number): bigint {
    return this.view.getBigUint64(this.ram(address), true);
  }

  load(program: Assembler): void {
    new Uint8Array(this.memory.buffer).set(program.bytes(), this.ram(program.origin));
  }

  vcpu(name: string, index = 0): number {
    return this.offset('VCPU_BASE') + index * this.offset('VCPU_STRIDE') + this.offset(name);
  }

  x(n: number, index = 0): bigint {
    return BigInt.asUintN(64, this.engine.getRegister(index, n));
  }

  setX(n: number, value: bigint | number, index = 0): void {
    this.engine.setRegister(index, n, BigInt(value));
  }

  get pc(): number {
    return Number(this.x(PC));
  }

  sys(register: number, index = 0): bigint {
    return BigInt.asUintN(64, this.engine.getSystemRegister(index, register));
  }

  setSys(register: number, value: bigint | number, index = 0): void {
    if (this.engine.setSystemRegister(index, register, BigInt(value)) === 0)
      throw new Error(`no system register ${register.toString(16)}`);
  }

  /** Starts a vCPU at an address, at EL1h with interrupts masked unless `pstate` says otherwise. */
  start(pc: number | bigint, pstate = EL1H, index = 0): void {
    this.engine.setRegister(index, PSTATE, pstate);
    this.setX(PC, pc, index);
  }

  run(budget = 100_000, index = 0): Exit {
    const reason = this.engine.run(index, budget);
    return {
      reason,
      address: Number(this.view.getBigUint64(this.vcpu('EXIT_ADDRESS', index), true)),
      length: this.view.getUint32(this.vcpu('EXIT_LENGTH', index), true),
      write: this.view.getUint32(this.vcpu('EXIT_WRITE', index), true) !== 0,
      value: this.view.getBigUint64(this.vcpu('EXIT_VALUE', index), true),
    };
  }

  answer(value: bigint | number, index = 0): void {
    this.view.setBigUint64(this.vcpu('EXIT_VALUE', index), BigInt(value), true);
  }

  /** Runs to PSCI SYSTEM_OFF. */
  runToEnd(): void {
    const { reason } = this.run();
    if (reason !== this.offset('EXIT_SHUTDOWN'))
      throw new Error(`exit ${reason} at ${this.pc.toString(16)} instead of the end of the program`);
  }

  /** Puts a vector table at VECTORS, with RAM mapped at `base`: every entry leaves its offset in X28 and ends the program. */
  vectors(base = 0n): void {
    const code = new Assembler(VECTORS);
    for (let vector = 0; vector < 0x800; vector += 0x80)
      code
        .until(VECTORS + vector)
        .mov(28, vector)
        .off();
    this.load(code);
    this.setSys(VBAR_EL1, base + BigInt(VECTORS));
  }

  /**
   * Runs a program at CODE to its end, or to the vector that it raised, whose offset is the answer. `base` is where
   * RAM is mapped.
   */
  execute(write: (code: Assembler) => unknown, pstate = EL1H, base = 0n): number {
    const code = new Assembler(CODE);
    write(code);
    code.off();
    this.load(code);
    this.engine.memoryChanged();
    this.setX(28, 0xffff);
    this.start(base + BigInt(CODE), pstate);
    this.runToEnd();
    return Number(this.x(28));
  }
}

export const NORMAL = 0;
export const DEVICE_MEMORY = 1;

/** Attributes of a descriptor (Arm ARM D8.3). */
export interface Attributes {
  readonly el0?: boolean;
  readonly readOnly?: boolean;
  readonly uxn?: boolean;
  readonly pxn?: boolean;
  readonly accessed?: boolean;
  readonly nonGlobal?: boolean;
  readonly index?: number;
}

export function descriptorBits(a: Attributes): bigint {
  let bits = 0n;
  if (a.el0 === true) bits |= 1n << 6n;
  if (a.readOnly === true) bits |= 1n << 7n;
  if (a.accessed !== false) bits |= 1n << 10n;
  if (a.nonGlobal === true) bits |= 1n << 11n;
  if (a.pxn === true) bits |= 1n << 53n;
  if (a.uxn === true) bits |= 1n << 54n;
  return bits | (BigInt(a.index ?? NORMAL) << 2n);
}

/** Translation tables in guest memory, allocated upwards from TABLES. */
export class Tables {
  readonly #machine: Machine;
  #next: number;

  constructor(machine: Machine, at = TABLES) {
    this.#machine = machine;
    this.#next = at;
  }

  table(): number {
    const at = this.#next;
    this.#next += 0x1000;
    for (let i = 0; i < 512; i++) this.#machine.write64(at + i * 8, 0);
    return at;
  }

  entry(table: number, index: number, value: bigint): void {
    this.#machine.write64(table + index * 8, value);
  }

  /**
   * Maps `va` to `pa` by an entry of `level`, making tables on the way from `root`, which is of `first` level. Table
   * descriptors take the bits of `hierarchy`. Answers where the entry is.
   */
  map(
    root: number,
    first: number,
    va: bigint,
    pa: number,
    attributes: Attributes = {},
    level = 3,
    hierarchy = 0n,
  ): number {
    let table = root;
    for (let at = first; ; at++) {
      const index = Number((va >> BigInt(39 - 9 * at)) & 511n);
      const place = table + index * 8;
      if (at === level) {
        this.#machine.write64(place, BigInt(pa) | descriptorBits(attributes) | (level === 3 ? 3n : 1n));
        return place;
      }
      const old = this.#machine.read64(place);
      if ((old & 3n) === 3n) {
        table = Number(old & 0xfffffffff000n);
      } else {
        table = this.table();
        this.#machine.write64(place, BigInt(table) | 3n | hierarchy);
      }
    }
  }
}

export const SCTLR_RESET = 0x30d0_0800n;
/** MMU and caches on, SP alignment checked, UCT, DZE and UCI as Linux has them. */
export const SCTLR_MMU: bigint = SCTLR_RESET | 0x0400_d01dn;

/** TCR_EL1 for 4 KiB granules, 40-bit physical addresses, and the two sizes. */
export function tcr(t0sz: number, t1sz: number = t0sz, extra = 0n): bigint {
  return (2n << 32n) | (2n << 30n) | (BigInt(t1sz) << 16n) | BigInt(t0sz) | extra;
}

/** A machine with the MMU on: all of RAM and the devices mapped one to one for EL1, from a level 0 root. */
export function translated(options?: ConstructorParameters<typeof Machine>[0]): {
  machine: Machine;
  tables: Tables;
  root: number;
} {
  const machine = new Machine(options);
  const tables = new Tables(machine);
  const root = tables.table();
  tables.map(root, 0, 0n, 0, { uxn: true }, 2);
  tables.map(root, 0, BigInt(DEVICE), DEVICE, { uxn: true, pxn: true, index: DEVICE_MEMORY });
  machine.vectors();
  machine.setSys(MAIR_EL1, 0x04ff);
  machine.setSys(TCR_EL1, tcr(16));
  machine.setSys(TTBR0_EL1, root);
  machine.setSys(CPACR_EL1, 3 << 20);
  machine.setSys(SCTLR_EL1, SCTLR_MMU);
  return { machine, tables, root };
}
