import { Readable, Writable } from 'node:stream';
import { MAX_DATA, WINDOW, violation } from './frames.ts';

/** Small pieces are joined, so that a guest cannot have each of its bytes cost an object. */
const SMALL = 4096;
const BLOCK = 16384;
/** Credit is given in portions, not byte by byte. */
const PORTION: number = WINDOW / 4;

/** Bytes that came and wait for a reader. */
class Blocks {
  readonly #blocks: Uint8Array[] = [];
  /** Bytes of the last block that are filled, while more can be added to it. */
  #filled: number | undefined;

  get empty(): boolean {
    return this.#blocks.length === 0;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length >= SMALL) {
      this.#seal();
      this.#blocks.push(bytes);
      return;
    }
    if (this.#filled === undefined || this.#filled + bytes.length > BLOCK) {
      this.#seal();
      this.#blocks.push(this.empty ? bytes.slice() : new Uint8Array(BLOCK));
      this.#filled = 0;
      if (this.#blocks.length === 1) {
        this.#filled = undefined;
        return;
      }
    }
    this.#blocks.at(-1)!.set(bytes, this.#filled);
    this.#filled += bytes.length;
  }

  shift(): Uint8Array | undefined {
    if (this.#blocks.length === 1) this.#seal();
    return this.#blocks.shift();
  }

  clear(): void {
    this.#blocks.length = 0;
    this.#filled = undefined;
  }

  #seal(): void {
    if (this.#filled === undefined) return;
    this.#blocks.push(this.#blocks.pop()!.subarray(0, this.#filled));
    this.#filled = undefined;
  }
}

/** An error for what the other side may not do. */
export type Violation = (what: string) => Error;

/** A channel from the other side: keeps at most a window, and gives credit for what was read. */
export class ReceivingChannel extends Readable {
  readonly #blocks = new Blocks();
  readonly #giveCredit: (bytes: number) => void;
  readonly #discard: () => void;
  readonly #violation: Violation;
  #window = WINDOW;
  #read = 0;
  #wanted = false;
  #ended = false;

  /** @param discard tells the other side that nobody reads it */
  constructor(giveCredit: (bytes: number) => void, discard: () => void, broken: Violation = violation) {
    // One block at a time: the others wait here, where small ones are joined.
    super({ highWaterMark: 1 });
    this.#giveCredit = giveCredit;
    this.#discard = discard;
    this.#violation = broken;
    // Whoever reads it sees the error; where nobody does, it is that of the whole.
    this.on('error', () => undefined);
  }

  get finished(): boolean {
    return this.#ended;
  }

  /** @throws Error for more than there was credit for, and behind the end */
  receive(bytes: Uint8Array): void {
    if (this.#ended) throw this.#violation('DATA behind EOF');
    if (bytes.length > this.#window) throw this.#violation('more DATA than there was credit for');
    this.#window -= bytes.length;
    if (bytes.length === 0) return;
    if (this.destroyed) {
      this.#account(bytes.length);
      return;
    }
    this.#blocks.push(bytes);
    if (this.#wanted) this._read();
  }

  /** The other side sends no more. @throws Error when it said so before */
  finish(): void {
    if (this.#ended) throw this.#violation('EOF twice');
    this.#ended = true;
    if (this.#wanted && this.#blocks.empty && !this.destroyed) this.push(null);
  }

  override _read(): void {
    const block = this.#blocks.shift();
    this.#wanted = block === undefined;
    if (block === undefined) {
      if (this.#ended) this.push(null);
      return;
    }
    this.#account(block.length);
    this.push(block);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#blocks.clear();
    if (!this.#ended) this.#discard();
    callback(error);
  }

  #account(bytes: number): void {
    this.#read += bytes;
    if (this.#read < PORTION || this.#ended) return;
    this.#window += this.#read;
    this.#giveCredit(this.#read);
    this.#read = 0;
  }
}

/** A channel to the other side: waits for credit. */
export class SendingChannel extends Writable {
  readonly #send: (bytes: Uint8Array) => void;
  readonly #end: () => void;
  readonly #violation: Violation;
  #credit = WINDOW;
  #rest: Uint8Array = new Uint8Array(0);
  #callback: ((error?: Error | null) => void) | undefined;

  constructor(send: (bytes: Uint8Array) => void, end: () => void, broken: Violation = violation) {
    super({ decodeStrings: true, highWaterMark: MAX_DATA });
    this.#send = send;
    this.#end = end;
    this.#violation = broken;
    this.on('error', () => undefined);
  }

  /** @throws Error for credit that was not used */
  credit(bytes: number): void {
    if (bytes > WINDOW - this.#credit) throw this.#violation('credit for more than was sent');
    this.#credit += bytes;
    this.#advance();
  }

  /** The other side takes no more. */
  refuse(): void {
    // Without an error: a command may end without having read all of its input.
    this.destroy();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#rest = chunk;
    this.#callback = callback;
    this.#advance();
  }

  override _final(callback: () => void): void {
    this.#end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const waiting = this.#callback;
    this.#callback = undefined;
    waiting?.(error);
    callback(error);
  }

  #advance(): void {
    while (this.#rest.length > 0 && this.#credit > 0) {
      const size = Math.min(this.#rest.length, this.#credit, MAX_DATA);
      this.#credit -= size;
      const piece = this.#rest.subarray(0, size);
      this.#rest = this.#rest.subarray(size);
      this.#send(piece);
    }
    if (this.#rest.length > 0) return;
    const callback = this.#callback;
    this.#callback = undefined;
    callback?.();
  }
}
