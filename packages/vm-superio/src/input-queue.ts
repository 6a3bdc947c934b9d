import { VmSuperioError } from './errors.ts';

const INITIAL_CAPACITY = 256;
const DEFAULT_LIMIT = 64 * 1024;
const MAX_LIMIT = 1024 * 1024 * 1024;

/** Bytes that wait for the guest: first in, first out, up to a limit. */
export class InputQueue {
  readonly limit: number;
  #bytes: Uint8Array;
  #first = 0;
  #length = 0;

  /**
   * @param limit bytes, 1…2^30
   * @throws VmSuperioError `INVALID_ARGUMENT`
   */
  constructor(limit: number = DEFAULT_LIMIT) {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT) {
      throw new VmSuperioError(
        'INVALID_ARGUMENT',
        `an input limit of ${limit}: 1 to ${MAX_LIMIT} are possible`,
      );
    }
    this.limit = limit;
    this.#bytes = new Uint8Array(Math.min(limit, INITIAL_CAPACITY));
  }

  get length(): number {
    return this.#length;
  }

  /** Takes what fits, from the start; returns how many bytes that were. */
  push(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.limit - this.#length);
    this.#reserve(this.#length + count);
    const capacity = this.#bytes.length;
    const start = (this.#first + this.#length) % capacity;
    const straight = Math.min(count, capacity - start);
    this.#bytes.set(bytes.subarray(0, straight), start);
    this.#bytes.set(bytes.subarray(straight, count), 0);
    this.#length += count;
    return count;
  }

  /** Takes the first byte out. Only when there is one. */
  shift(): number {
    const byte = this.#bytes[this.#first]!;
    this.#first = (this.#first + 1) % this.#bytes.length;
    this.#length--;
    return byte;
  }

  /** Puts a byte back in front of all others; a queue at its limit drops it. */
  unshift(byte: number): void {
    if (this.#length === this.limit) return;
    this.#reserve(this.#length + 1);
    const capacity = this.#bytes.length;
    this.#first = (this.#first + capacity - 1) % capacity;
    this.#bytes[this.#first] = byte;
    this.#length++;
  }

  clear(): void {
    this.#first = 0;
    this.#length = 0;
  }

  /** A copy of what waits, in order. */
  toBytes(): Uint8Array {
    const copy = new Uint8Array(this.#length);
    const straight = Math.min(this.#length, this.#bytes.length - this.#first);
    copy.set(this.#bytes.subarray(this.#first, this.#first + straight));
    copy.set(this.#bytes.subarray(0, this.#length - straight), straight);
    return copy;
  }

  #reserve(length: number): void {
    if (length <= this.#bytes.length) return;
    let capacity = this.#bytes.length;
    while (capacity < length) capacity *= 2;
    const grown = new Uint8Array(Math.min(capacity, this.limit));
    grown.set(this.toBytes());
    this.#bytes = grown;
    this.#first = 0;
  }
}
