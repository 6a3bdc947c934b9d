import { FAULT_EXIT } from './exceptions';
import { gicContains, gicMmioRead, gicMmioWrite } from './gic';
import {
  COALESCED_ADDRESS, COALESCED_FLAGS, COALESCED_LENGTH, COALESCED_RING_ENTRIES, COALESCED_RING_STRIDE,
  COALESCED_STRIDE, CPU_FAULTED, DOORBELL_ACTIVE, DOORBELL_ADDRESS, DOORBELL_FLAGS, DOORBELL_HAS_MATCH,
  DOORBELL_LENGTH, DOORBELL_MATCH, DOORBELL_STRIDE, ERROR_MMIO_LOG_FULL, EXIT_ADDRESS, EXIT_DETAIL, EXIT_ERROR,
  EXIT_LENGTH, EXIT_MMIO, EXIT_REASON, EXIT_VALUE, EXIT_WRITE, HEADER, HEADER_COALESCED, HEADER_COALESCED_HEAD,
  HEADER_COALESCED_LOCK, HEADER_COALESCED_RING, HEADER_COALESCED_TAIL, HEADER_DOORBELL_PENDING, HEADER_DOORBELLS,
  HEADER_OWNER_WAKE, HEADER_SHADOWS, LOG_ADDRESS, LOG_LENGTH, LOG_VALUE, LOG_WRITE, MAX_COALESCED, MAX_DOORBELLS,
  MAX_SHADOWS, MMIO_COUNT, MMIO_CURSOR, MMIO_LOG, MMIO_LOG_ENTRIES, MMIO_LOG_STRIDE, MMIO_OPEN, RING_ADDRESS,
  RING_LENGTH, RING_VALUE, SHADOW_ADDRESS, SHADOW_FLAGS, SHADOW_STRIDE, SHADOW_VALUE,
} from './layout';
import { acquire, release } from './lock';

function wakeOwner(): void {
  atomic.add<i32>(HEADER + HEADER_OWNER_WAKE, 1);
  atomic.notify(HEADER + HEADER_OWNER_WAKE, 1);
}

/** Rings the doorbell that this store hits; false when there is none. */
function ringDoorbell(address: u64, length: u32, value: u64): bool {
  for (let i: u32 = 0; i < MAX_DOORBELLS; i++) {
    const entry: usize = HEADER + HEADER_DOORBELLS + i * DOORBELL_STRIDE;
    if (load<u64>(entry, DOORBELL_ADDRESS) != address || load<u32>(entry, DOORBELL_LENGTH) != length) continue;
    const flags = atomic.load<u32>(entry, DOORBELL_FLAGS);
    if ((flags & DOORBELL_ACTIVE) == 0) continue;
    if ((flags & DOORBELL_HAS_MATCH) != 0 && <u64>load<u32>(entry, DOORBELL_MATCH) != value) continue;
    const bit: u32 = 1 << (i & 31);
    // While the bit is set, the owner has been woken and has not looked yet.
    if ((atomic.or<u32>(HEADER + HEADER_DOORBELL_PENDING + ((i >> 5) << 2), bit) & bit) == 0) wakeOwner();
    return true;
  }
  return false;
}

/** Appends a store to the coalesced ring; false when it is not in a coalesced range, or does not fit. */
function coalesce(address: u64, length: u32, value: u64): bool {
  if (length == 8) return false;
  for (let i: u32 = 0; i < MAX_COALESCED; i++) {
    const entry: usize = HEADER + HEADER_COALESCED + i * COALESCED_STRIDE;
    if (load<u32>(entry, COALESCED_FLAGS) == 0) continue;
    const delta = address - load<u64>(entry, COALESCED_ADDRESS);
    const size = <u64>load<u32>(entry, COALESCED_LENGTH);
    if (delta >= size || delta + length > size) continue;
    acquire(HEADER + HEADER_COALESCED_LOCK);
    const head = load<u32>(HEADER, HEADER_COALESCED_HEAD);
    const next = (head + 1) % COALESCED_RING_ENTRIES;
    const fits = next != atomic.load<u32>(HEADER + HEADER_COALESCED_TAIL);
    let caughtUp = false;
    if (fits) {
      const slot: usize = HEADER + HEADER_COALESCED_RING + head * COALESCED_RING_STRIDE;
      store<u64>(slot, address, RING_ADDRESS);
      store<u32>(slot, length, RING_LENGTH);
      store<u32>(slot, <u32>value, RING_VALUE);
      atomic.store<u32>(HEADER + HEADER_COALESCED_HEAD, next);
      // With older entries left, the owner will look at the head again after it has taken them.
      caughtUp = atomic.load<u32>(HEADER + HEADER_COALESCED_TAIL) == head;
    }
    release(HEADER + HEADER_COALESCED_LOCK);
    if (caughtUp) wakeOwner();
    return fits;
  }
  return false;
}

function logEntry(cpu: usize, index: u32): usize {
  return cpu + MMIO_LOG + index * MMIO_LOG_STRIDE;
}

/** Whether this access was answered before the instruction was begun anew; the cursor then stands behind it. */
function replay(cpu: usize, address: u64, length: u32, write: u32): bool {
  const cursor = load<u32>(cpu, MMIO_CURSOR);
  if (cursor >= load<u32>(cpu, MMIO_COUNT)) return false;
  const entry = logEntry(cpu, cursor);
  if (load<u64>(entry, LOG_ADDRESS) != address || load<u32>(entry, LOG_LENGTH) != length
    || load<u32>(entry, LOG_WRITE) != write) {
    // Not the instruction that made the log: it was changed, or execution went elsewhere.
    store<u32>(cpu, cursor, MMIO_COUNT);
    return false;
  }
  store<u32>(cpu, cursor + 1, MMIO_CURSOR);
  return true;
}

/** Remembers an answered access of the current instruction; there is room, because `replay` came first. */
function record(cpu: usize, address: u64, length: u32, write: u32, value: u64): void {
  const count = load<u32>(cpu, MMIO_COUNT);
  const entry = logEntry(cpu, count);
  store<u64>(entry, address, LOG_ADDRESS);
  store<u32>(entry, length, LOG_LENGTH);
  store<u32>(entry, write, LOG_WRITE);
  store<u64>(entry, value, LOG_VALUE);
  store<u32>(cpu, count + 1, MMIO_COUNT);
  store<u32>(cpu, count + 1, MMIO_CURSOR);
}

function exitToHost(cpu: usize, address: u64, length: u32, write: u32, value: u64): void {
  store<u32>(cpu, FAULT_EXIT, CPU_FAULTED);
  store<u32>(cpu, EXIT_MMIO, EXIT_REASON);
  store<u64>(cpu, address, EXIT_ADDRESS);
  store<u32>(cpu, length, EXIT_LENGTH);
  store<u32>(cpu, write, EXIT_WRITE);
  store<u64>(cpu, value, EXIT_VALUE);
  store<u32>(cpu, 1, MMIO_OPEN);
}

function logFull(cpu: usize): bool {
  if (load<u32>(cpu, MMIO_COUNT) < MMIO_LOG_ENTRIES) return false;
  store<u32>(cpu, FAULT_EXIT, CPU_FAULTED);
  store<u32>(cpu, EXIT_ERROR, EXIT_REASON);
  store<u32>(cpu, ERROR_MMIO_LOG_FULL, EXIT_DETAIL);
  return true;
}

/** Load of 1, 2, 4 or 8 bytes from an address that no memory backs. With `faulted`, the host has to answer first. */
export function mmioRead(cpu: usize, address: u64, length: u32): u64 {
  if (replay(cpu, address, length, 0)) return load<u64>(logEntry(cpu, load<u32>(cpu, MMIO_CURSOR) - 1), LOG_VALUE);
  if (logFull(cpu)) return 0;
  if (gicContains(address)) {
    const value = gicMmioRead(cpu, address, length);
    record(cpu, address, length, 0, value);
    return value;
  }
  if (length <= 4) {
    for (let i: u32 = 0; i < MAX_SHADOWS; i++) {
      const entry: usize = HEADER + HEADER_SHADOWS + i * SHADOW_STRIDE;
      if (load<u64>(entry, SHADOW_ADDRESS) == address && atomic.load<u32>(entry, SHADOW_FLAGS) != 0) {
        const value = <u64>atomic.load<u32>(entry, SHADOW_VALUE) & ((<u64>1 << (length << 3)) - 1);
        record(cpu, address, length, 0, value);
        return value;
      }
    }
  }
  exitToHost(cpu, address, length, 0, 0);
  return 0;
}

/** Store of 1, 2, 4 or 8 bytes to an address that no memory backs, or to read-only memory. */
export function mmioWrite(cpu: usize, address: u64, length: u32, value: u64): void {
  if (replay(cpu, address, length, 1) || logFull(cpu)) return;
  if (length < 8) value &= (<u64>1 << (length << 3)) - 1;
  if (gicContains(address)) {
    gicMmioWrite(cpu, address, length, value);
  } else if (!ringDoorbell(address, length, value) && !coalesce(address, length, value)) {
    exitToHost(cpu, address, length, 1, value);
    return;
  }
  record(cpu, address, length, 1, value);
}

/** Takes the host's answer to the open access into the log; call before going on after an exit. */
export function completeMmio(cpu: usize): void {
  if (load<u32>(cpu, MMIO_OPEN) == 0) return;
  store<u32>(cpu, 0, MMIO_OPEN);
  const length = load<u32>(cpu, EXIT_LENGTH);
  let value = load<u64>(cpu, EXIT_VALUE);
  if (length < 8) value &= (<u64>1 << (length << 3)) - 1;
  record(cpu, load<u64>(cpu, EXIT_ADDRESS), length, load<u32>(cpu, EXIT_WRITE), value);
}

/** Forgets the accesses of an instruction that has retired. */
// @ts-ignore: decorator
@inline
export function clearMmioLog(cpu: usize): void {
  store<u32>(cpu, 0, MMIO_COUNT);
}

/** Whether an instruction is to be executed anew with answered accesses. */
// @ts-ignore: decorator
@inline
export function mmioReplayPending(cpu: usize): bool {
  return load<u32>(cpu, MMIO_COUNT) != 0;
}
