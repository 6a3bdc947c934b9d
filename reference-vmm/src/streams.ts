import { Duplex, Readable, Writable } from 'node:stream';
import { ConsoleExpect, type ConsoleMatch, type ExpectOptions } from './expect.ts';

/** Takes guest output; a promise asks the device to deliver no more until it resolves. */
export type OutputSink = (bytes: Uint8Array) => Promise<void> | undefined;

/** Takes host input; resolves when the device can take more. */
export type InputSink = (bytes: Uint8Array) => Promise<void>;

/** Resolves the promise that a full buffer gave out, when the reader has read. */
class Backpressure {
  #waiting: Promise<void> | undefined;
  #release: () => void = () => undefined;

  get active(): boolean {
    return this.#waiting !== undefined;
  }

  wait(): Promise<void> {
    this.#waiting ??= new Promise((resolve) => {
      this.#release = resolve;
    });
    return this.#waiting;
  }

  release(): void {
    this.#waiting = undefined;
    this.#release();
  }
}

/** Guest output as a stream: what the host does not read, the guest cannot write. */
export class GuestOutput extends Readable {
  readonly #backpressure = new Backpressure();

  readonly sink: OutputSink = (bytes) => {
    if (this.destroyed) return undefined;
    return this.push(bytes) ? undefined : this.#backpressure.wait();
  };

  override _read(): void {
    this.#backpressure.release();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#backpressure.release();
    callback(error);
  }

  /** The guest waits for the reader. */
  get waiting(): Promise<void> | undefined {
    return this.#backpressure.active ? this.#backpressure.wait() : undefined;
  }

  /** The guest writes no more. */
  finish(): void {
    if (!this.destroyed) this.push(null);
  }
}

/** Host input as a stream; its end is the guest's end of file. */
export class GuestInput extends Writable {
  readonly #sink: InputSink;
  readonly #close: () => void;

  constructor(sink: InputSink, close: () => void) {
    super({ decodeStrings: true });
    this.#sink = sink;
    this.#close = close;
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#sink(chunk).then(() => callback(), callback);
  }

  override _final(callback: () => void): void {
    this.#close();
    callback();
  }
}

/** What an unread console keeps; the serial port has no way to make the guest wait. */
const CONSOLE_LIMIT = 4 * 1024 * 1024;

/**
 * The guest's console: serial port and virtio console together. Reading gives what either prints, in order;
 * what is written goes to the one the guest listens on. An async iterable as every readable stream.
 */
export class ConsoleStream extends Duplex {
  /** Bytes of output that were dropped because nobody read the console. */
  dropped = 0;
  readonly #sink: InputSink;
  readonly #backpressure = new Backpressure();
  readonly #expect = new ConsoleExpect();
  /** Somebody waits for output, and need not be the reader. */
  #expected = false;

  constructor(sink: InputSink) {
    super({ decodeStrings: true, allowHalfOpen: true });
    this.#sink = sink;
    this.#expect.onWaiting = (waiting) => {
      this.#expected = waiting;
      if (waiting && this.#unread) this.#backpressure.release();
    };
  }

  /** As {@link Vmm.expect}. What is looked at is read by readers all the same. */
  expect(pattern: string | RegExp, options?: ExpectOptions): Promise<ConsoleMatch> {
    return this.#expect.expect(pattern, options);
  }

  /** Nobody has begun to read. */
  get #unread(): boolean {
    return this.readableFlowing === null;
  }

  /** Output of the serial port. */
  readonly serialSink = (bytes: Uint8Array): void => {
    if (this.destroyed || this.readableEnded) return;
    this.#expect.push(bytes);
    this.#pushBounded(bytes);
  };

  /** Output of the virtio console. */
  readonly virtioSink: OutputSink = (bytes) => {
    if (this.destroyed) return undefined;
    this.#expect.push(bytes);
    if (this.#expected && this.#unread) {
      // Who waits for output would wait for ever if it waited for a reader.
      this.#pushBounded(bytes);
      return undefined;
    }
    return this.push(bytes) ? undefined : this.#backpressure.wait();
  };

  #pushBounded(bytes: Uint8Array): void {
    if (this.readableLength > CONSOLE_LIMIT) this.dropped += bytes.length;
    else this.push(bytes);
  }

  override _read(): void {
    this.#backpressure.release();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#sink(chunk).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#backpressure.release();
    this.#expect.end();
    callback(error);
  }

  /** The virtio console waits for the reader. */
  get waiting(): Promise<void> | undefined {
    return this.#backpressure.active ? this.#backpressure.wait() : undefined;
  }

  /** The guest has ended. */
  finish(): void {
    this.#expect.end();
    if (!this.destroyed) this.push(null);
  }
}

const PANIC = 'Kernel panic - not syncing: ';
/** A panic's line is shorter than the kernel's record buffer (printk's LOG_LINE_MAX and prefix). */
const PANIC_LINE_LIMIT = 1024;

/** Finds the line with which Linux says that it panicked, in console output cut anywhere. */
export class PanicDetector {
  readonly #onPanic: (message: string) => void;
  readonly #decoder = new TextDecoder('latin1');
  #tail = '';
  #found = false;

  constructor(onPanic: (message: string) => void) {
    this.#onPanic = onPanic;
  }

  push(bytes: Uint8Array): void {
    if (this.#found) return;
    this.#tail += this.#decoder.decode(bytes);
    const start = this.#tail.indexOf(PANIC);
    if (start < 0) {
      this.#tail = this.#tail.slice(-PANIC.length);
      return;
    }
    const message = this.#tail.slice(start + PANIC.length);
    const end = message.search(/[\r\n]/);
    if (end < 0 && message.length < PANIC_LINE_LIMIT) return;
    this.#found = true;
    this.#onPanic(end < 0 ? message : message.slice(0, end));
  }
}
