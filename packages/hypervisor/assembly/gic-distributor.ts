// The distributor's frame (IHI 0069, 12.9).
import { GIC } from './layout';
import { GIC_CTLR, GIC_ROUTER } from './gic-layout';
import { IPRIORITYR, IPRIORITYR_END, bankContains, bankRead, bankRecord, bankWrite } from './gic-bank';
import { evaluateAll } from './gic-delivery';
import { gicIdentification, GIC_IIDR } from './gic-identification';
import { gicIrqCount, gicRecordCount, gicSetRouter } from './gic-state';

export const GICD_SIZE: u64 = 0x10000;
const GICD_CTLR: u32 = 0x0000;
const GICD_TYPER: u32 = 0x0004;
const GICD_IIDR: u32 = 0x0008;
const GICD_IROUTER: u32 = 0x6000;
const GICD_IROUTER_END: u32 = 0x8000;

/** ARE and DS are RAO/WI, RWP is always 0: writes take effect at once. */
const CTLR_FIXED: u32 = 0x50;
const CTLR_ENABLES: u32 = 3;
/** A3V (bit 24) and ten bits of INTID (bits 23:19, minus one). */
const TYPER_FIXED: u32 = 0x01000000 | (9 << 19);

// @ts-ignore: decorator
@inline
function aligned(offset: u32, length: u32): bool {
  return (offset & (length - 1)) == 0;
}

function isRouter(offset: u32): bool {
  return offset >= GICD_IROUTER && offset < GICD_IROUTER_END;
}

function routerIntid(offset: u32): u32 {
  return (offset - GICD_IROUTER) >> 3;
}

function isSpi(intid: u32): bool {
  return intid >= 32 && intid < gicIrqCount();
}

/** Whether the banked offsets are about SPIs: with affinity routing the words of SGIs and PPIs are RAZ/WI here. */
function isSpiBank(offset: u32): bool {
  if (!bankContains(offset)) return false;
  const n = bankRecord(offset);
  return n != 0 && n < gicRecordCount();
}

export function distributorRead(index: u32, offset: u32, length: u32): u64 {
  if (!aligned(offset, length)) return 0;
  if (isRouter(offset) && length >= 4) {
    const intid = routerIntid(offset);
    if (!isSpi(intid)) return 0;
    const router = load<u64>(GIC + (intid << 3), GIC_ROUTER);
    return length == 8 ? router : (router >> <u64>((offset & 4) << 3)) & 0xffffffff;
  }
  if (isSpiBank(offset)) {
    const priority = offset >= IPRIORITYR && offset < IPRIORITYR_END;
    return length == 4 || (priority && length == 1) ? bankRead(index, offset, length) : 0;
  }
  if (length != 4) return 0;
  switch (offset) {
    case GICD_CTLR: return load<u32>(GIC, GIC_CTLR) | CTLR_FIXED;
    case GICD_TYPER: return TYPER_FIXED | (gicRecordCount() - 1);
    case GICD_IIDR: return GIC_IIDR;
    default: return gicIdentification(offset);
  }
}

export function distributorWrite(index: u32, offset: u32, length: u32, value: u64): void {
  if (!aligned(offset, length)) return;
  if (isRouter(offset) && length >= 4) {
    const intid = routerIntid(offset);
    if (!isSpi(intid)) return;
    let router = value;
    if (length == 4) {
      const shift = <u64>((offset & 4) << 3);
      const mask: u64 = (<u64>0xffffffff) << shift;
      router = (load<u64>(GIC + (intid << 3), GIC_ROUTER) & ~mask) | ((value << shift) & mask);
    }
    gicSetRouter(intid, router);
  } else if (isSpiBank(offset)) {
    const priority = offset >= IPRIORITYR && offset < IPRIORITYR_END;
    if (length != 4 && !(priority && length == 1)) return;
    bankWrite(index, offset, length, <u32>value);
  } else if (offset == GICD_CTLR && length == 4) {
    store<u32>(GIC, <u32>value & CTLR_ENABLES, GIC_CTLR);
  } else return;
  evaluateAll();
}
