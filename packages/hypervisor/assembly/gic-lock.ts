import { GIC } from './layout';
import { GIC_LOCK } from './gic-layout';

/** Attempts before a vCPU sleeps: the holder may have lost its processor. */
const SPINS: u32 = 2000;
const SLEEP_NANOSECONDS: i64 = 50_000;

/** Takes the lock that guards the whole state of the GIC. It is held for one register access at most. */
export function gicLock(): void {
  let spins: u32 = 0;
  while (atomic.cmpxchg<i32>(GIC + GIC_LOCK, 0, 1) != 0) {
    spins += 1;
    if (spins >= SPINS) {
      atomic.wait<i32>(GIC + GIC_LOCK, 1, SLEEP_NANOSECONDS);
      spins = 0;
    }
  }
}

export function gicUnlock(): void {
  atomic.store<i32>(GIC + GIC_LOCK, 0);
}
