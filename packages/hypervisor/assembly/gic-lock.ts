import { GIC } from './layout';
import { GIC_LOCK } from './gic-layout';

/**
 * Takes the lock that guards the whole state of the GIC. It is held for one register access at most. It polls and
 * never sleeps: with a memory.atomic.wait32 in this loop, code of V8's baseline compiler (Node.js 20) lost what the
 * caller was about to store, such as the level of a timer's line; code of its optimising compiler did not.
 */
export function gicLock(): void {
  while (atomic.xchg<i32>(GIC + GIC_LOCK, 1) != 0) {
    while (atomic.load<i32>(GIC + GIC_LOCK) != 0) {}
  }
}

export function gicUnlock(): void {
  atomic.store<i32>(GIC + GIC_LOCK, 0);
}
