import type { BusDevice } from '@vmm/vm-device';
import { GicV2, SPI_BASE, type GicLine, type Trigger } from '../src/index.ts';

export const GICD = {
  CTLR: 0x000,
  TYPER: 0x004,
  IGROUPR: 0x080,
  ISENABLER: 0x100,
  ICENABLER: 0x180,
  ISPENDR: 0x200,
  ICPENDR: 0x280,
  ISACTIVER: 0x300,
  ICACTIVER: 0x380,
  IPRIORITYR: 0x400,
  ITARGETSR: 0x800,
  ICFGR: 0xc00,
  SGIR: 0xf00,
  CPENDSGIR: 0xf10,
  SPENDSGIR: 0xf20,
} as const;

export const GICC = {
  CTLR: 0x00,
  PMR: 0x04,
  BPR: 0x08,
  IAR: 0x0c,
  EOIR: 0x10,
  RPR: 0x14,
  HPPIR: 0x18,
  ABPR: 0x1c,
  AIAR: 0x20,
  AEOIR: 0x24,
  AHPPIR: 0x28,
  APR0: 0xd0,
  NSAPR0: 0xe0,
  IIDR: 0xfc,
  DIR: 0x1000,
} as const;

export const ACKCTL = 4;
export const FIQEN = 8;
export const CBPR = 0x10;
export const EOIMODE = 0x200;
export const NONE = 1023;

type WordRegister = 'ISENABLER' | 'ICENABLER' | 'ISPENDR' | 'ICPENDR' | 'ISACTIVER' | 'ICACTIVER';

/** A GICv2 with what a guest and a board do to it. */
export class Rig {
  readonly gic: GicV2;
  readonly cpus: number;
  readonly irqs: number;
  /** IRQ and FIQ lines as the callbacks have reported them. */
  readonly irqLines: boolean[];
  readonly fiqLines: boolean[];
  readonly #lines = new Map<number, GicLine>();

  constructor(cpus = 1, irqs = 64) {
    this.cpus = cpus;
    this.irqs = irqs;
    this.irqLines = new Array<boolean>(cpus).fill(false);
    this.fiqLines = new Array<boolean>(cpus).fill(false);
    this.gic = new GicV2({
      cpus,
      irqs,
      distributor: 0x4000_0000,
      cpuInterface: 0x4001_0000,
      onIrq: (cpu, level) => (this.irqLines[cpu] = level),
      onFiq: (cpu, level) => (this.fiqLines[cpu] = level),
    });
  }

  d(cpu = 0): BusDevice {
    return this.gic.distributor(cpu);
  }

  get(offset: number, cpu = 0): number {
    return this.gic.cpuInterface(cpu).read(offset, 4);
  }

  set(offset: number, value: number, cpu = 0): void {
    this.gic.cpuInterface(cpu).write(offset, 4, value);
  }

  setBit(register: WordRegister, intid: number, cpu = 0): void {
    this.d(cpu).write(GICD[register] + (intid >> 5) * 4, 4, (1 << (intid & 31)) >>> 0);
  }

  bit(register: WordRegister, intid: number, cpu = 0): boolean {
    return ((this.d(cpu).read(GICD[register] + (intid >> 5) * 4, 4) >>> (intid & 31)) & 1) === 1;
  }

  setGroup(intid: number, group: number, cpu = 0): void {
    const offset = GICD.IGROUPR + (intid >> 5) * 4;
    const others = this.d(cpu).read(offset, 4) & ~(1 << (intid & 31));
    this.d(cpu).write(offset, 4, (others | (group << (intid & 31))) >>> 0);
  }

  setPriority(intid: number, priority: number, cpu = 0): void {
    this.d(cpu).write(GICD.IPRIORITYR + intid, 1, priority);
  }

  setTargets(intid: number, cpus: number): void {
    this.d().write(GICD.ITARGETSR + intid, 1, cpus);
  }

  setEdge(intid: number, edge: boolean, cpu = 0): void {
    const offset = GICD.ICFGR + (intid >> 4) * 4;
    const shift = (intid & 15) * 2;
    const others = this.d(cpu).read(offset, 4) & ~(3 << shift);
    this.d(cpu).write(offset, 4, (others | ((edge ? 2 : 0) << shift)) >>> 0);
  }

  line(intid: number, trigger: Trigger = 'level'): GicLine {
    const known = this.#lines.get(intid);
    if (known !== undefined) return known;
    const line = this.gic.createLine(intid - SPI_BASE, trigger);
    this.#lines.set(intid, line);
    return line;
  }

  /** What a kernel does at boot: priorities 0xa0, CPU 0 is the target, both groups on. */
  boot(control = 3): void {
    this.d().write(GICD.CTLR, 4, 3);
    for (let i = 0; i < this.irqs; i += 4) {
      for (let cpu = 0; cpu < this.cpus; cpu++) this.d(cpu).write(GICD.IPRIORITYR + i, 4, 0xa0a0_a0a0);
      this.d().write(GICD.ITARGETSR + i, 4, 0x0101_0101);
    }
    for (let cpu = 0; cpu < this.cpus; cpu++) {
      this.set(GICC.PMR, 0xff, cpu);
      this.set(GICC.CTLR, control, cpu);
    }
  }
}
