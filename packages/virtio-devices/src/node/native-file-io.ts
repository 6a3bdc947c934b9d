import { getSystemErrorName } from 'node:util';
import type { BlockBatch } from '../block/batch.ts';
import type { FileIo } from './file-io.ts';
import { memoryMapOf } from './load.ts';
import { NATIVE_DONE_WORDS, type NativeBlockFile } from './native-block.ts';
import type { NativeHost } from './native.ts';

const EBADF = 9;
const ENODATA = 61;
const EOPNOTSUPP = 95;

/** The transfers of one batch that the engine has. */
interface PendingBatch {
  readonly batch: BlockBatch;
  left: number;
  readonly resolve: () => void;
}

/**
 * A file by the addon: one call for a batch, which is carried out at once as far as the page cache has it. The rest is
 * done by io_uring or threads into memory of its own, so that the event loop never waits for a disk, and guest memory is
 * touched only while it is known to be the device's.
 */
export class NativeFileIo implements FileIo {
  readonly name: string;
  readonly file: NativeBlockFile;
  readonly #host: NativeHost;
  readonly #flags: number;
  #results = new Int32Array(64);
  readonly #done = new Int32Array(64 * NATIVE_DONE_WORDS);
  readonly #transfers = new Map<number, { readonly pending: PendingBatch; readonly transfer: number }>();
  readonly #operations = new Map<number, (errno: number) => void>();
  readonly #whenIdle: (() => void)[] = [];

  /**
   * @param flags 0 or NATIVE_ENGINE_ONLY
   * @throws Error with a system error's `code`
   */
  constructor(host: NativeHost, fd: number, engine: string, flags: number) {
    this.#host = host;
    this.#flags = flags;
    this.file = new host.BlockFile(fd, engine, () => this.#collect());
    this.name = this.file.engine;
  }

  submit(batch: BlockBatch): void | Promise<void> {
    const { count, memory } = batch;
    if (memory === undefined) return;
    if (this.#results.length < count) this.#results = new Int32Array(count * 2);
    const results = this.#results;
    const map = memoryMapOf(this.#host, memory);
    const waiting = this.file.submit(map, batch.transfers, count, batch.iovecs, results, this.#flags);
    for (let transfer = 0; transfer < count; transfer++) {
      const result = results[transfer]!;
      if (result > 0)
        batch.fail(transfer, systemError(result, batch.isWrite(transfer) ? 'pwritev' : 'preadv'));
    }
    if (waiting === 0) return;
    return new Promise((resolve) => {
      const pending: PendingBatch = { batch, left: waiting, resolve };
      const ready: number[] = [];
      for (let transfer = 0; transfer < count; transfer++) {
        const result = results[transfer]!;
        if (result < 0) this.#transfers.set(-result, { pending, transfer });
        else ready.push(transfer);
      }
      for (const transfer of ready) batch.complete(transfer);
    });
  }

  sync(): Promise<void> {
    return this.#operate(this.file.sync(), 'fdatasync');
  }

  punch(position: number, length: number): Promise<void> {
    return this.#operate(this.file.allocate('punch', position, length), 'fallocate');
  }

  async zero(position: number, length: number): Promise<void> {
    const errno = await this.#outcome(this.file.allocate('zero', position, length));
    if (errno === 0) return;
    if (errno !== EOPNOTSUPP) throw systemError(errno, 'fallocate');
    await this.#operate(this.file.zero(position, length), 'pwrite');
  }

  async drain(): Promise<void> {
    if (this.#idle) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  close(): void {
    this.file.close();
    const error = systemError(EBADF, 'read');
    for (const { pending, transfer } of this.#transfers.values()) {
      pending.batch.fail(transfer, error);
      pending.resolve();
    }
    this.#transfers.clear();
    for (const settle of this.#operations.values()) settle(EBADF);
    this.#operations.clear();
    this.#tellIdle();
  }

  async #operate(token: number, syscall: string): Promise<void> {
    const errno = await this.#outcome(token);
    if (errno !== 0) throw systemError(errno, syscall);
  }

  #outcome(token: number): Promise<number> {
    return new Promise((resolve) => this.#operations.set(token, resolve));
  }

  get #idle(): boolean {
    return this.#transfers.size === 0 && this.#operations.size === 0;
  }

  #tellIdle(): void {
    if (!this.#idle) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #collect(): void {
    const done = this.#done;
    for (let count = this.file.take(done); count > 0; count = this.file.take(done)) {
      for (let i = 0; i < count; i++)
        this.#settle(done[i * NATIVE_DONE_WORDS]!, done[i * NATIVE_DONE_WORDS + 1]!);
    }
    this.#tellIdle();
  }

  #settle(token: number, errno: number): void {
    const operation = this.#operations.get(token);
    if (operation !== undefined) {
      this.#operations.delete(token);
      operation(errno);
      return;
    }
    const waiting = this.#transfers.get(token);
    if (waiting === undefined) return;
    this.#transfers.delete(token);
    const { pending, transfer } = waiting;
    const { batch } = pending;
    const write = batch.isWrite(transfer);
    const outcome = write ? errno : this.file.finish(token, errno === 0 && !batch.cancelled);
    if (outcome !== 0) batch.fail(transfer, systemError(outcome, write ? 'pwrite' : 'pread'));
    batch.complete(transfer);
    if (--pending.left === 0) pending.resolve();
  }
}

/** As Node's own functions throw it. */
export function systemError(errno: number, syscall: string): NodeJS.ErrnoException {
  if (errno === ENODATA) {
    return Object.assign(new Error('the file ends before: it was cut while in use'), {
      code: 'ENODATA',
      errno,
      syscall,
    });
  }
  const code = getSystemErrorName(-errno);
  return Object.assign(new Error(`${code}: ${syscall}`), { code, errno, syscall });
}
