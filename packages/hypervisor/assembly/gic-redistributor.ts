// The redistributors' frames RD_base and SGI_base (IHI 0069, 12.10 and 12.11).
import { GC_WAKER, WAKER_CHILDREN_ASLEEP, WAKER_PROCESSOR_SLEEP, gicCpu } from './gic-layout';
import { IPRIORITYR, IPRIORITYR_END, bankContains, bankRead, bankRecord, bankWrite } from './gic-bank';
import { evaluate, evaluateAll } from './gic-delivery';
import { GIC_IIDR, gicIdentification } from './gic-identification';
import { gicCpuCount } from './gic-state';

/** Both frames of one vCPU. */
export const GICR_STRIDE: u64 = 0x20000;
const SGI_BASE: u32 = 0x10000;
const GICR_IIDR: u32 = 0x0004;
const GICR_TYPER: u32 = 0x0008;
const GICR_TYPER_HIGH: u32 = 0x000c;
const GICR_WAKER: u32 = 0x0014;
const TYPER_LAST: u64 = 0x10;

/** Affinity_Value (bits 63:32), Processor_Number (bits 23:8), Last (bit 4). */
function typer(index: u32): u64 {
  const last = index == gicCpuCount() - 1 ? TYPER_LAST : 0;
  return (<u64>index << 32) | (<u64>index << 8) | last;
}

function isBank(offset: u32, length: u32): bool {
  if (!bankContains(offset) || bankRecord(offset) != 0) return false;
  const priority = offset >= IPRIORITYR && offset < IPRIORITYR_END;
  return length == 4 || (priority && length == 1);
}

/**
 * @param index vCPU that the redistributor belongs to, not the one that makes the access
 * @param offset from its RD_base, less than GICR_STRIDE
 */
export function redistributorRead(index: u32, offset: u32, length: u32): u64 {
  if ((offset & (length - 1)) != 0) return 0;
  if (offset >= SGI_BASE) {
    const within = offset - SGI_BASE;
    if (isBank(within, length)) return bankRead(index, within, length);
    return length == 4 ? gicIdentification(within) : 0;
  }
  if (offset == GICR_TYPER && length == 8) return typer(index);
  if (length != 4) return 0;
  switch (offset) {
    case GICR_IIDR: return GIC_IIDR;
    case GICR_TYPER: return typer(index) & 0xffffffff;
    case GICR_TYPER_HIGH: return typer(index) >> 32;
    case GICR_WAKER: return load<u32>(gicCpu(index), GC_WAKER);
    default: return gicIdentification(offset);
  }
}

export function redistributorWrite(index: u32, offset: u32, length: u32, value: u32): void {
  if ((offset & (length - 1)) != 0) return;
  if (offset >= SGI_BASE) {
    const within = offset - SGI_BASE;
    if (!isBank(within, length)) return;
    bankWrite(index, within, length, value);
    evaluate(index);
  } else if (offset == GICR_WAKER && length == 4) {
    // ChildrenAsleep follows ProcessorSleep at once.
    const asleep = (value & WAKER_PROCESSOR_SLEEP) != 0;
    store<u32>(gicCpu(index), asleep ? WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP : 0, GC_WAKER);
    evaluateAll();
  }
}
