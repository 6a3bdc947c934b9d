import { fdatasync, fsync, read, write } from 'node:fs';
import { EAGAIN, EINTR, EIO, EOPNOTSUPP, O_DSYNC, O_SYNC } from '../fs/constants.ts';
import type { FuseData } from '../fs/data.ts';
import type { FuseContext } from '../fs/handler.ts';
import type { FileTable, OpenFile } from './fs-files.ts';
import { memoryMapOf } from './load.ts';
import type { NativeHost } from './native.ts';

/** A write that took longer, in milliseconds, shows that the host makes writers wait … */
const SLOW_WRITE = 4;
/** … and for so long, in milliseconds, further ones are made on the thread pool. */
const SLOW_PERIOD = 1000;
/** Bytes of the largest buffer that is kept, and how many are. */
const SPARE_BUFFER = 1024 * 1024;
const SPARE_BUFFERS = 4;

/**
 * Reads and writes of open files. What the host has in its cache goes straight between that and guest memory, in a call
 * that does not wait for storage. Everything else goes through a buffer and Node's thread pool, so that the event loop
 * goes on, and guest memory that was taken back meanwhile is not touched.
 */
export class FileIo {
  readonly #host: NativeHost;
  readonly #files: FileTable;
  readonly #spare: Uint8Array[] = [];
  /** The file system knows RWF_NOWAIT. */
  #nowait = true;
  /** The file system is in memory: nothing waits. */
  readonly #isMemory: boolean;
  #slowUntil = 0;
  #pooled = 0;

  constructor(host: NativeHost, files: FileTable, isMemory: boolean) {
    this.#host = host;
    this.#files = files;
    this.#isMemory = isMemory;
  }

  /** Operations that went through the thread pool. */
  get pooled(): number {
    return this.#pooled;
  }

  read(context: FuseContext, file: OpenFile, offset: number, data: FuseData): number | Promise<number> {
    if (this.#nowait || this.#isMemory) {
      const map = memoryMapOf(this.#host, data.memory);
      const nowait = this.#isMemory ? 0 : 1;
      const done = this.#host.fs.read(file.fd, offset, map, data.iovecs, data.count, nowait);
      if (done !== -EAGAIN && done !== -EOPNOTSUPP) return done;
      if (done === -EOPNOTSUPP) this.#nowait = false;
    }
    return this.#readLater(context, file, offset, data);
  }

  write(file: OpenFile, offset: number, data: FuseData): number | Promise<number> {
    const start = performance.now();
    if (start < this.#slowUntil || (file.flags & (O_SYNC | O_DSYNC)) !== 0) {
      return this.#writeLater(file, offset, data);
    }
    const map = memoryMapOf(this.#host, data.memory);
    const done = this.#host.fs.write(file.fd, offset, map, data.iovecs, data.count, 0);
    const end = performance.now();
    if (end - start > SLOW_WRITE && !this.#isMemory) this.#slowUntil = end + SLOW_PERIOD;
    return done;
  }

  /** @returns 0 or a negative error */
  sync(file: OpenFile, dataOnly: boolean): Promise<number> {
    this.#pooled++;
    return this.#files.use(
      file,
      (fd) =>
        new Promise((resolve) => {
          (dataOnly ? fdatasync : fsync)(fd, (error) => resolve(errnoOf(error)));
        }),
    );
  }

  #readLater(context: FuseContext, file: OpenFile, offset: number, data: FuseData): Promise<number> {
    this.#pooled++;
    const { length } = data;
    return this.#files.use(file, async (fd) => {
      const buffer = this.#take(length);
      let done = 0;
      while (done < length) {
        const count = await transfer(read, fd, buffer, done, length - done, offset + done);
        if (count < 0) done = count;
        else done += count;
        if (count <= 0) break;
        if (context.interrupted) return -EINTR;
      }
      if (done > 0 && !context.cancelled) data.store(buffer.subarray(0, done));
      this.#give(buffer);
      return done;
    });
  }

  #writeLater(file: OpenFile, offset: number, data: FuseData): Promise<number> {
    this.#pooled++;
    const { length } = data;
    const buffer = this.#take(length);
    data.load(buffer.subarray(0, length));
    return this.#files.use(file, async (fd) => {
      let done = 0;
      while (done < length) {
        const count = await transfer(write, fd, buffer, done, length - done, offset + done);
        if (count < 0 && done === 0) done = count;
        if (count <= 0) break;
        done += count;
      }
      this.#give(buffer);
      return done;
    });
  }

  #take(length: number): Uint8Array {
    const buffer = length <= SPARE_BUFFER ? this.#spare.pop() : undefined;
    return buffer ?? new Uint8Array(Math.max(length, SPARE_BUFFER));
  }

  #give(buffer: Uint8Array): void {
    if (this.#spare.length < SPARE_BUFFERS && buffer.length === SPARE_BUFFER) this.#spare.push(buffer);
  }
}

type Transfer = (
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
  callback: (error: NodeJS.ErrnoException | null, bytes: number) => void,
) => void;

/** @returns bytes or a negative error */
function transfer(
  call: Transfer,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  position: number,
): Promise<number> {
  return new Promise((resolve) => {
    call(fd, buffer, offset, length, position, (error, bytes) =>
      resolve(error === null ? bytes : errnoOf(error)),
    );
  });
}

function errnoOf(error: NodeJS.ErrnoException | null): number {
  if (error === null) return 0;
  return error.errno !== undefined && error.errno < 0 ? error.errno : -EIO;
}
