import type { ChainReader } from '@vmm/virtio-queue';

/** Packets of fewer bytes share a chunk, so that what is kept is at most twice what was sent. */
const SMALL = 2048;
const CHUNK = 4096;

interface Chunk {
  readonly bytes: Uint8Array;
  /** Bytes that were taken. */
  start: number;
  /** Bytes that are filled. */
  end: number;
}

/** Bytes that came from the guest and were not read, in order. */
export class InputQueue {
  readonly #chunks: Chunk[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Copies the next `length` bytes, which are there. */
  append(reader: ChainReader, length: number): void {
    if (length === 0) return;
    let tail = this.#chunks.at(-1);
    if (tail === undefined || tail.bytes.length - tail.end < length) {
      tail = { bytes: new Uint8Array(length < SMALL ? CHUNK : length), start: 0, end: 0 };
      this.#chunks.push(tail);
    }
    reader.read(tail.bytes.subarray(tail.end, tail.end + length));
    tail.end += length;
    this.#size += length;
  }

  /** Bytes that lie together at the front, at most `limit`; the caller's from now on. */
  take(limit: number): Uint8Array {
    const head = this.#chunks[0];
    if (head === undefined) return new Uint8Array(0);
    const length = Math.min(head.end - head.start, limit);
    const bytes = head.bytes.subarray(head.start, head.start + length);
    head.start += length;
    this.#size -= length;
    if (head.start === head.end) this.#chunks.shift();
    return bytes;
  }

  /** The next `length` bytes, which are there. */
  takeAll(length: number): Uint8Array {
    const head = this.#chunks[0];
    if (head !== undefined && head.end - head.start >= length) return this.take(length);
    const all = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const part = this.take(length - done);
      all.set(part, done);
      done += part.length;
    }
    return all;
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#size = 0;
  }
}

/** Sizes of the complete messages in an {@link InputQueue}: eight bytes each, however small a message is. */
export class MessageSizes {
  /** Twice the size, plus 1 for the end of a record. */
  #entries: number[] = [];
  #first = 0;

  get length(): number {
    return this.#entries.length - this.#first;
  }

  push(size: number, endOfRecord: boolean): void {
    this.#entries.push(size * 2 + (endOfRecord ? 1 : 0));
  }

  shift(): { readonly size: number; readonly endOfRecord: boolean } | undefined {
    const entry = this.#entries[this.#first];
    if (entry === undefined) return undefined;
    this.#first++;
    if (this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
    return { size: Math.floor(entry / 2), endOfRecord: entry % 2 === 1 };
  }

  clear(): void {
    this.#entries = [];
    this.#first = 0;
  }
}
