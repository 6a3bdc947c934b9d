/** Longest time that the owner polls for the next event before it goes back to its event loop. */
export const SPIN_LIMIT_MICROSECONDS = 20;

const MAX_CREDIT = 16;
/** With no credit left, one opportunity in so many is tried all the same. */
const PROBE_INTERVAL = 64;

/**
 * Says whether polling is worth while: sleeping and waking costs some 20 us, but polling for nothing takes the core from
 * whoever is to bring the event.
 */
export class SpinCredit {
  #credit = MAX_CREDIT / 2;
  #skipped = 0;

  worthwhile(): boolean {
    if (this.#credit === 0 && ++this.#skipped < PROBE_INTERVAL) return false;
    this.#skipped = 0;
    return true;
  }

  /** Takes whether the event came while polling. */
  tell(found: boolean): void {
    this.#credit = found ? Math.min(this.#credit + 2, MAX_CREDIT) : Math.max(this.#credit - 1, 0);
  }
}
