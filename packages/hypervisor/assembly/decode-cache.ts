import { FLUSH_CODE, maintain, resumeOthers, stopOthers } from './barrier';
import {
  CODE_LINES, CODE_PAGE, CODE_QUEUE_ENTRIES, CODE_QUEUE_STRIDE, CPU_CODE_COUNT, CPU_CODE_QUEUE, DECODE_BASE,
  DECODE_SLOTS, DECODE_SLOT_SIZE, HEADER, HEADER_DECODE_LIMIT, HEADER_DECODE_LOCK, HEADER_DECODE_USED,
  SLOT_PAGE, SLOT_SENTINEL,
} from './layout';
import { acquire, release } from './lock';
import { Op } from './opcodes';

// Decoded pages. A record of 8 bytes stands for an instruction; opcode 0 (a cleared record) means "not decoded yet".
// Like an instruction cache, this follows memory only when the guest asks (IC IVAU, IC IALLU; CTR_EL0.DIC is 0).
//
// A vCPU reads the opcode of a record first and its operands later. So while one executes, a record changes only from
// "not decoded" to what it is then. IC only notes what is to be cleared, and DSB, which the guest owes after it (Arm ARM
// B2.4.4), clears it while no other vCPU executes.

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
      if (used < load<u32>(HEADER, HEADER_DECODE_LIMIT)) {
        slot = DECODE_SLOTS + used * DECODE_SLOT_SIZE;
        store<u32>(HEADER, used + 1, HEADER_DECODE_USED);
        store<u32>(slot, <u32>page, SLOT_PAGE);
        store<u64>(slot, Op.PageEnd, SLOT_SENTINEL);
        atomic.store<u32>(entry, <u32>slot);
      }
    }
    release(HEADER + HEADER_DECODE_LOCK);
    if (slot != 0) return slot;
    stopOthers(cpu);
    if (load<u32>(HEADER, HEADER_DECODE_USED) >= load<u32>(HEADER, HEADER_DECODE_LIMIT)) dropSlots();
    maintain(cpu, FLUSH_CODE, 0, true);
    resumeOthers();
  }
}

/** Clears the records of one cache line of a decoded page. */
function clearLine(slot: usize, line: u32): void {
  let record = slot + ((line * LINE_RECORDS) << 3);
  const end = record + LINE_RECORDS * 8;
  // The record before may stand for two instructions, the second of which is in this line.
  if (line != 0) record -= 8;
  memory.fill(record, 0, end - record);
}

function clearLines(page: usize, lines: u64): void {
  const slot: usize = atomic.load<u32>(tableEntry(page));
  if (slot == 0) return;
  while (lines != 0) {
    clearLine(slot, <u32>ctz(lines));
    lines &= lines - 1;
  }
}

/** Clears the records of all decoded pages. Nobody may be executing. */
export function clearAllLines(): void {
  const used = load<u32>(HEADER, HEADER_DECODE_USED);
  for (let i: u32 = 0; i < used; i++) memory.fill(DECODE_SLOTS + i * DECODE_SLOT_SIZE, 0, SLOT_SENTINEL);
}

/** IC IALLU, to be completed. */
export function noteAllLines(cpu: usize): void {
  store<u32>(cpu, CODE_QUEUE_ENTRIES + 1, CPU_CODE_COUNT);
}

/**
 * IC IVAU of the cache line at a memory offset, to be completed. True when there was no room to note it and it is
 * complete already: see {@link completeMaintenance}.
 */
export function noteLine(cpu: usize, host: usize): bool {
  const page = host & ~0xfff;
  // Whoever decodes this page from now on reads what is in memory now: a DSB has come between the store and this.
  if (atomic.load<u32>(tableEntry(page)) == 0) return false;
  const count = load<u32>(cpu, CPU_CODE_COUNT);
  if (count > CODE_QUEUE_ENTRIES) return false;
  const line = <u64>1 << ((host & 0xfff) >> 6);
  const last = cpu + CPU_CODE_QUEUE + (count - 1) * CODE_QUEUE_STRIDE;
  if (count != 0 && load<u32>(last, CODE_PAGE) == <u32>page) {
    store<u64>(last, load<u64>(last, CODE_LINES) | line, CODE_LINES);
    return false;
  }
  const next = last + CODE_QUEUE_STRIDE;
  store<u32>(next, <u32>page, CODE_PAGE);
  store<u64>(next, line, CODE_LINES);
  store<u32>(cpu, count + 1, CPU_CODE_COUNT);
  if (count + 1 < CODE_QUEUE_ENTRIES) return false;
  completeMaintenance(cpu);
  return true;
}

/** Whether maintenance was noted that is not complete. */
// @ts-ignore: decorator
@inline
export function maintenanceNoted(cpu: usize): bool {
  return load<u32>(cpu, CPU_CODE_COUNT) != 0;
}

/** Forgets the maintenance that this vCPU has noted. */
export function dropMaintenance(cpu: usize): void {
  store<u32>(cpu, 0, CPU_CODE_COUNT);
}

/** Clears what this vCPU has noted, while no other executes. The caller holds no record, and resolves PC anew. */
export function completeMaintenance(cpu: usize): void {
  stopOthers(cpu);
  const count = load<u32>(cpu, CPU_CODE_COUNT);
  if (count > CODE_QUEUE_ENTRIES) {
    clearAllLines();
  } else {
    for (let i: u32 = 0; i < count; i++) {
      const entry = cpu + CPU_CODE_QUEUE + i * CODE_QUEUE_STRIDE;
      clearLines(load<u32>(entry, CODE_PAGE), load<u64>(entry, CODE_LINES));
    }
  }
  dropMaintenance(cpu);
  resumeOthers();
}
