import { closeSync, fstatSync } from 'node:fs';
import type { BlockBackend } from '../block/backend.ts';
import type { BlockBatch } from '../block/batch.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import type { FileIo } from './file-io.ts';
import { loadHost, requireHost } from './load.ts';
import { NativeFileIo } from './native-file-io.ts';
import type { NativeHost } from './native.ts';
import { checkSize, openImage } from './open-image.ts';
import { PortableFileIo } from './portable-file-io.ts';

/** How a file is read and written; see {@link FileBlockBackendOptions.io}. */
export type FileBlockIo = 'auto' | 'io_uring' | 'threads' | 'portable';

const IO: readonly string[] = ['auto', 'io_uring', 'threads', 'portable'];

export interface FileBlockBackendOptions {
  /** Open the file for reading only. Default false. */
  readonly readOnly?: boolean;
  /**
   * `auto`: by the native addon where it is there, with io_uring where the kernel allows it and with threads
   * where not; else `portable`, Node's own synchronous calls. The others insist. Default `auto`.
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
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /**
   * Opens an image.
   *
   * @throws VirtioDeviceError `NOT_FOUND`, `ACCESS_DENIED`, `NOT_A_FILE`, `INVALID_SIZE`, `LOCKED`, `NO_ADDON`,
   *   `INVALID_OPTION`, `IO_ERROR`
   */
  constructor(path: string, options: FileBlockBackendOptions = {}) {
    const kind = options.io ?? 'auto';
    if (!IO.includes(kind)) {
      throw new VirtioDeviceError('INVALID_OPTION', `io must be one of ${IO.join(', ')}, not ${String(kind)}`);
    }
    this.readOnly = options.readOnly ?? false;
    this.description = path;
    const { fd, isBlockDevice } = openImage(path, this.readOnly);
    let io: FileIo | undefined;
    try {
      const host = hostFor(kind, isBlockDevice, path);
      if (host === undefined) {
        this.sizeBytes = fstatSync(fd).size;
        io = new PortableFileIo(fd);
      } else {
        const native = openNative(host, fd, kind, path);
        io = native;
        closeSync(fd);
        if (options.lock !== false) lock(native, path, this.readOnly);
        this.sizeBytes = native.file.size;
      }
      checkSize(path, this.sizeBytes);
    } catch (error) {
      if (io === undefined) closeSync(fd);
      else io.close();
      throw error;
    }
    this.#io = io;
    this.io = io.name;
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

  /** Waits for what is in flight. */
  async close(): Promise<void> {
    await (this.#next ?? this.#running)?.catch(() => undefined);
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

function isUnsupported(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === 'EOPNOTSUPP';
}

/** The addon, if it is to be used. */
function hostFor(kind: FileBlockIo, isBlockDevice: boolean, path: string): NativeHost | undefined {
  if (kind === 'io_uring' || kind === 'threads') return requireHost(`disk image ${path} with io ${kind}`);
  // Node has no call for the size of a block device.
  if (isBlockDevice) return requireHost(`the block device ${path}`);
  return kind === 'auto' ? loadHost() : undefined;
}

function openNative(host: NativeHost, fd: number, kind: FileBlockIo, path: string): NativeFileIo {
  try {
    return new NativeFileIo(host, fd, kind, 0);
  } catch (cause) {
    throw new VirtioDeviceError('IO_ERROR', `disk image ${path} with io ${kind}: ${messageOf(cause)}`, { cause });
  }
}

function lock(io: NativeFileIo, path: string, readOnly: boolean): void {
  if (io.file.lock(!readOnly)) return;
  throw new VirtioDeviceError(
    'LOCKED',
    readOnly
      ? `disk image ${path} is being written by another virtual machine`
      : `disk image ${path} is in use by another virtual machine; open it read-only in both, or give each an overlay`,
  );
}
