import { lstatSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { Duplex } from 'node:stream';
import type { ConsoleSize } from '../console/control.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { requireHost } from './load.ts';
import { PTY_HUNG_UP, PTY_READABLE, PTY_WRITABLE, type NativePtyMaster } from './native-pty.ts';

/** Milliseconds between looks at what the kernel does not report: the window size, and that a program has come. */
const LOOK_INTERVAL = 200;
/** Milliseconds between looks at whether the last output was read, and how many there are. */
const LINGER_INTERVAL = 20;
const LINGER_LOOKS = 100;
const READ_SIZE = 64 * 1024;

export interface ConsolePtyOptions {
  /** Path of a symbolic link to the terminal; replaces a symbolic link, and is removed at the end. */
  readonly link?: string;
  /** Window size that programs see at first. Default 80 x 24. */
  readonly size?: ConsoleSize;
  /** Bytes of output that are kept for the next program while none has the terminal open. Default 65536. */
  readonly backlog?: number;
}

/**
 * A pseudo-terminal of the host, as a stream: reads what is typed there, and writes what is shown there. In raw mode;
 * programs may change that while they have it open. Keeps no process alive by itself.
 *
 * Opening or closing the terminal ends nothing: the stream goes on, keeps the last output for who comes next, and emits
 * `attach` when a program opened it that none had open, `detach` when the last one closed it, and `resize` with a
 * {@link ConsoleSize} when one set the window size; `attach` and `resize` within 200 ms. `end()` waits for the program to
 * read what was written, about 2 s at most, and then hangs up.
 *
 * With flow control both ways: what is not read from the stream stays in the kernel, and a write is done when the kernel
 * took it; the terminal can be stopped for as long as its program likes.
 */
export class ConsolePty extends Duplex {
  /** Of the terminal, `/dev/pts/…`. */
  readonly path: string;
  readonly link: string | undefined;
  readonly #master: NativePtyMaster;
  readonly #backlog: number;
  readonly #buffer = new Uint8Array(READ_SIZE);
  readonly #timer: NodeJS.Timeout;
  #lingering: NodeJS.Timeout | undefined;
  #output: Uint8Array[] = [];
  #outputSize = 0;
  #written: (() => void) | undefined;
  #reading = false;
  #attached = false;
  #released = false;
  #size: number;

  /** @throws VirtioDeviceError `NO_ADDON`, `INVALID_OPTION`, `IN_USE` (link), `IO_ERROR` */
  constructor(options: ConsolePtyOptions = {}) {
    super();
    this.#backlog = checkOption('backlog', options.backlog ?? 65536, 0, 2 ** 30);
    const { columns, rows } = options.size ?? { columns: 80, rows: 24 };
    this.#size = pack(checkOption('columns', columns, 0, 65535), checkOption('rows', rows, 0, 65535));
    const host = requireHost('a pseudo-terminal');
    try {
      this.#master = new host.PtyMaster((events) => this.#ready(events));
    } catch (cause) {
      throw new VirtioDeviceError('IO_ERROR', 'the host has no pseudo-terminal', { cause });
    }
    this.path = this.#master.path;
    try {
      this.#master.setSize(columns, rows);
      if (options.link !== undefined) placeLink(this.path, options.link);
    } catch (error) {
      this.#master.close();
      throw error;
    }
    this.link = options.link;
    this.#timer = setInterval(() => this.#guarded(() => this.#look()), LOOK_INTERVAL).unref();
  }

  /** A program has the terminal open. */
  get attached(): boolean {
    return this.#attached;
  }

  get size(): ConsoleSize {
    return unpack(this.#size);
  }

  /**
   * Tells the programs of the terminal a new window size.
   *
   * @throws VirtioDeviceError `INVALID_ARGUMENT`
   */
  setSize(size: ConsoleSize): void {
    const { columns, rows } = size;
    for (const value of [columns, rows]) {
      if (!Number.isInteger(value) || value < 0 || value > 65535) {
        throw new VirtioDeviceError('INVALID_ARGUMENT', `a window size of ${columns} x ${rows}`);
      }
    }
    this.#size = pack(columns, rows);
    this.#guarded(() => this.#master.setSize(columns, rows));
  }

  override _read(): void {
    this.#reading = true;
    this.#guarded(() => this.#pump());
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#written = callback;
    this.#push(chunk);
    this.#guarded(() => this.#flush());
  }

  override _final(callback: (error?: Error | null) => void): void {
    let looks = LINGER_LOOKS;
    const finish = (): void => {
      if (this.#released) return;
      if (looks-- > 0 && !this.#isRead()) {
        this.#lingering = setTimeout(finish, LINGER_INTERVAL);
        return;
      }
      this.#release();
      this.push(null);
      callback();
    };
    finish();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#release();
    callback(error);
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    clearInterval(this.#timer);
    clearTimeout(this.#lingering);
    this.#master.close();
    this.#output = [];
    if (this.link !== undefined) removeLink(this.path, this.link);
  }

  #ready(events: number): void {
    this.#guarded(() => {
      if ((events & PTY_WRITABLE) !== 0) this.#flush();
      if ((events & PTY_READABLE) !== 0) this.#pump();
    });
  }

  /** Does what may fail in the kernel: that ends the stream. */
  #guarded(work: () => void): void {
    if (this.#released) return;
    try {
      work();
    } catch (cause) {
      // What a listener threw is its own.
      if (!isSystemError(cause)) throw cause;
      this.destroy(new VirtioDeviceError('IO_ERROR', `the terminal ${this.path} failed`, { cause }));
    }
  }

  /** Listeners may have done that. */
  #isReleased(): boolean {
    return this.#released;
  }

  #look(): void {
    const size = this.#master.size();
    if (size !== this.#size) {
      this.#size = size;
      this.emit('resize', unpack(size));
      if (this.#isReleased()) return;
    }
    if (this.#master.hungUp) {
      // A program may have come, written, changed settings and gone since.
      this.#pump();
      if (this.#isReleased() || !this.#isHungUp()) return;
      this.#detach();
      // For the next program, whatever the last one set.
      if (!this.#isReleased()) this.#master.setRaw();
    } else this.#attach();
  }

  #attach(): void {
    if (this.#attached) return;
    this.#attached = true;
    this.emit('attach');
    if (this.#isReleased()) return;
    this.#flush();
    this.#pump();
  }

  #detach(): void {
    if (!this.#attached) return;
    this.#attached = false;
    this.#keepBacklog();
    this.emit('detach');
  }

  /** Moves what was typed to the reader, until there is no more or it has enough. */
  #pump(): void {
    while (this.#reading && !this.#isReleased()) {
      const length = this.#master.read(this.#buffer);
      if (length === PTY_HUNG_UP) {
        this.#detach();
        return;
      }
      if (length === 0) {
        this.#attach();
        return;
      }
      this.#reading = this.push(this.#buffer.slice(0, length));
    }
  }

  #push(bytes: Uint8Array): void {
    this.#output.push(bytes);
    this.#outputSize += bytes.length;
  }

  /** Writes what waits, as far as the kernel takes it. */
  #flush(): void {
    while (this.#output.length > 0) {
      const bytes = this.#output[0]!;
      const length = bytes.length === 0 ? 0 : this.#master.write(bytes);
      if (length === PTY_HUNG_UP) {
        this.#detach();
        this.#keepBacklog();
        return;
      }
      this.#outputSize -= length;
      if (length === bytes.length) this.#output.shift();
      else if (length > 0) this.#output[0] = bytes.subarray(length);
      else return;
    }
    this.#finishWrite();
  }

  /** Nobody reads: the oldest output gives way. */
  #keepBacklog(): void {
    while (this.#outputSize > this.#backlog) {
      const bytes = this.#output[0]!;
      const excess = this.#outputSize - this.#backlog;
      const length = Math.min(bytes.length, excess);
      this.#outputSize -= length;
      if (length === bytes.length) this.#output.shift();
      else this.#output[0] = bytes.subarray(length);
    }
    this.#finishWrite();
  }

  #finishWrite(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  #isHungUp(): boolean {
    try {
      return this.#master.hungUp;
    } catch {
      return true;
    }
  }

  /** Nothing is on its way to a program of the terminal. */
  #isRead(): boolean {
    try {
      return this.#master.hungUp || (this.#outputSize === 0 && this.#master.unread === 0);
    } catch {
      return true;
    }
  }
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return typeof error === 'object' && error !== null && 'syscall' in error;
}

function pack(columns: number, rows: number): number {
  return columns * 65536 + rows;
}

function unpack(size: number): ConsoleSize {
  return { columns: Math.floor(size / 65536), rows: size % 65536 };
}

function placeLink(target: string, path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true) rmSync(path);
  try {
    symlinkSync(target, path);
  } catch (cause) {
    const code = isSystemError(cause) && cause.code === 'EEXIST' ? 'IN_USE' : 'IO_ERROR';
    throw new VirtioDeviceError(code, `no link to a terminal at ${path}`, { cause });
  }
}

/** Unless it belongs to somebody else by now. */
function removeLink(target: string, path: string): void {
  try {
    if (readlinkSync(path) === target) rmSync(path);
  } catch {
    // Gone already.
  }
}
