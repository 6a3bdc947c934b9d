import type { NativeVm } from './native.ts';
import { SpinCredit, SPIN_LIMIT_MICROSECONDS } from './spin.ts';

/** Longest time that one call takes of the event loop while exits keep coming, in milliseconds. */
const TURN = 1;

/** Tokens that are taken by one call into the addon. */
const TOKENS = 64;

/** An eventfd that the guest or the kernel writes: a doorbell, or the end of a resampled interrupt. */
export interface RingSource {
  /** It was written and `ring` has not been called since. */
  pending: boolean;
  /** Not any more after its disposal. */
  active: boolean;
  readonly ring: () => void;
}

/** A vCPU thread. */
export interface ThreadSource {
  /** Something is to be told. */
  due: boolean;
  /** Handles what the thread waits for; true if that was an exit. */
  serve(): boolean;
}

/** What the pump calls; each is called from the owner's event loop. */
export interface PumpTarget {
  /** Delivers coalesced writes; true if there were any. */
  deliverWrites(): boolean;
  /** A callback threw; what else is due is handled next. */
  fail(error: unknown): void;
}

/**
 * Brings what the epoll set tells to the owner's event loop, always in this order: doorbells (and ends of resampled
 * interrupts), coalesced writes, exits. The set is polled as a whole before anything is called, so that what the guest
 * did before an exit is known when the exit is.
 */
export class EventPump {
  readonly #native: NativeVm;
  readonly #target: PumpTarget;
  readonly #spin: SpinCredit | undefined;
  readonly #tokens = new Int32Array(TOKENS);
  readonly #rings = new Map<number, RingSource>();
  readonly #threads = new Map<number, ThreadSource>();
  /** The same, for going through them without an iterator. */
  #threadList: readonly ThreadSource[] = [];
  /** Rings that are due, from `#readyHead` to `#readyTail`. */
  readonly #ready: (RingSource | undefined)[] = [];
  #readyHead = 0;
  #readyTail = 0;
  #threadsDue = false;
  #flushing = false;
  #scheduled = false;
  #closed = false;

  constructor(native: NativeVm, target: PumpTarget, spin: boolean) {
    this.#native = native;
    this.#target = target;
    this.#spin = spin ? new SpinCredit() : undefined;
  }

  addRing(token: number, source: RingSource): void {
    this.#rings.set(token, source);
  }

  removeRing(token: number): void {
    this.#rings.delete(token);
  }

  addThread(token: number, source: ThreadSource): void {
    this.#threads.set(token, source);
    this.#threadList = [...this.#threads.values()];
  }

  /** Marks a thread whose owner has something for it that no token tells. */
  markDue(source: ThreadSource): void {
    source.due = true;
    this.#threadsDue = true;
    this.#schedule();
  }

  /** Called by the addon when the epoll set has something, again and again until it is taken. */
  turn(): void {
    if (this.#spin === undefined) {
      this.flush();
      return;
    }
    const end = performance.now() + TURN;
    do {
      if (!this.flush()) return;
    } while (this.#waitBriefly() && performance.now() < end);
  }

  /** Handles what is due now, with errors turned into failures; true if an exit was among it. */
  flush(): boolean {
    if (this.#flushing || this.#closed) return false;
    this.#flushing = true;
    let any = false;
    try {
      this.#poll();
    } catch (error) {
      this.#flushing = false;
      this.#target.fail(error);
      return false;
    }
    for (;;) {
      try {
        this.#ringAll();
        this.#target.deliverWrites();
        if (this.#threadsDue && this.#serveThreads()) any = true;
        if (this.#threadsDue) continue;
        this.#flushing = false;
        return any;
      } catch (error) {
        // A thread that was not served is still due.
        this.#threadsDue = true;
        this.#target.fail(error);
      }
    }
  }

  /** Delivers doorbells and coalesced writes, without exits; true if there were any. */
  drain(): boolean {
    if (this.#closed) return false;
    try {
      this.#poll();
      const rang = this.#ringAll();
      const wrote = this.#target.deliverWrites();
      return rang || wrote;
    } finally {
      if (this.#threadsDue) this.#schedule();
    }
  }

  /** Nothing is called back any more. */
  close(): void {
    this.#closed = true;
    this.#rings.clear();
    this.#threads.clear();
    this.#threadList = [];
  }

  #poll(): void {
    const tokens = this.#tokens;
    let count: number;
    do {
      count = this.#native.poll(tokens);
      for (let index = 0; index < count; index++) {
        const token = tokens[index]!;
        const thread = this.#threads.get(token);
        if (thread !== undefined) {
          thread.due = true;
          this.#threadsDue = true;
          continue;
        }
        const ring = this.#rings.get(token);
        if (ring === undefined || ring.pending) continue;
        ring.pending = true;
        this.#ready[this.#readyTail++] = ring;
      }
    } while (count === tokens.length);
  }

  #ringAll(): boolean {
    let any = false;
    while (this.#readyHead < this.#readyTail) {
      const ring = this.#ready[this.#readyHead]!;
      this.#ready[this.#readyHead++] = undefined;
      ring.pending = false;
      if (!ring.active) continue;
      any = true;
      ring.ring();
    }
    this.#readyHead = 0;
    this.#readyTail = 0;
    return any;
  }

  #serveThreads(): boolean {
    this.#threadsDue = false;
    let any = false;
    const threads = this.#threadList;
    for (let index = 0; index < threads.length; index++) {
      const thread = threads[index]!;
      if (!thread.due) continue;
      // What other vCPUs wrote while the exit before was handled.
      this.#target.deliverWrites();
      thread.due = false;
      if (thread.serve()) any = true;
    }
    return any;
  }

  #waitBriefly(): boolean {
    const spin = this.#spin;
    if (spin === undefined || !spin.worthwhile()) return false;
    const found = this.#native.spin(SPIN_LIMIT_MICROSECONDS);
    spin.tell(found);
    return found;
  }

  /** The epoll set has been emptied of a token that still has to be acted on. */
  #schedule(): void {
    if (this.#scheduled || this.#flushing) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
