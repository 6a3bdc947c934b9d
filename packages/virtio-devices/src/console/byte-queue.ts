import type { ChainWriter } from '@vmm/virtio-queue';

/** Small writes share a chunk of this many bytes. */
const CHUNK = 4096;

interface Chunk {
  readonly bytes: Uint8Array;
  /** Bytes that are gone. */
  start: number;
  /** Bytes that are filled. */
  end: number;
}

/** Bytes on their way to the guest, in order. */
export class ByteQueue {
  readonly #chunks: Chunk[] = [];
  #size = 0;

  /** Bytes held. */
  get size(): number {
    return this.#size;
  }

  /** Keeps a copy. */
  push(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length === 0) return;
    let tail = this.#chunks.at(-1);
    if (tail === undefined || tail.bytes.length - tail.end < length) {
      tail = { bytes: new Uint8Array(Math.max(length, CHUNK)), start: 0, end: 0 };
      this.#chunks.push(tail);
    }
    tail.bytes.set(bytes, tail.end);
    tail.end += length;
    this.#size += length;
  }

  /** Moves as much as the chain takes. */
  moveTo(writer: ChainWriter): void {
    while (this.#size > 0 && writer.remaining > 0) {
      const chunk = this.#chunks[0]!;
      const done = writer.writeSome(chunk.bytes.subarray(chunk.start, chunk.end));
      chunk.start += done;
      this.#size -= done;
      if (chunk.start === chunk.end) this.#chunks.shift();
    }
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#size = 0;
  }

  /** A copy of everything held. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (const { bytes, start, end } of this.#chunks) {
      all.set(bytes.subarray(start, end), at);
      at += end - start;
    }
    return all;
  }
}
