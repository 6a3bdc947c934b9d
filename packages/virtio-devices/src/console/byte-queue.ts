import type { ChainWriter } from '@vmm/virtio-queue';

/** Bytes on their way to the guest, in order. */
export class ByteQueue {
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that are gone. */
  #start = 0;
  #size = 0;

  /** Bytes held. */
  get size(): number {
    return this.#size;
  }

  /** Keeps a copy. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes.slice());
    this.#size += bytes.length;
  }

  /** Moves as much as the chain takes. */
  moveTo(writer: ChainWriter): void {
    while (this.#size > 0 && writer.remaining > 0) {
      const chunk = this.#chunks[0]!;
      const done = writer.writeSome(this.#start === 0 ? chunk : chunk.subarray(this.#start));
      this.#start += done;
      this.#size -= done;
      if (this.#start < chunk.length) continue;
      this.#chunks.shift();
      this.#start = 0;
    }
  }

  clear(): void {
    this.#chunks.length = 0;
    this.#start = 0;
    this.#size = 0;
  }

  /** A copy of everything held. */
  bytes(): Uint8Array {
    const all = new Uint8Array(this.#size);
    let at = 0;
    this.#chunks.forEach((chunk, index) => {
      const part = index === 0 ? chunk.subarray(this.#start) : chunk;
      all.set(part, at);
      at += part.length;
    });
    return all;
  }
}
