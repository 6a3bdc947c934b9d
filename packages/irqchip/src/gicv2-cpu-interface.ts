import { lowestBit, SGI_COUNT, type GicV2Core } from './gicv2-core.ts';
import * as R from './gicv2-registers.ts';
import { INTID_END } from './gic.ts';

/** Reads a register of a CPU's interface (IHI 0048 §4.4). */
export function interfaceRead(gic: GicV2Core, cpu: number, offset: number, length: 1 | 2 | 4): number {
  if (length !== 4) return 0;
  switch (offset) {
    case R.GICC_CTLR:
      return gic.interfaceControl[cpu]!;
    case R.GICC_PMR:
      return gic.priorityMask[cpu]!;
    case R.GICC_BPR:
      return gic.binaryPoint[cpu]!;
    case R.GICC_ABPR:
      return gic.aliasedBinaryPoint[cpu]!;
    case R.GICC_IAR:
      return acknowledge(gic, cpu, false);
    case R.GICC_AIAR:
      return acknowledge(gic, cpu, true);
    case R.GICC_RPR:
      return gic.runningPriority(cpu);
    case R.GICC_HPPIR:
      return offered(gic, cpu, gic.highest[cpu]!, false);
    case R.GICC_AHPPIR:
      return offered(gic, cpu, gic.highest[cpu]!, true);
    case R.GICC_APR0:
      return gic.activePriorities0[cpu]!;
    case R.GICC_NSAPR0:
      return gic.activePriorities1[cpu]!;
    case R.GICC_IIDR:
      return R.GICC_IIDR_VALUE;
    default:
      return 0;
  }
}

/** Writes a register of a CPU's interface. */
export function interfaceWrite(
  gic: GicV2Core,
  cpu: number,
  offset: number,
  length: 1 | 2 | 4,
  value: number,
): void {
  if (length !== 4) return;
  switch (offset) {
    case R.GICC_CTLR:
      gic.interfaceControl[cpu] = value & R.CTLR_MASK;
      break;
    case R.GICC_PMR:
      gic.priorityMask[cpu] = value & R.PRIORITY_MASK;
      break;
    case R.GICC_BPR:
      gic.binaryPoint[cpu] = Math.max(value & 7, R.MIN_BPR);
      break;
    case R.GICC_ABPR:
      gic.aliasedBinaryPoint[cpu] = Math.max(value & 7, R.MIN_ABPR);
      break;
    case R.GICC_EOIR:
      endOfInterrupt(gic, cpu, value, false);
      return;
    case R.GICC_AEOIR:
      endOfInterrupt(gic, cpu, value, true);
      return;
    case R.GICC_DIR:
      // With EOImode 0 the end of interrupt has deactivated it: UNPREDICTABLE, and ignored (§4.4.15).
      if ((gic.interfaceControl[cpu]! & R.CTLR_EOIMODE) === 0) return;
      deactivate(gic, cpu, value & 0x3ff);
      gic.evaluateAll();
      return;
    case R.GICC_APR0:
      gic.activePriorities0[cpu] = value;
      break;
    case R.GICC_NSAPR0:
      gic.activePriorities1[cpu] = value;
      break;
    default:
      return;
  }
  gic.evaluate(cpu);
}

/** What a register that asks for group 0, or an alias that asks for group 1, answers for an interrupt (§4.4.4). */
function offered(gic: GicV2Core, cpu: number, intid: number, alias: boolean): number {
  if (intid >= INTID_END) return R.INTID_SPURIOUS;
  const group = gic.highestGroup[cpu]!;
  if (alias && group === 0) return R.INTID_SPURIOUS;
  if (!alias && group === 1 && (gic.interfaceControl[cpu]! & R.CTLR_ACKCTL) === 0) return R.INTID_GROUP1;
  return intid < SGI_COUNT ? intid | (lowestSource(gic, cpu, intid) << 10) : intid;
}

/** The CPU that has sent an SGI, for the CPUID field; of several the lowest. */
function lowestSource(gic: GicV2Core, cpu: number, sgi: number): number {
  const sources = gic.sgiSources[cpu * SGI_COUNT + sgi]!;
  return sources === 0 ? 0 : lowestBit(sources);
}

function acknowledge(gic: GicV2Core, cpu: number, alias: boolean): number {
  if (gic.signal[cpu] === 0) return R.INTID_SPURIOUS;
  const intid = gic.highest[cpu]!;
  const answer = offered(gic, cpu, intid, alias);
  if (answer === R.INTID_SPURIOUS || answer === R.INTID_GROUP1) return answer;
  const group = gic.highestGroup[cpu]!;
  const record = gic.record(cpu, intid >>> 5);
  const bit = 1 << (intid & 31);
  gic.active[record]! |= bit;
  if (intid < SGI_COUNT) {
    const at = cpu * SGI_COUNT + intid;
    gic.sgiSources[at]! &= ~(1 << (answer >>> 10));
    if (gic.sgiSources[at] === 0) gic.latch[record]! &= ~bit;
  } else gic.latch[record]! &= ~bit;
  const level = gic.groupPriority(cpu, gic.highestPriority[cpu]!, group) >> 3;
  const priorities = group === 1 ? gic.activePriorities1 : gic.activePriorities0;
  priorities[cpu]! |= 1 << level;
  // Other CPUs that an SPI is targeted at do not see it any more.
  gic.evaluateAll();
  return answer;
}

/**
 * Priority drop, and deactivation with EOImode 0 (§3.2.1). An end for a group that does not hold the running
 * priority is UNPREDICTABLE, and ignored.
 */
function endOfInterrupt(gic: GicV2Core, cpu: number, value: number, alias: boolean): void {
  const intid = value & 0x3ff;
  if (intid >= INTID_END) return;
  const control = gic.interfaceControl[cpu]!;
  const first0 = firstPriority(gic.activePriorities0[cpu]!);
  const first1 = firstPriority(gic.activePriorities1[cpu]!);
  if (first0 < first1 || (first0 === first1 && !alias)) {
    if (alias || first0 === NO_PRIORITY) return;
    gic.activePriorities0[cpu]! &= gic.activePriorities0[cpu]! - 1;
  } else {
    if (first1 === NO_PRIORITY || (!alias && (control & R.CTLR_ACKCTL) === 0)) return;
    gic.activePriorities1[cpu]! &= gic.activePriorities1[cpu]! - 1;
  }
  if ((control & R.CTLR_EOIMODE) === 0) deactivate(gic, cpu, intid);
  gic.evaluateAll();
}

const NO_PRIORITY = 32;

function firstPriority(active: number): number {
  return active === 0 ? NO_PRIORITY : lowestBit(active);
}

function deactivate(gic: GicV2Core, cpu: number, intid: number): void {
  if (intid < gic.irqs) gic.active[gic.record(cpu, intid >>> 5)]! &= ~(1 << (intid & 31));
}
