import type { BlockBackend } from '../block/backend.ts';
import type { BlockBatch } from '../block/batch.ts';
import { SharedFlush } from '../block/shared-flush.ts';
import { VirtioDeviceError } from '../errors.ts';
import { isUnsupported, type FileIo } from './file-io.ts';
import { type FileBlockIo, openFileIo } from './open-file-io.ts';

export interface FileBlockBackendOptions {
  /** Open the file for reading only. Default false. */
  readonly readOnly?: boolean;
  /**
   * `auto`: by the native addon where it is there, at once what the page cache serves, the rest by io_uring
   * where the kernel allows it and by threads where not; else `portable`, Node's own synchronous calls.
   * `io_uring` and `threads`: everything by these. Default `auto`.
   */
  readonly io?: FileBlockIo;
  /**
   * Refuse a file that another process has open as a disk, unless both only read; needs the addon. Default
   * true.
   */
  readonly lock?: boolean;
}

/**
 * A disk image in a file, raw, or a block device. With the native addon a batch is one call, which never
 * waits for the disk: what the page cache has not is read and written in the background. A flush is an
 * fdatasync in the background, and flushes that arrive while one runs share the next. What was flushed
 * survives a crash of the host; what was only written survives the end of the process.
 */
export class FileBlockBackend implements BlockBackend, Disposable {
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  readonly description: string;
  /** 'io_uring', 'threads' or 'portable'. */
  readonly io: string;
  /** Absent where the file is read-only or cannot. */
  readonly discard?: (offset: number, length: number) => Promise<void>;
  readonly writeZeroes?: (offset: number, length: number, unmap: boolean) => Promise<void>;
  #io: FileIo | undefined;
  readonly #flush = new SharedFlush(() => this.#sync());

  /**
   * Opens an image.
   *
   * @throws VirtioDeviceError `NOT_FOUND`, `ACCESS_DENIED`, `NOT_A_FILE`, `INVALID_SIZE`, `LOCKED`, `NO_ADDON`,
   *   `INVALID_OPTION`, `IO_ERROR`
   */
  constructor(path: string, options: FileBlockBackendOptions = {}) {
    this.readOnly = options.readOnly ?? false;
    this.description = path;
    const { io, sizeBytes } = openFileIo(path, { ...options, readOnly: this.readOnly });
    this.#io = io;
    this.io = io.name;
    this.sizeBytes = sizeBytes;
    if (!this.readOnly && io.punch !== undefined && io.zero !== undefined) {
      this.discard = (offset, length) => this.#discard(offset, length);
      this.writeZeroes = (offset, length, unmap) => this.#writeZeroes(offset, length, unmap);
    }
  }

  submit(batch: BlockBatch): void | Promise<void> {
    return this.#open().submit(batch);
  }

  flush(): Promise<void> {
    if (this.readOnly) return Promise.resolve();
    return this.#flush.run();
  }

  /** Waits for what is in flight. */
  async close(): Promise<void> {
    await this.#flush.settled();
    await this.#io?.drain();
    this[Symbol.dispose]();
  }

  /** At once: what is in flight fails. */
  [Symbol.dispose](): void {
    this.#io?.close();
    this.#io = undefined;
  }

  #open(): FileIo {
    if (this.#io === undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.description} is closed`);
    }
    return this.#io;
  }

  async #sync(): Promise<void> {
    await this.#open().sync();
  }

  async #discard(offset: number, length: number): Promise<void> {
    try {
      await this.#open().punch?.(offset, length);
    } catch (error) {
      // A discard is a hint.
      if (!isUnsupported(error)) throw error;
    }
  }

  async #writeZeroes(offset: number, length: number, unmap: boolean): Promise<void> {
    const io = this.#open();
    if (unmap) {
      try {
        await io.punch?.(offset, length);
        return;
      } catch (error) {
        if (!isUnsupported(error)) throw error;
      }
    }
    await io.zero?.(offset, length);
  }
}
