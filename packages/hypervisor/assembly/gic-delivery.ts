// Which interrupt a PE is offered (IHI 0069, 4.5-4.8). Everything here runs with the lock held.
import { CPU_ATTENTION, GIC } from './layout';
import {
  CTLR_CBPR, GC_AP0R0, GC_AP1R0, GC_BPR0, GC_BPR1, GC_CTLR, GC_HPPI, GC_HPPI_GROUP, GC_HPPI_PRIORITY, GC_IGRPEN0,
  GC_IGRPEN1, GC_PMR, GC_SIGNAL, GC_WAKER, GIC_CTLR, GIC_TARGET, INTID_NONE, PRIORITY_IDLE, RECORD_ACTIVE, RECORD_EDGE,
  RECORD_ENABLE, RECORD_GROUP, RECORD_LATCH, RECORD_LINE, SIGNAL_FIQ, SIGNAL_IRQ, TARGET_ANY, WAKER_PROCESSOR_SLEEP,
  gicCpu, gicPriority, gicRecord,
} from './gic-layout';
import { gicCpuCount, gicRecordCount } from './gic-state';
import { vcpuBlock } from './state';

/** Pending interrupts of a record: latched, or level-sensitive with the line asserted. */
// @ts-ignore: decorator
@inline
export function recordPending(record: usize): u32 {
  return load<u32>(record, RECORD_LATCH) | (load<u32>(record, RECORD_LINE) & ~load<u32>(record, RECORD_EDGE));
}

/** Groups (bit 0 and 1) whose interrupts may be forwarded to the PE. */
function openGroups(part: usize): u32 {
  if ((load<u32>(part, GC_WAKER) & WAKER_PROCESSOR_SLEEP) != 0) return 0;
  return load<u32>(GIC, GIC_CTLR) & (load<u32>(part, GC_IGRPEN0) | (load<u32>(part, GC_IGRPEN1) << 1));
}

/** Group priority of a priority (4.8.2): the part that decides about preemption. */
export function groupPriority(part: usize, priority: u32, group: u32): u32 {
  const common = group == 0 || (load<u32>(part, GC_CTLR) & CTLR_CBPR) != 0;
  const shift = common ? load<u32>(part, GC_BPR0) + 1 : load<u32>(part, GC_BPR1);
  return priority & (0xff << shift);
}

/** ICC_RPR_EL1. */
export function runningPriority(part: usize): u32 {
  const active = load<u32>(part, GC_AP0R0) | load<u32>(part, GC_AP1R0);
  return active == 0 ? PRIORITY_IDLE : ctz(active) << 3;
}

/** The vCPU that takes a 1-of-N interrupt of the group: the first that accepts it. */
function anyTarget(group: u32): u32 {
  const count = gicCpuCount();
  for (let index: u32 = 0; index < count; index++) {
    if (((openGroups(gicCpu(index)) >> group) & 1) != 0) return index;
  }
  return count;
}

function isTarget(index: u32, intid: u32, group: u32): bool {
  if (intid < 32) return true;
  const target = <u32>load<u8>(GIC + intid, GIC_TARGET);
  return target == index || (target == TARGET_ANY && anyTarget(group) == index);
}

/** Makes a vCPU look at its interrupt inputs. */
function callAttention(index: u32): void {
  const at = vcpuBlock(index) + CPU_ATTENTION;
  atomic.store<i32>(at, 1);
  atomic.notify(at, -1);
}

/**
 * Finds the highest priority pending interrupt of a vCPU and decides whether it is signalled. Of equal priorities
 * the lowest INTID comes first.
 */
export function evaluate(index: u32): void {
  const part = gicCpu(index);
  const groups = openGroups(part);
  let best = INTID_NONE;
  let bestPriority = PRIORITY_IDLE;
  let bestGroup: u32 = 0;
  if (groups != 0) {
    const group0 = (groups & 1) != 0 ? 0xffffffff : 0;
    const group1 = (groups & 2) != 0 ? 0xffffffff : 0;
    const count = gicRecordCount();
    for (let n: u32 = 0; n < count; n++) {
      const record = gicRecord(index, n);
      const inGroup1 = load<u32>(record, RECORD_GROUP);
      let ready = recordPending(record) & load<u32>(record, RECORD_ENABLE) & ~load<u32>(record, RECORD_ACTIVE)
        & ((inGroup1 & group1) | (~inGroup1 & group0));
      while (ready != 0) {
        const bit = ctz(ready);
        ready &= ready - 1;
        const intid = (n << 5) | bit;
        const priority = <u32>load<u8>(gicPriority(index, intid));
        const group = (inGroup1 >> bit) & 1;
        if (priority < bestPriority && isTarget(index, intid, group)) {
          best = intid;
          bestPriority = priority;
          bestGroup = group;
        }
      }
    }
  }
  store<u32>(part, best, GC_HPPI);
  store<u32>(part, bestPriority, GC_HPPI_PRIORITY);
  store<u32>(part, bestGroup, GC_HPPI_GROUP);

  let signal: u32 = 0;
  if (best != INTID_NONE && bestPriority < load<u32>(part, GC_PMR)
    && groupPriority(part, bestPriority, bestGroup) < runningPriority(part)) {
    signal = bestGroup == 1 ? SIGNAL_IRQ : SIGNAL_FIQ;
  }
  const before = atomic.load<u32>(part, GC_SIGNAL);
  if (signal == before) return;
  atomic.store<u32>(part, signal, GC_SIGNAL);
  if (signal != 0) callAttention(index);
}

export function evaluateAll(): void {
  const count = gicCpuCount();
  for (let index: u32 = 0; index < count; index++) evaluate(index);
}

/** After a change of one interrupt, made by vCPU `index`. */
export function evaluateInterrupt(index: u32, intid: u32): void {
  if (intid < 32) {
    evaluate(index);
    return;
  }
  const target = <u32>load<u8>(GIC + intid, GIC_TARGET);
  if (target < gicCpuCount()) evaluate(target);
  else if (target == TARGET_ANY) evaluateAll();
}
