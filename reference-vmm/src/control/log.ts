import { closeSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const LOG_FILE = 'console.log';
/** What both files may hold together, in bytes. */
const LIMIT = 4 * 1024 * 1024;
const READ_SIZE = 64 * 1024;

interface Generation {
  readonly fd: number;
  /** Place of the file's first byte in all that was ever written. */
  readonly start: number;
  size: number;
}

/**
 * Console output in `console.log` and, when that is full, `console.log.1` of a VM's directory: the last 2 to 4 MiB. A place
 * in it is the number of bytes that were written before, so that readers keep theirs when files rotate.
 */
export class ConsoleLog implements Disposable {
  /** Bytes that could not be written, on a full disk. */
  lost = 0;
  readonly #path: string;
  readonly #limit: number;
  #older: Generation | undefined;
  #current: Generation;
  #pending: Uint8Array[] = [];
  #flushing: NodeJS.Immediate | undefined;
  #ended = false;
  readonly #waiting = new Set<() => void>();

  /** @param limit bytes of both files together */
  constructor(directory: string, limit: number = LIMIT) {
    this.#path = join(directory, LOG_FILE);
    this.#limit = limit / 2;
    this.#current = { fd: openSync(this.#path, 'w+', 0o600), start: 0, size: 0 };
  }

  /** The first place that can be read. */
  get start(): number {
    return (this.#older ?? this.#current).start;
  }

  /** The place after the last byte. */
  get end(): number {
    this.#flush();
    return this.#current.start + this.#current.size;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** The bytes are kept until the end of this turn of the event loop: they must not change. */
  write(bytes: Uint8Array): void {
    if (this.#ended) return;
    this.#pending.push(bytes);
    this.#flushing ??= setImmediate(() => this.#flush());
  }

  /** Up to 64 KiB from a place on, or from the first place that is still there; empty at the end. */
  read(place: number): { readonly bytes: Uint8Array; readonly next: number } {
    const from = Math.max(place, this.start);
    const file = this.#older !== undefined && from < this.#current.start ? this.#older : this.#current;
    const bytes = new Uint8Array(Math.max(0, Math.min(READ_SIZE, file.start + file.size - from)));
    if (bytes.length === 0) return { bytes, next: from };
    const length = readSync(file.fd, bytes, 0, bytes.length, from - file.start);
    return { bytes: bytes.subarray(0, length), next: from + length };
  }

  /** Resolves when something was written or nothing more will be, or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void> {
    if (this.#ended || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done);
    });
  }

  /** The guest prints nothing more; reading goes on. */
  finish(): void {
    this.#flush();
    this.#ended = true;
    for (const wake of this.#waiting) wake();
  }

  [Symbol.dispose](): void {
    if (this.#current.fd < 0) return;
    this.finish();
    closeSync(this.#current.fd);
    if (this.#older !== undefined) closeSync(this.#older.fd);
    this.#older = undefined;
    this.#current = { fd: -1, start: this.#current.start + this.#current.size, size: 0 };
  }

  #flush(): void {
    if (this.#flushing === undefined) return;
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    const pending = this.#pending;
    this.#pending = [];
    for (const bytes of pending) this.#append(bytes);
    for (const wake of this.#waiting) wake();
  }

  #append(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length;) {
        if (this.#current.size >= this.#limit) this.#rotate();
        const room = this.#limit - this.#current.size;
        const part = bytes.subarray(at, at + room);
        const length = writeSync(this.#current.fd, part, 0, part.length, this.#current.size);
        this.#current.size += length;
        at += length;
      }
    } catch {
      // A full disk is no reason for the guest to stop.
      this.lost += bytes.length;
    }
  }

  #rotate(): void {
    const { start, size } = this.#current;
    // Before anything else, as this is what a full disk refuses.
    const fd = openSync(`${this.#path}.new`, 'w+', 0o600);
    try {
      renameSync(this.#path, `${this.#path}.1`);
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    if (this.#older !== undefined) closeSync(this.#older.fd);
    this.#older = this.#current;
    this.#current = { fd, start: start + size, size: 0 };
  }
}
