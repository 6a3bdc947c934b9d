import { formatAddress, type GuestMemory, type GuestRegion } from '@vmm/vm-memory';
import { MAX_CHAIN_BYTES } from './constants.ts';
import { ChainReader, ChainWriter } from './cursor.ts';
import { VirtioQueueError } from './errors.ts';

// The optimiser folds constants of this module, and loads and checks imported ones at every use.
const MAX_BYTES = MAX_CHAIN_BYTES;

/**
 * One buffer from the driver: pieces of guest memory, those the device reads first, then those it writes
 * (VIRTIO 1.3 §2.6, §2.7.4, §2.8.5). A piece is contiguous in the host, so that `slice(i)` is always one view: it is
 * a descriptor, except that an empty descriptor makes no piece and one that reaches from one region of
 * guest memory into the next makes two. How pieces are cut says nothing about the request (§2.7.4.1): use
 * `reader` and `writer`.
 *
 * Everything here was checked when the chain was popped and cannot change afterwards, whatever the driver
 * does to the ring; the bytes themselves can.
 */
export class DescriptorChain {
  readonly memory: GuestMemory;
  /** The queue whose chain this is; undefined while the device does not have it. For queues. */
  holder: object | undefined;
  #head = 0;
  #length = 0;
  #readableCount = 0;
  #bytes = 0;
  #readableBytes = 0;
  #sawWritable = false;
  /**
   * A region that devices may write, where the last buffer in one was; the next is likely to be there too. Numbers of
   * the chain's own, of which the optimiser knows that they are doubles.
   */
  #regionStart = Infinity;
  #regionEnd = -Infinity;
  /** Two doubles a piece: its guest address and its size. */
  #pieces = new Float64Array(8);
  #reader: ChainReader | undefined;
  #writer: ChainWriter | undefined;

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** What the ring identifies the chain by: the index of its first descriptor, or the Buffer ID of a packed ring. */
  get head(): number {
    return this.#head;
  }

  /** Number of pieces. */
  get length(): number {
    return this.#length;
  }

  /** Number of pieces that the device reads: 0 … readableCount - 1. */
  get readableCount(): number {
    return this.#readableCount;
  }

  /** Number of pieces that the device writes: readableCount … length - 1. */
  get writableCount(): number {
    return this.#length - this.#readableCount;
  }

  /** Total of the readable pieces, up to 2^32. */
  get readableBytes(): number {
    return this.#readableBytes;
  }

  /** Total of the writable pieces, up to 2^32. */
  get writableBytes(): number {
    return this.#bytes - this.#readableBytes;
  }

  /** Guest physical address of piece `i`. */
  address(i: number): number {
    this.#check(i);
    return this.#pieces[2 * i]!;
  }

  /** Bytes of piece `i`, at least 1. */
  size(i: number): number {
    this.#check(i);
    return this.#pieces[2 * i + 1]!;
  }

  isWritable(i: number): boolean {
    this.#check(i);
    return i >= this.#readableCount;
  }

  /** The region of guest memory that holds piece `i`. */
  region(i: number): GuestRegion {
    return this.memory.findRegion(this.address(i))!;
  }

  /** Where piece `i` begins in the bytes of its region. */
  offset(i: number): number {
    return this.address(i) - this.region(i).guestAddress;
  }

  /** A new view of piece `i`. */
  slice(i: number): Uint8Array {
    return this.region(i).slice(this.offset(i), this.size(i));
  }

  /** Reads the readable part from its start. The same cursor at every call. */
  get reader(): ChainReader {
    this.#reader ??= new ChainReader(this);
    return this.#reader;
  }

  /** Writes the writable part from its start. The same cursor at every call. */
  get writer(): ChainWriter {
    this.#writer ??= new ChainWriter(this);
    return this.#writer;
  }

  /** For queues: forgets all pieces and rewinds the cursors. */
  clear(): void {
    this.#length = 0;
    this.#readableCount = 0;
    this.#bytes = 0;
    this.#readableBytes = 0;
    this.#sawWritable = false;
    if (this.#reader !== undefined) this.#reader.rewind();
    if (this.#writer !== undefined) this.#writer.rewind();
  }

  /** For queues: says what the ring identifies the chain by. */
  identify(head: number): void {
    this.#head = head;
  }

  /**
   * For queues: appends the buffer of one descriptor. The driver may describe an empty buffer (nothing in
   * §2.7.5 forbids it); its address means nothing then.
   *
   * @param size bytes, 0 … 2^32 - 1
   * @throws VirtioQueueError `READABLE_AFTER_WRITABLE`, `CHAIN_TOO_LARGE`, `BUFFER_OUT_OF_RANGE`, `BUFFER_READ_ONLY`
   */
  append(address: number, size: number, writable: boolean): void {
    const pieces = this.#pieces;
    const i = this.#length;
    const at = i << 1;
    const bytes = this.#bytes + size;
    if (
      address < this.#regionStart ||
      address + size > this.#regionEnd ||
      size === 0 ||
      bytes > MAX_BYTES ||
      at >= pieces.length ||
      (!writable && this.#sawWritable)
    ) {
      this.#appendSlowly(address, size, writable);
      return;
    }
    pieces[at] = address;
    pieces[at | 1] = size;
    this.#bytes = bytes;
    this.#length = i + 1;
    if (writable) {
      this.#sawWritable = true;
    } else {
      this.#readableBytes = bytes;
      this.#readableCount = i + 1;
    }
  }

  /** For queues: marks the writable part dirty. */
  markWritten(): void {
    const { memory } = this;
    const pieces = this.#pieces;
    const end = 2 * this.#length;
    let start = 0;
    let stop = 0;
    for (let at = 2 * this.#readableCount; at < end; at += 2) {
      const address = pieces[at]!;
      const size = pieces[at + 1]!;
      // The same bytes again and again cost a driver nothing.
      if (address >= start && address + size <= stop) continue;
      if (address === stop) {
        stop += size;
        continue;
      }
      memory.markDirty(start, stop - start);
      start = address;
      stop = address + size;
    }
    memory.markDirty(start, stop - start);
  }

  /** {@link append} for everything but a buffer in the region of the one before. */
  #appendSlowly(address: number, size: number, writable: boolean): void {
    if (writable) {
      this.#sawWritable = true;
    } else if (this.#sawWritable) {
      throw new VirtioQueueError(
        'READABLE_AFTER_WRITABLE',
        `chain ${this.head}: a device-readable descriptor follows a device-writable one`,
      );
    }
    if (size === 0) return;
    if (this.#bytes + size > MAX_BYTES) {
      throw new VirtioQueueError('CHAIN_TOO_LARGE', `chain ${this.head} has more than 2^32 bytes`);
    }
    const { memory } = this;
    if (!memory.contains(address, size)) {
      throw new VirtioQueueError(
        'BUFFER_OUT_OF_RANGE',
        `chain ${this.head}: ${size} bytes at ${formatAddress(address)} are not guest memory`,
      );
    }
    const end = address + size;
    for (let start = address; start < end;) {
      const region = memory.findRegion(start)!;
      const stop = Math.min(end, region.end);
      this.#appendPiece(region, start, stop - start, writable);
      start = stop;
    }
  }

  #appendPiece(region: GuestRegion, address: number, size: number, writable: boolean): void {
    const i = this.#length;
    if (writable) {
      if (region.readOnly) {
        throw new VirtioQueueError(
          'BUFFER_READ_ONLY',
          `chain ${this.head}: the device-writable buffer at ${formatAddress(address)} is in read-only memory`,
        );
      }
    } else {
      this.#readableBytes += size;
      this.#readableCount = i + 1;
    }
    if (2 * i === this.#pieces.length) this.#grow();
    this.#pieces[2 * i] = address;
    this.#pieces[2 * i + 1] = size;
    this.#bytes += size;
    this.#length = i + 1;
    if (!region.readOnly) {
      this.#regionStart = region.guestAddress;
      this.#regionEnd = region.end;
    }
  }

  #grow(): void {
    const pieces = new Float64Array(this.#pieces.length * 2);
    pieces.set(this.#pieces);
    this.#pieces = pieces;
  }

  #check(i: number): void {
    if (!(i >= 0 && i < this.#length)) {
      throw new VirtioQueueError(
        'INVALID_ARGUMENT',
        `piece ${i} of chain ${this.head}, which has ${this.#length}`,
      );
    }
  }
}
