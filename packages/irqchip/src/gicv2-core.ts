import { SPI_BASE } from './gic.ts';
import {
  CTLR_CBPR,
  CTLR_ENABLE_GRP,
  CTLR_FIQEN,
  INTID_SPURIOUS,
  MIN_ABPR,
  MIN_BPR,
  PRIORITY_IDLE,
} from './gicv2-registers.ts';

/** INTIDs below are SGIs. */
export const SGI_COUNT = 16;
const SGI_MASK = 0xffff;

/** What a CPU is signalled. */
export const SIGNAL_IRQ = 1;
export const SIGNAL_FIQ = 2;

/**
 * State of a GICv2 and the rules of which interrupt a CPU is offered (IHI 0048 chapter 3). Interrupts are bits of
 * words: word n is about INTIDs 32 n … 32 n + 31, and each CPU has a word 0 of its own.
 */
export class GicV2Core {
  readonly cpus: number;
  readonly irqs: number;
  /** Words of 32 interrupts that a CPU sees. */
  readonly words: number;

  /** GICD_CTLR: EnableGrp0 and EnableGrp1. */
  control = 0;
  readonly group: Uint32Array;
  readonly enable: Uint32Array;
  /** Pending by an edge, an SGI, or a write to GICD_ISPENDR. */
  readonly latch: Uint32Array;
  readonly active: Uint32Array;
  readonly line: Uint32Array;
  /** 1 edge-triggered, 0 level-sensitive. */
  readonly edge: Uint32Array;
  readonly priority: Uint8Array;
  /** GICD_ITARGETSR by INTID. */
  readonly targets: Uint8Array;
  /** By CPU and SGI: the CPUs that have sent it. */
  readonly sgiSources: Uint8Array;

  /** By CPU: GICC registers, the highest priority pending interrupt with its priority and group, and the signal. */
  readonly interfaceControl: Uint32Array;
  readonly priorityMask: Uint8Array;
  readonly binaryPoint: Uint8Array;
  readonly aliasedBinaryPoint: Uint8Array;
  /** GICC_APR0: active priorities of group 0. */
  readonly activePriorities0: Uint32Array;
  /** GICC_NSAPR0: active priorities of group 1. */
  readonly activePriorities1: Uint32Array;
  readonly highest: Uint16Array;
  readonly highestPriority: Uint8Array;
  readonly highestGroup: Uint8Array;
  readonly signal: Uint8Array;

  readonly #onSignal: (cpu: number, signal: number) => void;

  constructor(cpus: number, irqs: number, onSignal: (cpu: number, signal: number) => void) {
    this.cpus = cpus;
    this.irqs = irqs;
    this.words = Math.ceil(irqs / 32);
    this.#onSignal = onSignal;
    const records = cpus + this.words - 1;
    this.group = new Uint32Array(records);
    this.enable = new Uint32Array(records);
    this.latch = new Uint32Array(records);
    this.active = new Uint32Array(records);
    this.line = new Uint32Array(records);
    this.edge = new Uint32Array(records);
    this.priority = new Uint8Array(cpus * 32 + irqs - 32);
    this.targets = new Uint8Array(irqs);
    this.sgiSources = new Uint8Array(cpus * SGI_COUNT);
    this.interfaceControl = new Uint32Array(cpus);
    this.priorityMask = new Uint8Array(cpus);
    this.binaryPoint = new Uint8Array(cpus);
    this.aliasedBinaryPoint = new Uint8Array(cpus);
    this.activePriorities0 = new Uint32Array(cpus);
    this.activePriorities1 = new Uint32Array(cpus);
    this.highest = new Uint16Array(cpus);
    this.highestPriority = new Uint8Array(cpus);
    this.highestGroup = new Uint8Array(cpus);
    this.signal = new Uint8Array(cpus);
    this.setReset();
  }

  /** Reset values, without telling anybody. */
  setReset(): void {
    this.control = 0;
    const words = [this.group, this.enable, this.latch, this.active, this.edge, this.interfaceControl];
    for (const array of [...words, this.activePriorities0, this.activePriorities1]) array.fill(0);
    for (const array of [this.priority, this.targets, this.sgiSources, this.priorityMask]) array.fill(0);
    // The only CPU is the target of everything, though its GICD_ITARGETSR are RAZ/WI.
    if (this.cpus === 1) this.targets.fill(1, SPI_BASE);
    this.edge.fill(SGI_MASK, 0, this.cpus);
    this.binaryPoint.fill(MIN_BPR);
    this.aliasedBinaryPoint.fill(MIN_ABPR);
    this.highest.fill(INTID_SPURIOUS);
    this.highestPriority.fill(PRIORITY_IDLE);
  }

  /** Index of word n of a CPU. */
  record(cpu: number, word: number): number {
    return word === 0 ? cpu : this.cpus + word - 1;
  }

  /** The interrupts of word n that exist. */
  recordMask(word: number): number {
    const count = this.irqs - word * 32;
    if (count <= 0) return 0;
    return count >= 32 ? 0xffff_ffff : 2 ** count - 1;
  }

  priorityIndex(cpu: number, intid: number): number {
    return intid < SPI_BASE ? cpu * 32 + intid : this.cpus * 32 + intid - SPI_BASE;
  }

  pending(record: number): number {
    return (this.latch[record]! | (this.line[record]! & ~this.edge[record]!)) >>> 0;
  }

  /** The part of a priority that decides about preemption (§3.3.3). */
  groupPriority(cpu: number, priority: number, group: number): number {
    const common = group === 0 || (this.interfaceControl[cpu]! & CTLR_CBPR) !== 0;
    const shift = common ? this.binaryPoint[cpu]! + 1 : this.aliasedBinaryPoint[cpu]!;
    return priority & (0xff << shift);
  }

  /** GICC_RPR. */
  runningPriority(cpu: number): number {
    const active = (this.activePriorities0[cpu]! | this.activePriorities1[cpu]!) >>> 0;
    return active === 0 ? PRIORITY_IDLE : lowestBit(active) << 3;
  }

  /** The input line of an SPI. */
  setLine(intid: number, level: boolean): void {
    if (this.#changeLine(this.record(0, intid >>> 5), 1 << (intid & 31), level)) this.evaluateAll();
  }

  /** The input line of a private interrupt of a CPU. */
  setPrivateLine(cpu: number, intid: number, level: boolean): void {
    if (this.#changeLine(cpu, 1 << intid, level)) this.evaluate(cpu);
  }

  /** A pulse of an SPI's line. */
  pulse(intid: number): void {
    const record = this.record(0, intid >>> 5);
    const bit = 1 << (intid & 31);
    if ((this.edge[record]! & bit) === 0) return;
    this.latch[record]! |= bit;
    this.evaluateAll();
  }

  sendSgi(source: number, target: number, sgi: number): void {
    this.sgiSources[target * SGI_COUNT + sgi]! |= 1 << source;
    this.latch[target]! |= 1 << sgi;
  }

  /** Finds the highest priority pending interrupt of a CPU and decides whether it is signalled. */
  evaluate(cpu: number): void {
    let best = INTID_SPURIOUS;
    let bestPriority = PRIORITY_IDLE;
    let bestGroup = 0;
    const control = this.interfaceControl[cpu]!;
    const groups = this.control & control & CTLR_ENABLE_GRP;
    if (groups !== 0) {
      const group0 = (groups & 1) !== 0 ? -1 : 0;
      const group1 = (groups & 2) !== 0 ? -1 : 0;
      for (let word = 0; word < this.words; word++) {
        const record = this.record(cpu, word);
        const inGroup1 = this.group[record]!;
        let ready =
          this.pending(record) &
          this.enable[record]! &
          ~this.active[record]! &
          ((inGroup1 & group1) | (~inGroup1 & group0));
        while (ready !== 0) {
          const bit = lowestBit(ready);
          ready &= ready - 1;
          const intid = word * 32 + bit;
          const priority = this.priority[this.priorityIndex(cpu, intid)]!;
          if (priority < bestPriority && (word === 0 || ((this.targets[intid]! >> cpu) & 1) !== 0)) {
            best = intid;
            bestPriority = priority;
            bestGroup = (inGroup1 >>> bit) & 1;
          }
        }
      }
    }
    this.highest[cpu] = best;
    this.highestPriority[cpu] = bestPriority;
    this.highestGroup[cpu] = bestGroup;

    let signal = 0;
    if (
      best !== INTID_SPURIOUS &&
      bestPriority < this.priorityMask[cpu]! &&
      this.groupPriority(cpu, bestPriority, bestGroup) < this.runningPriority(cpu)
    ) {
      signal = bestGroup === 0 && (control & CTLR_FIQEN) !== 0 ? SIGNAL_FIQ : SIGNAL_IRQ;
    }
    if (signal === this.signal[cpu]) return;
    this.signal[cpu] = signal;
    this.#onSignal(cpu, signal);
  }

  evaluateAll(): void {
    for (let cpu = 0; cpu < this.cpus; cpu++) this.evaluate(cpu);
  }

  #changeLine(record: number, bit: number, level: boolean): boolean {
    const high = (this.line[record]! & bit) !== 0;
    if (high === level) return false;
    if (level) {
      this.line[record]! |= bit;
      this.latch[record]! |= bit & this.edge[record]!;
    } else this.line[record]! &= ~bit;
    return true;
  }
}

/** Number of the lowest bit that is set. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
