import { reasonOf } from './abort.ts';

/** How many values a subscriber may be behind before the oldest are dropped. */
const DEFAULT_LIMIT = 256;

export interface SubscriptionOptions<T> {
  /** Ends the subscription: what waits for a value then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Comes before everything else. */
  readonly first?: readonly T[];
  /** Most values that wait to be taken; default 256. */
  readonly limit?: number;
  /** What stands for values that were dropped, where the reader is to know. */
  readonly dropped?: (count: number) => T;
}

/** A subscription, from the call that made it on; leaving a `for await` ends it. */
export type Subscription<T> = AsyncIterableIterator<T> & AsyncDisposable;

/** Hands each value to every subscriber, at the subscriber's pace and in bounded memory. */
export class Broadcast<T> {
  readonly #queues = new Set<Queue<T>>();
  #ended = false;

  /** Subscribers at this time. */
  get size(): number {
    return this.#queues.size;
  }

  emit(value: T): void {
    for (const queue of this.#queues) queue.push(value);
  }

  /** No more values: subscribers get what waits for them, and the end. */
  end(): void {
    this.#ended = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }

  subscribe(options: SubscriptionOptions<T> = {}): Subscription<T> {
    const queue: Queue<T> = new Queue<T>(options, () => void this.#queues.delete(queue));
    if (this.#ended) queue.end();
    else if (!queue.closed) this.#queues.add(queue);
    return queue;
  }
}

class Queue<T> implements Subscription<T> {
  readonly #values: T[];
  readonly #limit: number;
  readonly #standIn: ((count: number) => T) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #leave: () => void;
  readonly #waiting: Deferred<IteratorResult<T, undefined>>[] = [];
  readonly #abort = (): void => this.#close(true);
  #dropped = 0;
  #ended = false;
  #aborted = false;

  constructor(options: SubscriptionOptions<T>, leave: () => void) {
    this.#values = [...(options.first ?? [])];
    this.#limit = options.limit ?? DEFAULT_LIMIT;
    this.#standIn = options.dropped;
    this.#signal = options.signal;
    this.#leave = leave;
    if (this.#signal?.aborted === true) {
      this.#aborted = true;
      this.#ended = true;
    } else this.#signal?.addEventListener('abort', this.#abort, { once: true });
  }

  get closed(): boolean {
    return this.#ended;
  }

  push(value: T): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next.resolve({ done: false, value });
      return;
    }
    this.#values.push(value);
    if (this.#values.length <= this.#limit) return;
    this.#values.shift();
    this.#dropped++;
  }

  end(): void {
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    for (const each of this.#waiting.splice(0)) each.resolve({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#aborted) return Promise.reject(reasonOf(this.#signal));
    if (this.#dropped > 0 && this.#standIn !== undefined) {
      const value = this.#standIn(this.#dropped);
      this.#dropped = 0;
      return Promise.resolve({ done: false, value });
    }
    if (this.#values.length > 0) return Promise.resolve({ done: false, value: this.#values.shift()! });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    const waiting = withResolvers<IteratorResult<T, undefined>>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#close(false);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #close(aborted: boolean): void {
    this.#aborted = aborted;
    this.#values.length = 0;
    this.#dropped = 0;
    this.#leave();
    if (aborted) for (const each of this.#waiting.splice(0)) each.reject(reasonOf(this.#signal));
    this.end();
  }
}

/** `Promise.withResolvers`, which Node.js has from 22 on. */
interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}

function withResolvers<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: Error) => void;
  const promise = new Promise<T>((...callbacks) => ([resolve, reject] = callbacks));
  return { promise, resolve, reject };
}
