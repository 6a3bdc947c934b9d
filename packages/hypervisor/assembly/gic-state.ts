import { HEADER, GIC, HEADER_GIC_IRQS, HEADER_GIC_VCPUS } from './layout';
import {
  GC_BPR0, GC_BPR1, GC_CTLR, GC_HPPI, GC_HPPI_GROUP, GC_HPPI_PRIORITY, GC_IGRPEN0, GC_IGRPEN1, GC_AP0R0, GC_AP1R0,
  GC_PMR, GC_PRIORITY, GC_SIGNAL, GC_WAKER, GIC_CPUS, GIC_CTLR, GIC_MAX_CPUS, GIC_PRIORITY, GIC_ROUTER,
  GIC_STATE_SIZE, GIC_TARGET, INTID_NONE, INTID_SPECIAL, MIN_BPR0, MIN_BPR1, PRIORITY_IDLE, PRIORITY_MASK,
  RECORD_ACTIVE, RECORD_EDGE, RECORD_ENABLE, RECORD_GROUP, RECORD_LATCH, RECORD_LINE, TARGET_ANY, TARGET_NONE,
  WAKER_CHILDREN_ASLEEP, WAKER_PROCESSOR_SLEEP, gicCpu, gicRecord,
} from './gic-layout';

/** Number of vCPUs with a redistributor. */
export function gicCpuCount(): u32 {
  return min(load<u32>(HEADER, HEADER_GIC_VCPUS), GIC_MAX_CPUS);
}

/** INTIDs from this on do not exist. */
export function gicIrqCount(): u32 {
  return max(min(load<u32>(HEADER, HEADER_GIC_IRQS), INTID_SPECIAL), 32);
}

/** Number of records in use, record 0 included. */
export function gicRecordCount(): u32 {
  return (gicIrqCount() + 31) >> 5;
}

/** The interrupts of record n that exist. */
export function gicRecordMask(n: u32): u32 {
  const irqs = gicIrqCount();
  const first = n << 5;
  if (first >= irqs) return 0;
  return irqs - first >= 32 ? 0xffffffff : (<u32>1 << (irqs - first)) - 1;
}

// GICD_IROUTER (12.9.22).
const ROUTER_MODE: u64 = 0x80000000;
const ROUTER_MASK: u64 = 0xff80ffffff;

/** Stores GICD_IROUTER and what it means for delivery. */
export function gicSetRouter(intid: u32, value: u64): void {
  const router = value & ROUTER_MASK;
  store<u64>(GIC + (intid << 3), router, GIC_ROUTER);
  const affinity = router & ~ROUTER_MODE;
  let target = TARGET_NONE;
  if ((router & ROUTER_MODE) != 0) target = TARGET_ANY;
  else if (affinity < <u64>gicCpuCount()) target = <u32>affinity;
  store<u8>(GIC + intid, <u8>target, GIC_TARGET);
}

/** Reset values of a vCPU's ICC_*_EL1 registers. */
export function gicResetInterface(index: u32): void {
  const part = gicCpu(index);
  store<u32>(part, 0, GC_PMR);
  store<u32>(part, MIN_BPR0, GC_BPR0);
  store<u32>(part, MIN_BPR1, GC_BPR1);
  store<u32>(part, 0, GC_CTLR);
  store<u32>(part, 0, GC_IGRPEN0);
  store<u32>(part, 0, GC_IGRPEN1);
  store<u32>(part, 0, GC_AP0R0);
  store<u32>(part, 0, GC_AP1R0);
}

/** SGIs are always edge-triggered. */
const SGI_MASK: u32 = 0xffff;

export function gicResetState(): void {
  memory.fill(GIC, 0, GIC_STATE_SIZE);
  for (let index: u32 = 0; index < GIC_MAX_CPUS; index++) {
    const part = gicCpu(index);
    store<u32>(part, SGI_MASK, RECORD_EDGE);
    store<u32>(part, WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP, GC_WAKER);
    store<u32>(part, INTID_NONE, GC_HPPI);
    store<u32>(part, PRIORITY_IDLE, GC_HPPI_PRIORITY);
    gicResetInterface(index);
  }
}

function sanitizeRecord(index: u32, n: u32): void {
  const record = gicRecord(index, n);
  const mask = gicRecordMask(n);
  for (let word: u32 = RECORD_GROUP; word <= RECORD_EDGE; word += 4) {
    store<u32>(record + word, load<u32>(record + word) & mask);
  }
}

/**
 * Makes the state one that register accesses could have brought about, whatever bytes have been copied there, and
 * derives again what is derived.
 */
export function gicSanitizeState(): void {
  store<u32>(GIC, load<u32>(GIC, GIC_CTLR) & 3, GIC_CTLR);
  for (let n: u32 = 1; n < 32; n++) sanitizeRecord(0, n);
  for (let intid: u32 = 32; intid < INTID_SPECIAL; intid++) {
    const at = GIC + GIC_PRIORITY + intid;
    store<u8>(at, load<u8>(at) & <u8>PRIORITY_MASK);
    gicSetRouter(intid, load<u64>(GIC + (intid << 3), GIC_ROUTER));
  }
  for (let index: u32 = 0; index < GIC_MAX_CPUS; index++) {
    const part = gicCpu(index);
    sanitizeRecord(index, 0);
    store<u32>(part, load<u32>(part, RECORD_EDGE) | SGI_MASK, RECORD_EDGE);
    store<u32>(part, load<u32>(part, RECORD_LINE) & ~SGI_MASK, RECORD_LINE);
    for (let intid: u32 = 0; intid < 32; intid++) {
      const at = part + GC_PRIORITY + intid;
      store<u8>(at, load<u8>(at) & <u8>PRIORITY_MASK);
    }
    const asleep = (load<u32>(part, GC_WAKER) & WAKER_PROCESSOR_SLEEP) != 0;
    store<u32>(part, asleep ? WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP : 0, GC_WAKER);
    store<u32>(part, load<u32>(part, GC_PMR) & PRIORITY_MASK, GC_PMR);
    store<u32>(part, max(load<u32>(part, GC_BPR0) & 7, MIN_BPR0), GC_BPR0);
    store<u32>(part, max(load<u32>(part, GC_BPR1) & 7, MIN_BPR1), GC_BPR1);
    store<u32>(part, load<u32>(part, GC_CTLR) & 3, GC_CTLR);
    store<u32>(part, load<u32>(part, GC_IGRPEN0) & 1, GC_IGRPEN0);
    store<u32>(part, load<u32>(part, GC_IGRPEN1) & 1, GC_IGRPEN1);
    store<u32>(part, 0, GC_SIGNAL);
  }
}
