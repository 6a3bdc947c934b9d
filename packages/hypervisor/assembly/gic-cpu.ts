// The CPU interface's system registers (IHI 0069, 12.2).
import {
  CTLR_CBPR, CTLR_EOIMODE, GC_AP0R0, GC_AP1R0, GC_BPR0, GC_BPR1, GC_CTLR, GC_HPPI, GC_HPPI_GROUP, GC_HPPI_PRIORITY,
  GC_IGRPEN0, GC_IGRPEN1, GC_PMR, GC_SIGNAL, INTID_NONE, INTID_SPECIAL, MIN_BPR0, MIN_BPR1, PRIORITY_MASK,
  RECORD_ACTIVE, RECORD_GROUP, RECORD_LATCH, SIGNAL_FIQ, SIGNAL_IRQ, gicCpu, gicRecord,
} from './gic-layout';
import { evaluate, evaluateAll, evaluateInterrupt, groupPriority, runningPriority } from './gic-delivery';
import { gicCpuCount, gicIrqCount } from './gic-state';

// op0:op1:CRn:CRm:op2.
const ICC_PMR_EL1: u32 = 0xc230;
const ICC_IAR0_EL1: u32 = 0xc640;
const ICC_EOIR0_EL1: u32 = 0xc641;
const ICC_HPPIR0_EL1: u32 = 0xc642;
const ICC_BPR0_EL1: u32 = 0xc643;
const ICC_AP0R0_EL1: u32 = 0xc644;
const ICC_AP1R0_EL1: u32 = 0xc648;
const ICC_DIR_EL1: u32 = 0xc659;
const ICC_RPR_EL1: u32 = 0xc65b;
const ICC_SGI1R_EL1: u32 = 0xc65d;
const ICC_ASGI1R_EL1: u32 = 0xc65e;
const ICC_SGI0R_EL1: u32 = 0xc65f;
const ICC_IAR1_EL1: u32 = 0xc660;
const ICC_EOIR1_EL1: u32 = 0xc661;
const ICC_HPPIR1_EL1: u32 = 0xc662;
const ICC_BPR1_EL1: u32 = 0xc663;
const ICC_CTLR_EL1: u32 = 0xc664;
const ICC_SRE_EL1: u32 = 0xc665;
const ICC_IGRPEN0_EL1: u32 = 0xc666;
const ICC_IGRPEN1_EL1: u32 = 0xc667;

/** A3V (bit 15), 16 bits of INTID (bits 13:11: 0), five bits of priority (bits 10:8, minus one). */
const CTLR_FIXED: u32 = 0x8000 | (4 << 8);
/** SRE, DFB and DIB: there is no memory-mapped interface and no bypass. */
const SRE_FIXED: u32 = 7;

/** Access of an encoding: 0 none, 1 read-only, 2 write-only, 3 both. */
export function gicSystemAccess(encoding: u32): u32 {
  switch (encoding) {
    case ICC_IAR0_EL1:
    case ICC_IAR1_EL1:
    case ICC_HPPIR0_EL1:
    case ICC_HPPIR1_EL1:
    case ICC_RPR_EL1:
      return 1;
    case ICC_EOIR0_EL1:
    case ICC_EOIR1_EL1:
    case ICC_DIR_EL1:
    case ICC_SGI0R_EL1:
    case ICC_SGI1R_EL1:
    case ICC_ASGI1R_EL1:
      return 2;
    case ICC_PMR_EL1:
    case ICC_BPR0_EL1:
    case ICC_BPR1_EL1:
    case ICC_AP0R0_EL1:
    case ICC_AP1R0_EL1:
    case ICC_CTLR_EL1:
    case ICC_SRE_EL1:
    case ICC_IGRPEN0_EL1:
    case ICC_IGRPEN1_EL1:
      return 3;
    default:
      return 0;
  }
}

function acknowledge(index: u32, group: u32): u32 {
  const part = gicCpu(index);
  if (load<u32>(part, GC_SIGNAL) != (group == 1 ? SIGNAL_IRQ : SIGNAL_FIQ)) return INTID_NONE;
  const intid = load<u32>(part, GC_HPPI);
  const record = gicRecord(index, intid >> 5);
  const bit: u32 = <u32>1 << (intid & 31);
  store<u32>(record, load<u32>(record, RECORD_ACTIVE) | bit, RECORD_ACTIVE);
  store<u32>(record, load<u32>(record, RECORD_LATCH) & ~bit, RECORD_LATCH);
  const level = groupPriority(part, load<u32>(part, GC_HPPI_PRIORITY), group) >> 3;
  const at = part + (group == 1 ? GC_AP1R0 : GC_AP0R0);
  store<u32>(at, load<u32>(at) | (<u32>1 << level));
  evaluate(index);
  return intid;
}

function deactivate(index: u32, intid: u32): void {
  if (intid >= gicIrqCount()) return;
  const record = gicRecord(index, intid >> 5);
  store<u32>(record, load<u32>(record, RECORD_ACTIVE) & ~(<u32>1 << (intid & 31)), RECORD_ACTIVE);
  evaluateInterrupt(index, intid);
}

/**
 * Priority drop, and deactivation with EOImode 0. An end of interrupt for a group that does not hold the running
 * priority is UNPREDICTABLE, and ignored.
 */
function endOfInterrupt(index: u32, group: u32, value: u64): void {
  const intid = <u32>value & 0xffffff;
  if (intid >= INTID_SPECIAL) return;
  const part = gicCpu(index);
  const at = part + (group == 1 ? GC_AP1R0 : GC_AP0R0);
  const own = load<u32>(at);
  const other = load<u32>(part + (group == 1 ? GC_AP0R0 : GC_AP1R0));
  if (own == 0 || ctz(own) > ctz(other)) return;
  store<u32>(at, own & (own - 1));
  if ((load<u32>(part, GC_CTLR) & CTLR_EOIMODE) == 0) deactivate(index, intid);
  evaluate(index);
}

/**
 * SGIs to other vCPUs (12.2.19). In one Security state ICC_SGI1R_EL1 reaches SGIs of either group, the two others
 * those of group 0.
 */
function sendSgi(index: u32, value: u64, group0Only: bool): void {
  const bit: u32 = <u32>1 << <u32>((value >> 24) & 15);
  const others = ((value >> 40) & 1) != 0;
  // Aff3, RS, Aff2 and Aff1 are 0 for every vCPU.
  if (!others && (value & 0x00fff0ff00ff0000) != 0) return;
  const targets = others ? ~(<u32>1 << index) : <u32>value & 0xffff;
  const count = gicCpuCount();
  for (let target: u32 = 0; target < count; target++) {
    if (((targets >> target) & 1) == 0) continue;
    const record = gicRecord(target, 0);
    if (group0Only && (load<u32>(record, RECORD_GROUP) & bit) != 0) continue;
    store<u32>(record, load<u32>(record, RECORD_LATCH) | bit, RECORD_LATCH);
    evaluate(target);
  }
}

function highestPending(part: usize, group: u32): u32 {
  return load<u32>(part, GC_HPPI_GROUP) == group ? load<u32>(part, GC_HPPI) : INTID_NONE;
}

export function interfaceRead(index: u32, encoding: u32): u64 {
  const part = gicCpu(index);
  switch (encoding) {
    case ICC_IAR0_EL1: return acknowledge(index, 0);
    case ICC_IAR1_EL1: return acknowledge(index, 1);
    case ICC_HPPIR0_EL1: return highestPending(part, 0);
    case ICC_HPPIR1_EL1: return highestPending(part, 1);
    case ICC_PMR_EL1: return load<u32>(part, GC_PMR);
    case ICC_RPR_EL1: return runningPriority(part);
    case ICC_BPR0_EL1: return load<u32>(part, GC_BPR0);
    case ICC_BPR1_EL1:
      if ((load<u32>(part, GC_CTLR) & CTLR_CBPR) != 0) return min(load<u32>(part, GC_BPR0) + 1, 7);
      return load<u32>(part, GC_BPR1);
    case ICC_AP0R0_EL1: return load<u32>(part, GC_AP0R0);
    case ICC_AP1R0_EL1: return load<u32>(part, GC_AP1R0);
    case ICC_CTLR_EL1: return CTLR_FIXED | load<u32>(part, GC_CTLR);
    case ICC_SRE_EL1: return SRE_FIXED;
    case ICC_IGRPEN0_EL1: return load<u32>(part, GC_IGRPEN0);
    case ICC_IGRPEN1_EL1: return load<u32>(part, GC_IGRPEN1);
    default: return 0;
  }
}

export function interfaceWrite(index: u32, encoding: u32, value: u64): void {
  const part = gicCpu(index);
  const word = <u32>value;
  switch (encoding) {
    case ICC_EOIR0_EL1: endOfInterrupt(index, 0, value); return;
    case ICC_EOIR1_EL1: endOfInterrupt(index, 1, value); return;
    case ICC_DIR_EL1:
      // With EOImode 0 the end of interrupt has deactivated it: UNPREDICTABLE, and ignored.
      if ((load<u32>(part, GC_CTLR) & CTLR_EOIMODE) != 0) deactivate(index, word & 0xffffff);
      return;
    case ICC_SGI1R_EL1: sendSgi(index, value, false); return;
    case ICC_ASGI1R_EL1:
    case ICC_SGI0R_EL1: sendSgi(index, value, true); return;
    case ICC_IGRPEN0_EL1:
      store<u32>(part, word & 1, GC_IGRPEN0);
      evaluateAll();
      return;
    case ICC_IGRPEN1_EL1:
      store<u32>(part, word & 1, GC_IGRPEN1);
      evaluateAll();
      return;
    case ICC_PMR_EL1: store<u32>(part, word & PRIORITY_MASK, GC_PMR); break;
    case ICC_BPR0_EL1: store<u32>(part, max(word & 7, MIN_BPR0), GC_BPR0); break;
    case ICC_BPR1_EL1:
      if ((load<u32>(part, GC_CTLR) & CTLR_CBPR) == 0) store<u32>(part, max(word & 7, MIN_BPR1), GC_BPR1);
      break;
    case ICC_AP0R0_EL1: store<u32>(part, word, GC_AP0R0); break;
    case ICC_AP1R0_EL1: store<u32>(part, word, GC_AP1R0); break;
    case ICC_CTLR_EL1: store<u32>(part, word & (CTLR_CBPR | CTLR_EOIMODE), GC_CTLR); break;
    default: return;
  }
  evaluate(index);
}
