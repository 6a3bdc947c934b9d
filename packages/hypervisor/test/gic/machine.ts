import { webAssembly, type WasmMemory } from '../../src/wasm/webassembly.ts';
import { compileGic, type GicExports } from './module.ts';

const { Instance, Memory, compile } = webAssembly();
const module = await compile(compileGic());

/** ICC_*_EL1 encodings, op0:op1:CRn:CRm:op2. */
export const ICC = {
  PMR: 0xc230,
  IAR0: 0xc640,
  EOIR0: 0xc641,
  HPPIR0: 0xc642,
  BPR0: 0xc643,
  AP0R0: 0xc644,
  AP1R0: 0xc648,
  DIR: 0xc659,
  RPR: 0xc65b,
  SGI1R: 0xc65d,
  ASGI1R: 0xc65e,
  SGI0R: 0xc65f,
  IAR1: 0xc660,
  EOIR1: 0xc661,
  HPPIR1: 0xc662,
  BPR1: 0xc663,
  CTLR: 0xc664,
  SRE: 0xc665,
  IGRPEN0: 0xc666,
  IGRPEN1: 0xc667,
} as const;
export type IccRegister = keyof typeof ICC;

export const GICD = 0x4000_0000;
export const GICR = 0x4800_0000;
export const GICR_STRIDE = 0x2_0000;
export const SGI_BASE = 0x1_0000;

/** Offsets that the distributor and SGI_base have in common. */
export const BANK = {
  IGROUPR: 0x080,
  ISENABLER: 0x100,
  ICENABLER: 0x180,
  ISPENDR: 0x200,
  ICPENDR: 0x280,
  ISACTIVER: 0x300,
  ICACTIVER: 0x380,
} as const;

type Length = 1 | 2 | 4 | 8;

/** The compiled interrupt controller over a memory of its own, and the guest's and owner's ways to it. */
export class GicMachine {
  readonly exports: GicExports;
  readonly memory: WasmMemory;
  private readonly globals: Readonly<Record<string, unknown>>;
  readonly vcpus: number;
  readonly irqs: number;
  private readonly view: DataView;
  private readonly words: Int32Array;

  constructor(options: { vcpus?: number; irqs?: number } = {}) {
    this.vcpus = options.vcpus ?? 1;
    this.irqs = options.irqs ?? 96;
    this.memory = new Memory({ initial: 256, maximum: 65536, shared: true });
    const { exports } = new Instance(module, { env: { memory: this.memory } });
    this.globals = exports;
    this.exports = exports as unknown as GicExports;
    this.view = new DataView(this.memory.buffer);
    this.words = new Int32Array(this.memory.buffer);
    const header = this.constant('HEADER');
    this.view.setUint32(header + this.constant('HEADER_GIC_ENABLED'), 1, true);
    this.view.setUint32(header + this.constant('HEADER_GIC_IRQS'), this.irqs, true);
    this.view.setUint32(header + this.constant('HEADER_GIC_VCPUS'), this.vcpus, true);
    this.view.setBigUint64(header + this.constant('HEADER_GIC_DISTRIBUTOR'), BigInt(GICD), true);
    this.view.setBigUint64(header + this.constant('HEADER_GIC_REDISTRIBUTOR'), BigInt(GICR), true);
    for (let i = 0; i < this.vcpus; i++) {
      this.view.setUint32(this.block(i) + this.constant('CPU_INDEX'), i, true);
    }
    this.exports.gicReset();
  }

  constant(name: string): number {
    const global = this.globals[name] as { value: number } | undefined;
    if (global === undefined) throw new Error(`the module exports no ${name}`);
    return global.value;
  }

  block(cpu: number): number {
    return this.exports.vcpuBlock(cpu) >>> 0;
  }

  read(address: number, length: Length = 4, cpu = 0): bigint {
    return BigInt.asUintN(64, this.exports.gicMmioRead(this.block(cpu), BigInt(address), length));
  }

  write(address: number, value: number | bigint, length: Length = 4, cpu = 0): void {
    this.exports.gicMmioWrite(this.block(cpu), BigInt(address), length, BigInt(value));
  }

  get(register: IccRegister, cpu = 0): number {
    return Number(this.exports.gicSystemRead(this.block(cpu), ICC[register]));
  }

  set(register: IccRegister, value: number | bigint, cpu = 0): void {
    this.exports.gicSystemWrite(this.block(cpu), ICC[register], BigInt(value));
  }

  /** Base of the word registers about an interrupt: the distributor, or the SGI_base frame of the vCPU. */
  bank(intid: number, cpu = 0): number {
    return intid < 32 ? GICR + cpu * GICR_STRIDE + SGI_BASE : GICD;
  }

  setBit(register: keyof typeof BANK, intid: number, cpu = 0): void {
    this.write(this.bank(intid, cpu) + BANK[register] + (intid >> 5) * 4, (1 << (intid & 31)) >>> 0);
  }

  bit(register: keyof typeof BANK, intid: number, cpu = 0): boolean {
    const word = Number(this.read(this.bank(intid, cpu) + BANK[register] + (intid >> 5) * 4));
    return ((word >>> (intid & 31)) & 1) === 1;
  }

  setGroup(intid: number, group: number, cpu = 0): void {
    const address = this.bank(intid, cpu) + BANK.IGROUPR + (intid >> 5) * 4;
    const others = Number(this.read(address)) & ~(1 << (intid & 31));
    this.write(address, (others | (group << (intid & 31))) >>> 0);
  }

  setPriority(intid: number, priority: number, cpu = 0): void {
    this.write(this.bank(intid, cpu) + 0x400 + intid, priority, 1);
  }

  setEdge(intid: number, edge: boolean, cpu = 0): void {
    const address = this.bank(intid, cpu) + 0xc00 + (intid >> 4) * 4;
    const shift = (intid & 15) * 2;
    const others = Number(this.read(address)) & ~(3 << shift);
    this.write(address, (others | ((edge ? 2 : 0) << shift)) >>> 0);
  }

  setRoute(intid: number, router: bigint): void {
    this.write(GICD + 0x6000 + intid * 8, router, 8);
  }

  setWaker(asleep: boolean, cpu = 0): void {
    this.write(GICR + cpu * GICR_STRIDE + 0x14, asleep ? 2 : 0);
  }

  /** The owner's side of a line. With `sample: false` the engine has yet to look. */
  setSpi(intid: number, level: boolean, options: { sample?: boolean } = {}): void {
    const index = (this.constant('HEADER') + this.constant('HEADER_SPI_LEVEL')) / 4 + (intid >> 5);
    if (level) Atomics.or(this.words, index, 1 << (intid & 31));
    else Atomics.and(this.words, index, ~(1 << (intid & 31)));
    if (options.sample !== false) this.exports.gicSample();
  }

  pulseSpi(intid: number): void {
    const index = (this.constant('HEADER') + this.constant('HEADER_SPI_EDGE')) / 4 + (intid >> 5);
    Atomics.or(this.words, index, 1 << (intid & 31));
    this.exports.gicSample();
  }

  setPpi(intid: number, level: boolean, cpu = 0): void {
    this.exports.gicSetPpi(this.block(cpu), intid, level ? 1 : 0);
  }

  irq(cpu = 0): boolean {
    return this.exports.gicIrqPending(this.block(cpu)) !== 0;
  }

  fiq(cpu = 0): boolean {
    return this.exports.gicFiqPending(this.block(cpu)) !== 0;
  }

  /** Takes the attention word of a vCPU. */
  takeAttention(cpu: number): boolean {
    return Atomics.exchange(this.words, (this.block(cpu) + this.constant('CPU_ATTENTION')) / 4, 0) !== 0;
  }

  /** The bytes that a snapshot holds. */
  state(): Uint8Array {
    return new Uint8Array(this.memory.buffer, this.constant('GIC'), this.constant('GIC_STATE_SIZE'));
  }

  /** What a kernel does at boot: everything in group 1 at priority 0xa0, both groups on, all priorities accepted. */
  boot(): void {
    this.write(GICD, 3);
    for (let n = 1; n * 32 < this.irqs; n++) this.write(GICD + BANK.IGROUPR + n * 4, 0xffff_ffff);
    for (let i = 32; i < this.irqs; i += 4) this.write(GICD + 0x400 + i, 0xa0a0_a0a0);
    for (let cpu = 0; cpu < this.vcpus; cpu++) {
      this.setWaker(false, cpu);
      this.write(this.bank(0, cpu) + BANK.IGROUPR, 0xffff_ffff);
      for (let i = 0; i < 32; i += 4) this.write(this.bank(0, cpu) + 0x400 + i, 0xa0a0_a0a0);
      this.set('PMR', 0xff, cpu);
      this.set('IGRPEN0', 1, cpu);
      this.set('IGRPEN1', 1, cpu);
    }
  }

  /** Enables an interrupt, in group 1 unless told, and returns its number. */
  enable(
    intid: number,
    options: { priority?: number; group?: number; edge?: boolean; cpu?: number } = {},
  ): number {
    const cpu = options.cpu ?? 0;
    if (options.priority !== undefined) this.setPriority(intid, options.priority, cpu);
    if (options.group !== undefined) this.setGroup(intid, options.group, cpu);
    if (options.edge !== undefined) this.setEdge(intid, options.edge, cpu);
    this.setBit('ISENABLER', intid, cpu);
    return intid;
  }
}

export const NONE = 1023;
