import type { BlockBatch } from './batch.ts';
import type { BitmapPage } from './sector-bitmap.ts';

/** Where an {@link OverlayBlockBackend} keeps the sectors that were written, and which they are. */
export interface OverlayStore {
  /** Of the disk. */
  readonly sizeBytes: number;
  /** For messages. */
  readonly description: string;
  /** Where byte 0 of the disk is in the positions of `submit`. */
  readonly dataOffset: number;

  /** The pages of the bitmap that are not empty. Called once. */
  load(): Iterable<BitmapPage>;
  /** As a {@link BlockBackend} does; sectors that were never written are not asked for. */
  submit(batch: BlockBatch): void | Promise<void>;
  /** The range of the disk reads as zeroes. Absent: not possible. */
  writeZeroes?(offset: number, length: number): void | Promise<void>;
  /** Makes durable first the data that is written when it is called, then these pages of the bitmap. */
  persist(pages: readonly BitmapPage[]): void | Promise<void>;
  close(): void | Promise<void>;
}

const CHUNK_BYTES = 65536;

/** Keeps what was written in memory, which is taken as it is needed. It ends with the process. */
export class MemoryOverlayStore implements OverlayStore {
  readonly sizeBytes: number;
  readonly description: string = 'memory';
  readonly dataOffset: number = 0;
  readonly #chunks = new Map<number, Uint8Array>();

  /** @param sizeBytes of the disk */
  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  load(): readonly BitmapPage[] {
    return [];
  }

  submit(batch: BlockBatch): void {
    for (let transfer = 0; transfer < batch.count; transfer++) {
      let position = batch.position(transfer);
      const write = batch.isWrite(transfer);
      const end = batch.endSegment(transfer);
      for (let segment = batch.firstSegment(transfer); segment < end; segment++) {
        const bytes = batch.segmentBytes(segment);
        const offset = batch.segmentOffset(segment);
        const size = batch.segmentSize(segment);
        this.#transfer(write, bytes, offset, size, position);
        position += size;
      }
    }
  }

  writeZeroes(offset: number, length: number): void {
    const end = offset + length;
    for (let at = offset; at < end;) {
      const index = Math.floor(at / CHUNK_BYTES);
      const within = at - index * CHUNK_BYTES;
      const size = Math.min(end - at, CHUNK_BYTES - within);
      if (size === CHUNK_BYTES) this.#chunks.delete(index);
      else this.#chunks.get(index)?.fill(0, within, within + size);
      at += size;
    }
  }

  persist(): void {
    // Memory is as durable as it gets.
  }

  close(): void {
    this.#chunks.clear();
  }

  #transfer(write: boolean, bytes: Uint8Array, offset: number, size: number, position: number): void {
    for (let done = 0; done < size;) {
      const index = Math.floor((position + done) / CHUNK_BYTES);
      const within = position + done - index * CHUNK_BYTES;
      const part = Math.min(size - done, CHUNK_BYTES - within);
      const at = offset + done;
      let chunk = this.#chunks.get(index);
      if (write) {
        if (chunk === undefined) {
          chunk = new Uint8Array(CHUNK_BYTES);
          this.#chunks.set(index, chunk);
        }
        chunk.set(bytes.subarray(at, at + part), within);
      } else if (chunk === undefined) bytes.fill(0, at, at + part);
      else bytes.set(chunk.subarray(within, within + part), at);
      done += part;
    }
  }
}
