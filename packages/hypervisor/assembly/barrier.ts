import {
  CPU_ATTENTION, CPU_FLUSH_COUNT, CPU_FLUSH_DONE, CPU_FLUSH_LOCK, CPU_FLUSH_QUEUE, CPU_FLUSH_REQUESTED, CPU_RUNNING,
  FLUSH_QUEUE_ENTRIES, FLUSH_QUEUE_STRIDE, HEADER, HEADER_STOP, HEADER_VCPU_COUNT,
} from './layout';
import { acquire, release } from './lock';
import { vcpuBlock } from './state';
import { flushAddress, flushAll, flushAsid, flushCode, flushWritable } from './tlb';

// What one vCPU asks of the others: TLB maintenance with the inner shareable domain. A request is queued; the other
// vCPU does it at the end of its slice or before it runs again, and DSB waits for those that are running. Waiting is
// polling throughout (see gicLock()): what is waited for is at most a slice away.

export const FLUSH_ALL: u32 = 0;
export const FLUSH_ADDRESS: u32 = 1;
export const FLUSH_ASID: u32 = 2;
/** Leave all decoded pages: they are about to be dropped. */
export const FLUSH_CODE: u32 = 3;
/** Let no data page be stored to without a look at the dirty log. */
export const FLUSH_WRITABLE: u32 = 4;

function perform(cpu: usize, kind: u32, operand: u64): void {
  switch (kind) {
    case FLUSH_ADDRESS: { flushAddress(cpu, operand); break; }
    case FLUSH_ASID: { flushAsid(cpu, <u32>operand); break; }
    case FLUSH_CODE: { flushCode(cpu); break; }
    case FLUSH_WRITABLE: { flushWritable(cpu); break; }
    default: flushAll(cpu);
  }
}

function request(cpu: usize, kind: u32, operand: u64): void {
  acquire(cpu + CPU_FLUSH_LOCK);
  const count = load<u32>(cpu, CPU_FLUSH_COUNT);
  if (count < FLUSH_QUEUE_ENTRIES) {
    const entry = cpu + CPU_FLUSH_QUEUE + count * FLUSH_QUEUE_STRIDE;
    store<u32>(entry, kind);
    store<u64>(entry, operand, 8);
  }
  store<u32>(cpu, count + 1, CPU_FLUSH_COUNT);
  atomic.add<u32>(cpu + CPU_FLUSH_REQUESTED, 1);
  release(cpu + CPU_FLUSH_LOCK);
  atomic.store<i32>(cpu + CPU_ATTENTION, 1);
}

/** Does what other vCPUs have asked of this one. */
export function serveRequests(cpu: usize): void {
  if (atomic.load<u32>(cpu + CPU_FLUSH_REQUESTED) == load<u32>(cpu, CPU_FLUSH_DONE)) return;
  acquire(cpu + CPU_FLUSH_LOCK);
  const count = load<u32>(cpu, CPU_FLUSH_COUNT);
  if (count > FLUSH_QUEUE_ENTRIES) {
    flushAll(cpu);
  } else {
    for (let i: u32 = 0; i < count; i++) {
      const entry = cpu + CPU_FLUSH_QUEUE + i * FLUSH_QUEUE_STRIDE;
      perform(cpu, load<u32>(entry), load<u64>(entry, 8));
    }
  }
  store<u32>(cpu, 0, CPU_FLUSH_COUNT);
  atomic.store<u32>(cpu + CPU_FLUSH_DONE, load<u32>(cpu, CPU_FLUSH_REQUESTED));
  release(cpu + CPU_FLUSH_LOCK);
}

/** Whether the VM has a vCPU besides this one. */
// @ts-ignore: decorator
@inline
export function multiprocessor(): bool {
  return load<u32>(HEADER, HEADER_VCPU_COUNT) > 1;
}

/** Maintenance on this vCPU and, when `broadcast`, on every other one. */
export function maintain(cpu: usize, kind: u32, operand: u64, broadcast: bool): void {
  perform(cpu, kind, operand);
  if (broadcast) ask(cpu, kind, operand);
}

function ask(cpu: usize, kind: u32, operand: u64): void {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const other = vcpuBlock(i);
    if (other != cpu) request(other, kind, operand);
  }
}

/** Waits until every running vCPU has done what was asked of it so far (the completion that DSB promises). */
export function awaitOthers(cpu: usize): void {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const other = vcpuBlock(i);
    if (other == cpu) continue;
    const wanted = atomic.load<u32>(other + CPU_FLUSH_REQUESTED);
    while (true) {
      const done = atomic.load<u32>(other + CPU_FLUSH_DONE);
      if (<i32>(done - wanted) >= 0 || atomic.load<u32>(other + CPU_RUNNING) == 0) break;
      // The other one may be waiting for this one.
      serveRequests(cpu);
    }
  }
}

/** A request of the host's thread to all vCPUs, which it does not wait for. */
export function flushOnAll(kind: u32): void {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) request(vcpuBlock(i), kind, 0);
}

/** Whether every vCPU that executes has done what was asked of it; one that does not will, before it executes. */
export function requestsServed(): bool {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const cpu = vcpuBlock(i);
    const asked = atomic.load<u32>(cpu + CPU_FLUSH_REQUESTED) != atomic.load<u32>(cpu + CPU_FLUSH_DONE);
    if (asked && atomic.load<u32>(cpu + CPU_RUNNING) != 0) return false;
  }
  return true;
}

/** Begins to execute: from here on the others wait for this vCPU, and it keeps still while one has stopped all. */
export function enterRunning(cpu: usize): void {
  while (true) {
    atomic.store<u32>(cpu + CPU_RUNNING, 1);
    serveRequests(cpu);
    if (atomic.load<i32>(HEADER + HEADER_STOP) == 0) return;
    leaveRunning(cpu);
    while (atomic.load<i32>(HEADER + HEADER_STOP) != 0) {}
  }
}

export function leaveRunning(cpu: usize): void {
  atomic.store<u32>(cpu + CPU_RUNNING, 0);
}

/** Keeps still while another vCPU has stopped all; the caller holds no record of a decoded page. */
export function pauseIfStopped(cpu: usize): void {
  if (atomic.load<i32>(HEADER + HEADER_STOP) == 0) return;
  leaveRunning(cpu);
  enterRunning(cpu);
}

/**
 * Stops all other vCPUs; returns when none executes, so that none holds a record of a decoded page. (That they have
 * served a request would not tell: one that waits at a DSB does, in the middle of a page.) The caller holds no record
 * either: it may have to keep still first, for another one that stops all.
 */
export function stopOthers(cpu: usize): void {
  while (atomic.cmpxchg<i32>(HEADER + HEADER_STOP, 0, 1) != 0) pauseIfStopped(cpu);
  awaitStop(cpu);
}

/** The same for all vCPUs, on the host's thread while it executes none. */
export function stopAll(): void {
  while (atomic.cmpxchg<i32>(HEADER + HEADER_STOP, 0, 1) != 0) {}
  awaitStop(0);
}

/** Waits until no vCPU executes but the caller's, of which there is none when `cpu` is 0. */
function awaitStop(cpu: usize): void {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const other = vcpuBlock(i);
    if (other == cpu) continue;
    atomic.store<i32>(other + CPU_ATTENTION, 1);
    while (atomic.load<u32>(other + CPU_RUNNING) != 0) {
      // The other one may be waiting for this one.
      if (cpu != 0) serveRequests(cpu);
    }
  }
}

/** Undoes `stopOthers` and `stopAll`. */
export function resumeOthers(): void {
  atomic.store<i32>(HEADER + HEADER_STOP, 0);
}
