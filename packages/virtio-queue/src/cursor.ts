import { IOVEC_WORDS, type GuestRegion } from '@vmm/vm-memory';
import type { DescriptorChain } from './chain.ts';
import { VirtioQueueError } from './errors.ts';

const TWO_32 = 2 ** 32;
/** Up to this many bytes a loop is faster than making a view for `TypedArray.prototype.set`. */
const COPY_BY_LOOP = 24;

/**
 * A position in the readable or the writable part of a chain. Positions and lengths are in bytes; borders
 * between pieces do not show. Whatever asks for more than `remaining` throws VirtioQueueError
 * `CHAIN_TOO_SHORT` and moves nothing.
 */
export abstract class ChainCursor {
  protected readonly chain: DescriptorChain;
  /** The piece at the cursor, its region and where it begins there; none before the first access. */
  #index = -1;
  #region: GuestRegion | undefined;
  #start = 0;
  #length = 0;
  /** Bytes of the piece before the cursor. */
  #within = 0;
  #position = 0;

  constructor(chain: DescriptorChain) {
    this.chain = chain;
  }

  /** Bytes in this part. */
  abstract get size(): number;
  /** Number of the part's first piece in the chain. */
  protected abstract get first(): number;

  /** Bytes before the cursor. */
  get position(): number {
    return this.#position;
  }

  /** Bytes after the cursor. */
  get remaining(): number {
    return this.size - this.#position;
  }

  /** Back to the start. */
  rewind(): void {
    this.#index = -1;
    this.#length = 0;
    this.#within = 0;
    this.#position = 0;
  }

  /** @param position 0 … `size` */
  seek(position: number): void {
    if (!(Number.isInteger(position) && position >= 0)) {
      throw new VirtioQueueError('INVALID_ARGUMENT', `${position} is no position in a chain`);
    }
    if (position > this.size) throw this.#tooShort(position);
    if (position < this.#position) this.rewind();
    this.pass(position - this.#position);
  }

  skip(length: number): void {
    this.require(length);
    this.pass(length);
  }

  /**
   * A view of the bytes at the cursor that lie together in the host, at most `limit`; empty at the end.
   * The cursor passes them.
   */
  take(limit: number = Infinity): Uint8Array {
    if (this.remaining === 0) return new Uint8Array(0);
    const region = this.region();
    const length = limit > 0 ? Math.min(this.#length - this.#within, Math.floor(limit)) : 0;
    const bytes = region.slice(this.offset(), length);
    this.pass(length);
    return bytes;
  }

  /**
   * Describes the next `length` bytes for native batch I/O, as `GuestMemory.iovecs` does; the cursor passes
   * them.
   *
   * @returns the index in `out` after the last number stored
   * @throws VirtioQueueError `IOVECS_FULL`; the cursor has not moved then
   */
  iovecs(length: number, out: Float64Array, at = 0): number {
    this.require(length);
    const position = this.#position;
    for (let left = length; left > 0;) {
      const region = this.region();
      const size = Math.min(left, this.#length - this.#within);
      if (at + IOVEC_WORDS > out.length) {
        this.seek(position);
        throw new VirtioQueueError('IOVECS_FULL', `no room for an iovec at index ${at} of ${out.length}`);
      }
      out[at] = region.guestAddress + this.offset();
      out[at + 1] = size;
      at += IOVEC_WORDS;
      this.pass(size);
      left -= size;
    }
    return at;
  }

  /** The region at the cursor, which is not at the end. */
  protected region(): GuestRegion {
    if (this.#within === this.#length) this.#enter(this.#index + 1);
    return this.#region!;
  }

  /** Where the cursor is in {@link region}, after a call of that. */
  protected offset(): number {
    return this.#start + this.#within;
  }

  /** Moves on by `length` bytes, which are there. */
  protected pass(length: number): void {
    this.#position += length;
    let left = length;
    while (left > this.#length - this.#within) {
      left -= this.#length - this.#within;
      this.#enter(this.#index + 1);
    }
    this.#within += left;
  }

  protected require(length: number): void {
    if (!(Number.isInteger(length) && length >= 0)) {
      throw new VirtioQueueError('INVALID_ARGUMENT', `${length} is no number of bytes`);
    }
    if (length > this.remaining) throw this.#tooShort(this.#position + length);
  }

  /** The region of the next `length` bytes when they are in one piece; throws when there are fewer. */
  protected together(length: number): GuestRegion | undefined {
    if (length > this.remaining) throw this.#tooShort(this.#position + length);
    const region = this.region();
    return this.#within + length <= this.#length ? region : undefined;
  }

  /** Copies between the first `length` of `bytes` and the cursor, which passes them; they are there. */
  protected copy(bytes: Uint8Array, length: number, toGuest: boolean): void {
    for (let done = 0; done < length;) {
      const region = this.region();
      const start = this.offset();
      const size = Math.min(length - done, this.#length - this.#within);
      const memory = region.bytes;
      if (size <= COPY_BY_LOOP) {
        if (toGuest) for (let k = 0; k < size; k++) memory[start + k] = bytes[done + k]!;
        else for (let k = 0; k < size; k++) bytes[done + k] = memory[start + k]!;
      } else if (toGuest) {
        memory.set(size === bytes.length ? bytes : bytes.subarray(done, done + size), start);
      } else {
        bytes.set(region.slice(start, size), done);
      }
      done += size;
      this.pass(size);
    }
  }

  #enter(index: number): void {
    const { chain } = this;
    const i = this.first + index;
    const region = chain.region(i);
    this.#region = region;
    this.#start = chain.address(i) - region.guestAddress;
    this.#length = chain.size(i);
    this.#within = 0;
    this.#index = index;
  }

  #tooShort(wanted: number): VirtioQueueError {
    return new VirtioQueueError(
      'CHAIN_TOO_SHORT',
      `chain ${this.chain.head}: the request needs ${wanted} bytes where the driver gave ${this.size}`,
    );
  }
}

/** Reads what the driver sent. */
export class ChainReader extends ChainCursor {
  readonly #scratch = new Uint8Array(8);
  readonly #scratchView: DataView = new DataView(this.#scratch.buffer);

  override get size(): number {
    return this.chain.readableBytes;
  }

  protected override get first(): number {
    return 0;
  }

  /** Fills `target`. */
  read(target: Uint8Array): void {
    this.require(target.length);
    this.copy(target, target.length, false);
  }

  /** Fills `target` as far as the chain reaches. @returns the number of bytes copied */
  readSome(target: Uint8Array): number {
    const length = Math.min(target.length, this.remaining);
    this.copy(target, length, false);
    return length;
  }

  readUint8(): number {
    return this.#number(1);
  }

  readUint16(): number {
    return this.#number(2);
  }

  readUint32(): number {
    return this.#number(4);
  }

  /** @throws VirtioQueueError `VALUE_TOO_LARGE` for a value beyond 2^53 - 1; the cursor has passed it then */
  readUint64(): number {
    this.require(8);
    const low = this.#number(4);
    const value = low + this.#number(4) * TWO_32;
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new VirtioQueueError('VALUE_TOO_LARGE', 'a 64-bit value from the driver is beyond 2^53 - 1');
    }
    return value;
  }

  #number(length: 1 | 2 | 4): number {
    let view = this.#scratchView;
    let offset = 0;
    const region = this.together(length);
    if (region === undefined) {
      this.copy(this.#scratch, length, false);
    } else {
      view = region.view;
      offset = this.offset();
      this.pass(length);
    }
    if (length === 1) return view.getUint8(offset);
    return length === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
  }
}

/** Writes the device's answer. `position` after sequential writes is what `addUsed()` wants to know. */
export class ChainWriter extends ChainCursor {
  readonly #scratch = new Uint8Array(8);
  readonly #scratchView: DataView = new DataView(this.#scratch.buffer);

  override get size(): number {
    return this.chain.writableBytes;
  }

  protected override get first(): number {
    return this.chain.readableCount;
  }

  /** Writes all of `source`. */
  write(source: Uint8Array): void {
    this.require(source.length);
    this.copy(source, source.length, true);
  }

  /** Writes as much of `source` as the chain has room for. @returns the number of bytes copied */
  writeSome(source: Uint8Array): number {
    const length = Math.min(source.length, this.remaining);
    this.copy(source, length, true);
    return length;
  }

  /** Writes `length` bytes of `value` modulo 256. */
  fill(length: number, value: number): void {
    this.require(length);
    for (let left = length; left > 0;) left -= this.take(left).fill(value).length;
  }

  /** Writes `value` modulo 256. */
  writeUint8(value: number): void {
    this.require(1);
    this.region().view.setUint8(this.offset(), value);
    this.pass(1);
  }

  /** Writes `value` modulo 2^16. */
  writeUint16(value: number): void {
    const region = this.together(2);
    if (region === undefined) {
      this.#scratchView.setUint16(0, value, true);
      this.copy(this.#scratch, 2, true);
    } else {
      region.view.setUint16(this.offset(), value, true);
      this.pass(2);
    }
  }

  /** Writes `value` modulo 2^32. */
  writeUint32(value: number): void {
    const region = this.together(4);
    if (region === undefined) {
      this.#scratchView.setUint32(0, value, true);
      this.copy(this.#scratch, 4, true);
    } else {
      region.view.setUint32(this.offset(), value, true);
      this.pass(4);
    }
  }

  /** @param value an integer from 0 to 2^53 - 1 */
  writeUint64(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new VirtioQueueError('INVALID_ARGUMENT', `${value} is no integer from 0 to 2^53 - 1`);
    }
    this.require(8);
    this.writeUint32(value);
    this.writeUint32(Math.floor(value / TWO_32));
  }
}
