/** Longest time that a thread polls before it sleeps, in milliseconds. */
export const SPIN_LIMIT = 0.02;

const MAX_CREDIT = 16;
/** With no credit left, one opportunity in so many is tried all the same. */
const PROBE_INTERVAL = 64;
const LOADS_PER_CLOCK_READ = 32;

/**
 * Polls a word for a short while before the thread sleeps, as long as that pays: sleeping and waking costs some
 * 15-25 us, but polling for nothing takes the core from whoever is to bring the event.
 */
export class AdaptiveSpin {
  readonly #words: Int32Array;
  readonly #now: () => number;
  readonly #enabled: boolean;
  #credit = MAX_CREDIT / 2;
  #skipped = 0;

  constructor(words: Int32Array, now: () => number, enabled: boolean) {
    this.#words = words;
    this.#now = now;
    this.#enabled = enabled;
  }

  /** Polls until `words[index]` is no longer `value`; true if that happened in time. */
  whileEqual(index: number, value: number): boolean {
    if (!this.#enabled) return false;
    if (this.#credit === 0 && ++this.#skipped < PROBE_INTERVAL) return false;
    this.#skipped = 0;
    const deadline = this.#now() + SPIN_LIMIT;
    do {
      for (let count = 0; count < LOADS_PER_CLOCK_READ; count++) {
        if (Atomics.load(this.#words, index) !== value) {
          this.#credit = Math.min(this.#credit + 2, MAX_CREDIT);
          return true;
        }
      }
    } while (this.#now() < deadline);
    this.#credit = Math.max(this.#credit - 1, 0);
    return false;
  }
}
