// Registers that the distributor has for SPIs and the SGI_base frame for SGIs and PPIs, at the same offsets
// (IHI 0069, 12.8 and 12.10): word n is about interrupts 32 n … 32 n + 31.
import {
  PRIORITY_MASK, RECORD_ACTIVE, RECORD_EDGE, RECORD_ENABLE, RECORD_GROUP, RECORD_LATCH, gicPriority, gicRecord,
} from './gic-layout';
import { recordPending } from './gic-delivery';
import { gicIrqCount, gicRecordMask } from './gic-state';

const IGROUPR: u32 = 0x080;
const ISENABLER: u32 = 0x100;
const ICENABLER: u32 = 0x180;
const ISPENDR: u32 = 0x200;
const ICPENDR: u32 = 0x280;
const ISACTIVER: u32 = 0x300;
const ICACTIVER: u32 = 0x380;
const ISACTIVER_END: u32 = 0x400;
export const IPRIORITYR: u32 = 0x400;
export const IPRIORITYR_END: u32 = 0x800;
const ICFGR: u32 = 0xc00;
const ICFGR_END: u32 = 0xd00;

/** Bit b of the word goes to bit 2 b + 1: a half of the interrupts of a record as GICD_ICFGR shows them. */
function spread(half: u32): u32 {
  let r: u32 = 0;
  for (let bit: u32 = 0; bit < 16; bit++) r |= ((half >> bit) & 1) << (2 * bit + 1);
  return r;
}

function gather(word: u32): u32 {
  let r: u32 = 0;
  for (let bit: u32 = 0; bit < 16; bit++) r |= ((word >> (2 * bit + 1)) & 1) << bit;
  return r;
}

function priorityRead(index: u32, first: u32, length: u32): u32 {
  const irqs = gicIrqCount();
  let r: u32 = 0;
  for (let i: u32 = 0; i < length; i++) {
    if (first + i < irqs) r |= <u32>load<u8>(gicPriority(index, first + i)) << (8 * i);
  }
  return r;
}

function priorityWrite(index: u32, first: u32, length: u32, value: u32): void {
  const irqs = gicIrqCount();
  for (let i: u32 = 0; i < length; i++) {
    if (first + i < irqs) store<u8>(gicPriority(index, first + i), <u8>((value >> (8 * i)) & PRIORITY_MASK));
  }
}

/** Whether bankRead and bankWrite answer for this offset. */
export function bankContains(offset: u32): bool {
  return (offset >= IGROUPR && offset < IPRIORITYR_END) || (offset >= ICFGR && offset < ICFGR_END);
}

/** Record that an offset is about; priorities and configuration are not by 32. */
export function bankRecord(offset: u32): u32 {
  if (offset >= ICFGR) return (offset - ICFGR) >> 3;
  if (offset >= IPRIORITYR) return (offset - IPRIORITYR) >> 5;
  return (offset & 0x7f) >> 2;
}

/** @param length 4, or 1 for a priority; `offset` is a multiple of it */
export function bankRead(index: u32, offset: u32, length: u32): u32 {
  if (offset >= IPRIORITYR && offset < IPRIORITYR_END) return priorityRead(index, offset - IPRIORITYR, length);
  if (length != 4) return 0;
  const record = gicRecord(index, bankRecord(offset));
  if (offset >= ICFGR) return spread(load<u32>(record, RECORD_EDGE) >> ((offset & 4) << 2));
  if (offset < ISENABLER) return load<u32>(record, RECORD_GROUP);
  if (offset < ISPENDR) return load<u32>(record, RECORD_ENABLE);
  if (offset < ISACTIVER) return recordPending(record);
  return load<u32>(record, RECORD_ACTIVE);
}

// @ts-ignore: decorator
@inline
function setBits(at: usize, bits: u32): void {
  store<u32>(at, load<u32>(at) | bits);
}

// @ts-ignore: decorator
@inline
function clearBits(at: usize, bits: u32): void {
  store<u32>(at, load<u32>(at) & ~bits);
}

/** @param length 4, or 1 for a priority; `offset` is a multiple of it */
export function bankWrite(index: u32, offset: u32, length: u32, value: u32): void {
  if (offset >= IPRIORITYR && offset < IPRIORITYR_END) {
    priorityWrite(index, offset - IPRIORITYR, length, value);
    return;
  }
  if (length != 4) return;
  const n = bankRecord(offset);
  const record = gicRecord(index, n);
  const mask = gicRecordMask(n);
  const bits = value & mask;
  if (offset >= ICFGR) {
    const shift = (offset & 4) << 2;
    // Interrupts 0 … 15 are SGIs, whose configuration is read-only.
    if (n == 0 && shift == 0) return;
    const others = load<u32>(record, RECORD_EDGE) & ~(0xffff << shift);
    store<u32>(record, (others | (gather(value) << shift)) & mask, RECORD_EDGE);
  } else if (offset < ISENABLER) store<u32>(record, bits, RECORD_GROUP);
  else if (offset < ICENABLER) setBits(record + RECORD_ENABLE, bits);
  else if (offset < ISPENDR) clearBits(record + RECORD_ENABLE, bits);
  else if (offset < ICPENDR) setBits(record + RECORD_LATCH, bits);
  else if (offset < ISACTIVER) clearBits(record + RECORD_LATCH, bits);
  else if (offset < ICACTIVER) setBits(record + RECORD_ACTIVE, bits);
  else if (offset < ISACTIVER_END) clearBits(record + RECORD_ACTIVE, bits);
}
