// State of the GICv3 (IHI 0069): offsets from `GIC`. One Security state (GICD_CTLR.DS = 1), affinity routing
// (GICD_CTLR.ARE = 1), no LPIs. A vCPU's affinity is its index in Aff0.
import { GIC } from './layout';

/** i32: 0 free, 1 held. */
export const GIC_LOCK: u32 = 0x00;
/** GICD_CTLR.EnableGrp0 and EnableGrp1. */
export const GIC_CTLR: u32 = 0x04;

/** Interrupts 32 n … 32 n + 31, one record for each n from 1 to 31. Interrupts 0 … 31 are in the vCPU's part. */
export const GIC_RECORDS: u32 = 0x400;
export const RECORD_STRIDE: u32 = 32;
/** Words of a record, a bit for each interrupt. */
export const RECORD_GROUP: u32 = 0;
export const RECORD_ENABLE: u32 = 4;
/** Pending by an edge, an SGI or a write to ISPENDR. */
export const RECORD_LATCH: u32 = 8;
export const RECORD_ACTIVE: u32 = 12;
/** The input line as last sampled. */
export const RECORD_LINE: u32 = 16;
/** 1 edge-triggered, 0 level-sensitive. */
export const RECORD_EDGE: u32 = 20;

/** Bytes by INTID: GICD_IPRIORITYR. */
export const GIC_PRIORITY: u32 = 0x1000;
/** Bytes by INTID: index of the vCPU that GICD_IROUTER names, or one of the two values below. */
export const GIC_TARGET: u32 = 0x1400;
export const TARGET_ANY: u32 = 0xfe;
export const TARGET_NONE: u32 = 0xff;
/** Doublewords by INTID: GICD_IROUTER. */
export const GIC_ROUTER: u32 = 0x2000;

export const GIC_CPUS: u32 = 0x4000;
export const GIC_CPU_STRIDE: u32 = 0x100;
export const GIC_MAX_CPUS: u32 = 16;
/** Within a vCPU's part: its record, the priorities of its SGIs and PPIs, its registers. */
export const GC_RECORD: u32 = 0x00;
export const GC_PRIORITY: u32 = 0x20;
export const GC_WAKER: u32 = 0x40;
export const GC_PMR: u32 = 0x44;
export const GC_BPR0: u32 = 0x48;
export const GC_BPR1: u32 = 0x4c;
/** ICC_CTLR_EL1.CBPR and EOImode. */
export const GC_CTLR: u32 = 0x50;
export const GC_IGRPEN0: u32 = 0x54;
export const GC_IGRPEN1: u32 = 0x58;
export const GC_AP0R0: u32 = 0x5c;
export const GC_AP1R0: u32 = 0x60;
/** Highest priority pending interrupt of an enabled group, or 1023; its priority; its group. */
export const GC_HPPI: u32 = 0x64;
export const GC_HPPI_PRIORITY: u32 = 0x68;
export const GC_HPPI_GROUP: u32 = 0x6c;
/** What is signalled to the PE: 0, `SIGNAL_IRQ` or `SIGNAL_FIQ`. Read without the lock. */
export const GC_SIGNAL: u32 = 0x70;

/** Group 1 is signalled as IRQ, group 0 as FIQ (4.6.2). */
export const SIGNAL_IRQ: u32 = 1;
export const SIGNAL_FIQ: u32 = 2;

/** Bytes of state from `GIC`. */
export const GIC_STATE_SIZE: u32 = 0x5000;

/** Special INTID: no interrupt (2.2.1). INTIDs from 1020 on are special. */
export const INTID_NONE: u32 = 1023;
export const INTID_SPECIAL: u32 = 1020;
/** Priority that stands for no active interrupt, and for no pending one. */
export const PRIORITY_IDLE: u32 = 0xff;
/** Five bits of priority are implemented. */
export const PRIORITY_MASK: u32 = 0xf8;
/** GICR_WAKER. */
export const WAKER_PROCESSOR_SLEEP: u32 = 2;
export const WAKER_CHILDREN_ASLEEP: u32 = 4;
/** ICC_CTLR_EL1. */
export const CTLR_CBPR: u32 = 1;
export const CTLR_EOIMODE: u32 = 2;
/** Smallest binary points with five bits of priority (4.8.2). */
export const MIN_BPR0: u32 = 2;
export const MIN_BPR1: u32 = 3;

/** Memory offset of a vCPU's part. */
// @ts-ignore: decorator
@inline
export function gicCpu(index: u32): usize {
  return GIC + GIC_CPUS + index * GIC_CPU_STRIDE;
}

/** Memory offset of record n as the vCPU sees it. */
// @ts-ignore: decorator
@inline
export function gicRecord(index: u32, n: u32): usize {
  return n == 0 ? gicCpu(index) + GC_RECORD : GIC + GIC_RECORDS + n * RECORD_STRIDE;
}

/** Memory offset of the priority of an interrupt as the vCPU sees it. */
// @ts-ignore: decorator
@inline
export function gicPriority(index: u32, intid: u32): usize {
  return intid < 32 ? gicCpu(index) + GC_PRIORITY + intid : GIC + GIC_PRIORITY + intid;
}
