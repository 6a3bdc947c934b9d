import {
  closeSync,
  fdatasync,
  fstatSync,
  openSync,
  readSync,
  readvSync,
  statSync,
  writeSync,
  writevSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import type { BlockBackend } from '../block/backend.ts';
import type { BlockBatch } from '../block/batch.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from '../block/constants.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';

/** From this many segments on one vectored call is faster than a call for each, its views included. */
const VECTORED_FROM = 3;
/** Most buffers of one preadv or pwritev (IOV_MAX of Linux). */
const IOV_MAX = 1024;

export interface FileBlockBackendOptions {
  /** Open the file for reading only. Default false. */
  readonly readOnly?: boolean;
}

/**
 * A disk image in a file, raw. Reads and writes are synchronous calls from and to guest memory, without a
 * copy in between; a flush is an fdatasync on the thread pool, and flushes that arrive while one runs share
 * the next. What was flushed survives a crash of the host; what was only written survives the end of the
 * process.
 *
 * The file is not locked: Node has no call for it. Do not give one file to two writers.
 */
export class FileBlockBackend implements BlockBackend, Disposable {
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  readonly description: string;
  #fd: number | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /**
   * Opens an image.
   *
   * @throws VirtioDeviceError `NOT_FOUND`, `ACCESS_DENIED`, `NOT_A_FILE`, `INVALID_SIZE`, `IO_ERROR`
   */
  constructor(path: string, options: FileBlockBackendOptions = {}) {
    this.readOnly = options.readOnly ?? false;
    this.description = path;
    try {
      // Before opening: to open a FIFO would wait for its other end.
      checkKind(path, statSync(path));
      this.#fd = openSync(path, this.readOnly ? 'r' : 'r+');
    } catch (cause) {
      throw openError(path, this.readOnly, cause);
    }
    try {
      const stats = fstatSync(this.#fd);
      checkKind(path, stats);
      this.sizeBytes = stats.size;
      checkSize(path, stats.size);
    } catch (cause) {
      closeSync(this.#fd);
      throw openError(path, this.readOnly, cause);
    }
  }

  submit(batch: BlockBatch): void {
    const fd = this.#open();
    for (let transfer = 0; transfer < batch.count; transfer++) {
      try {
        const segments = batch.endSegment(transfer) - batch.firstSegment(transfer);
        if (segments < VECTORED_FROM) this.#transfer(fd, batch, transfer);
        else this.#transferVectored(fd, batch, transfer);
      } catch (error) {
        batch.fail(transfer, error);
      }
    }
  }

  flush(): Promise<void> {
    if (this.readOnly) return Promise.resolve();
    if (this.#running === undefined) {
      this.#running = this.#sync().finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    // The one that runs may have begun before the writes that this call is about.
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.flush();
      });
    return this.#next;
  }

  async close(): Promise<void> {
    await (this.#next ?? this.#running)?.catch(() => undefined);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): number {
    if (this.#fd === undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.description} is closed`);
    }
    return this.#fd;
  }

  async #sync(): Promise<void> {
    const fd = this.#open();
    await new Promise<void>((resolve, reject) => {
      fdatasync(fd, (error) => (error === null ? resolve() : reject(error)));
    });
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
        if (done === 0) throw this.#ended(position);
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
      if (done === 0) throw this.#ended(position);
      position += done;
      for (done += skip; segment < end && done >= batch.segmentSize(segment); segment++) {
        done -= batch.segmentSize(segment);
      }
      skip = done;
    }
  }

  #ended(position: number): VirtioDeviceError {
    return new VirtioDeviceError(
      'IO_ERROR',
      `${this.description} ends at ${position}: it was cut while in use`,
    );
  }
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const kind = stats.isDirectory()
    ? 'a directory'
    : stats.isBlockDevice()
      ? 'a block device, whose size cannot be asked for here'
      : 'no regular file';
  throw new VirtioDeviceError('NOT_A_FILE', `disk image ${path} is ${kind}; give a raw image file`);
}

function checkSize(path: string, size: number): void {
  if (size === 0) {
    throw new VirtioDeviceError(
      'INVALID_SIZE',
      `disk image ${path} is empty; make it larger, e.g. with truncate`,
    );
  }
  if (size % VIRTIO_BLK_SECTOR_SIZE !== 0) {
    throw new VirtioDeviceError(
      'INVALID_SIZE',
      `disk image ${path} has ${size} bytes, which is no multiple of 512; is it a raw image?`,
    );
  }
}

function openError(path: string, readOnly: boolean, cause: unknown): VirtioDeviceError {
  if (cause instanceof VirtioDeviceError) return cause;
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new VirtioDeviceError('NOT_FOUND', `disk image ${path} does not exist`, { cause });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const advice = readOnly ? '' : '; open it read-only if that is enough';
    return new VirtioDeviceError('ACCESS_DENIED', `disk image ${path} may not be opened${advice}`, { cause });
  }
  return new VirtioDeviceError('IO_ERROR', `disk image ${path} cannot be opened: ${messageOf(cause)}`, {
    cause,
  });
}
