import { closeSync, fdatasync, readSync, readvSync, writeSync, writevSync } from 'node:fs';
import type { BlockBatch } from '../block/batch.ts';
import type { FileIo } from './file-io.ts';

/** From this many segments on one vectored call is faster than a call for each, its views included. */
const VECTORED_FROM = 3;
/** Most buffers of one preadv or pwritev (IOV_MAX of Linux). */
const IOV_MAX = 1024;

/** A file by Node's own calls: reads and writes are synchronous, and wait for the disk when they must. */
export class PortableFileIo implements FileIo {
  readonly name: string = 'portable';
  readonly #fd: number;
  #syncing = 0;
  #closed = false;
  readonly #whenIdle: (() => void)[] = [];

  /** @param fd this object's from now on */
  constructor(fd: number) {
    this.#fd = fd;
  }

  submit(batch: BlockBatch): void {
    for (let transfer = 0; transfer < batch.count; transfer++) {
      try {
        const segments = batch.endSegment(transfer) - batch.firstSegment(transfer);
        if (segments < VECTORED_FROM) this.#transfer(this.#fd, batch, transfer);
        else this.#transferVectored(this.#fd, batch, transfer);
      } catch (error) {
        batch.fail(transfer, error);
      }
    }
  }

  sync(): Promise<void> {
    this.#syncing++;
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => {
        this.#syncing--;
        if (error === null) resolve();
        else reject(error);
        if (this.#syncing > 0) return;
        if (this.#closed) closeSync(this.#fd);
        for (const idle of this.#whenIdle.splice(0)) idle();
      });
    });
  }

  async drain(): Promise<void> {
    if (this.#syncing > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The number must not be given to another file while an fdatasync of this one is on its way.
    if (this.#syncing === 0) closeSync(this.#fd);
  }

  #transfer(fd: number, batch: BlockBatch, transfer: number): void {
    const write = batch.isWrite(transfer);
    let position = batch.position(transfer);
    const end = batch.endSegment(transfer);
    for (let segment = batch.firstSegment(transfer); segment < end; segment++) {
      const bytes = batch.segmentBytes(segment);
      let offset = batch.segmentOffset(segment);
      for (let left = batch.segmentSize(segment); left > 0;) {
        const done = write
          ? writeSync(fd, bytes, offset, left, position)
          : readSync(fd, bytes, offset, left, position);
        if (done === 0) throw ended(position);
        left -= done;
        offset += done;
        position += done;
      }
    }
  }

  #transferVectored(fd: number, batch: BlockBatch, transfer: number): void {
    const write = batch.isWrite(transfer);
    let position = batch.position(transfer);
    const end = batch.endSegment(transfer);
    let segment = batch.firstSegment(transfer);
    /** Bytes of `segment` that are done. */
    let skip = 0;
    while (segment < end) {
      const views: Uint8Array[] = [];
      for (let at = segment; at < end && views.length < IOV_MAX; at++) {
        const offset = batch.segmentOffset(at);
        const from = at === segment ? offset + skip : offset;
        views.push(batch.segmentBytes(at).subarray(from, offset + batch.segmentSize(at)));
      }
      let done = write ? writevSync(fd, views, position) : readvSync(fd, views, position);
      if (done === 0) throw ended(position);
      position += done;
      for (done += skip; segment < end && done >= batch.segmentSize(segment); segment++) {
        done -= batch.segmentSize(segment);
      }
      skip = done;
    }
  }
}

function ended(position: number): Error {
  return new Error(`the file ends at ${position}: it was cut while in use`);
}
