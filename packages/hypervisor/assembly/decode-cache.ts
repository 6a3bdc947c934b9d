import { multiprocessor, resumeOthers, stopOthers } from './barrier';
import {
  DECODE_BASE, DECODE_SLOTS, DECODE_SLOT_COUNT, DECODE_SLOT_SIZE, HEADER, HEADER_DECODE_LOCK, HEADER_DECODE_USED,
  SLOT_PAGE, SLOT_SENTINEL,
} from './layout';
import { acquire, release } from './lock';
import { Op } from './opcodes';
import { flushCode } from './tlb';

// Decoded pages. A record of 8 bytes stands for an instruction; opcode 0 (a cleared record) means "not decoded yet".
// Like an instruction cache, this follows memory only when the guest asks (IC IVAU, IC IALLU; CTR_EL0.DIC is 0).

/** Records of a 64-byte cache line. */
const LINE_RECORDS: u32 = 16;

function tableEntry(page: usize): usize {
  return <usize>DECODE_BASE + (page >> 12 << 2);
}

/** Forgets all decoded pages. Nobody may be executing. */
function dropSlots(): void {
  const used = load<u32>(HEADER, HEADER_DECODE_USED);
  for (let i: u32 = 0; i < used; i++) {
    const slot: usize = DECODE_SLOTS + i * DECODE_SLOT_SIZE;
    store<u32>(tableEntry(load<u32>(slot, SLOT_PAGE)), 0);
    memory.fill(slot, 0, DECODE_SLOT_SIZE);
  }
  store<u32>(HEADER, 0, HEADER_DECODE_USED);
}

/** Decoded page for the page at memory offset `page`. May drop all others, so the caller holds no record. */
export function slotFor(cpu: usize, page: usize): usize {
  const entry = tableEntry(page);
  const found = atomic.load<u32>(entry);
  if (found != 0) return found;
  while (true) {
    acquire(HEADER + HEADER_DECODE_LOCK);
    let slot: usize = atomic.load<u32>(entry);
    if (slot == 0) {
      const used = load<u32>(HEADER, HEADER_DECODE_USED);
      if (used < DECODE_SLOT_COUNT) {
        slot = DECODE_SLOTS + used * DECODE_SLOT_SIZE;
        store<u32>(HEADER, used + 1, HEADER_DECODE_USED);
        store<u32>(slot, <u32>page, SLOT_PAGE);
        store<u64>(slot, Op.PageEnd, SLOT_SENTINEL);
        atomic.store<u32>(entry, <u32>slot);
      }
    }
    release(HEADER + HEADER_DECODE_LOCK);
    if (slot != 0) return slot;
    if (multiprocessor()) stopOthers(cpu);
    if (load<u32>(HEADER, HEADER_DECODE_USED) == DECODE_SLOT_COUNT) dropSlots();
    flushCode(cpu);
    if (multiprocessor()) resumeOthers();
  }
}

/** IC IVAU: the cache line at a memory offset. */
export function invalidateLine(host: usize): void {
  const slot: usize = atomic.load<u32>(tableEntry(host));
  if (slot == 0) return;
  const first = ((<u32>host & 0xfc0) << 1) as usize;
  let record = slot + first;
  const end = record + LINE_RECORDS * 8;
  // The record before may stand for two instructions, the second of which is in this line.
  if (first != 0) record -= 8;
  while (record < end) {
    store<u64>(record, 0);
    record += 8;
  }
}

/** IC IALLU. */
export function invalidateAllLines(): void {
  const used = atomic.load<u32>(HEADER + HEADER_DECODE_USED);
  for (let i: u32 = 0; i < used; i++) {
    let record: usize = DECODE_SLOTS + i * DECODE_SLOT_SIZE;
    const end = record + SLOT_SENTINEL;
    while (record < end) {
      store<u64>(record, 0);
      record += 8;
    }
  }
}
