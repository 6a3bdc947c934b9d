import type { DescriptorChain } from '@vmm/virtio-queue';
import type { GuestMemory } from '@vmm/vm-memory';
import { VIRTIO_NET_HDR_SIZE } from './constants.ts';
import type { ReceiveFilter } from './filter.ts';

const INITIAL_CHAINS = 256;
const NUM_BUFFERS_AT = 10;

/**
 * Buffers that a driver lent for the frames to come, oldest first, and the frames that a backend put into
 * them: each behind the 12 bytes of a `virtio_net_hdr`, over as many chains as it takes when the driver
 * merges buffers (VIRTIO 1.3 §5.1.6.3, .4).
 */
export class ReceiveBuffers {
  /** The guest's memory. */
  readonly memory: GuestMemory;
  readonly filter: ReceiveFilter;
  /** VIRTIO_NET_F_MRG_RXBUF was negotiated. */
  readonly mergeable: boolean;
  /** VIRTIO_NET_F_GUEST_CSUM is in force: headers may have flags. */
  dataValid = false;
  /** Frames that the device still takes in this call. */
  wanted = 0;
  /** Frames that the driver does not want. */
  filtered = 0;
  /** Frames for which a single buffer of the driver was too small. */
  tooLarge = 0;

  /** Chains from `#begin` on are free or hold frames that the device has not seen. */
  readonly #chains: DescriptorChain[] = [];
  #begin = 0;
  /** First free chain. */
  #free = 0;
  /** Two doubles for each piece: guest address and length. */
  #iovecs = new Float64Array(2 * INITIAL_CHAINS);
  /** Entry `i + 1`: index after the last double of chain `i`. */
  #ends = new Uint32Array(INITIAL_CHAINS + 1);
  /** Bytes written to chain `i`. */
  #written = new Uint32Array(INITIAL_CHAINS);
  /** Bytes of the frame that begins in chain `i`, with its header; 0 where none begins. */
  #frameSizes = new Uint32Array(INITIAL_CHAINS);
  #freeBytes = 0;
  readonly #header = new Uint8Array(VIRTIO_NET_HDR_SIZE);

  constructor(memory: GuestMemory, filter: ReceiveFilter, mergeable: boolean) {
    this.memory = memory;
    this.filter = filter;
    this.mergeable = mergeable;
  }

  /** Chains without a frame. */
  get freeChains(): number {
    return this.#chains.length - this.#free;
  }

  /** Bytes that they have room for. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** For native backends: pieces of all chains, as pairs of guest address and length. */
  get iovecs(): Float64Array {
    return this.#iovecs;
  }

  /** For native backends: entry `i + 1` is the index in {@link iovecs} after chain `i`. */
  get ends(): Uint32Array {
    return this.#ends;
  }

  /** For native backends: number of the first free chain. */
  get free(): number {
    return this.#free;
  }

  /** For native backends: number after the last free chain. */
  get end(): number {
    return this.#chains.length;
  }

  /**
   * Copies a frame into buffers.
   *
   * @param flags of the header: VIRTIO_NET_HDR_F_DATA_VALID when its checksums are known to be right
   * @returns false when there is no room for it now; true also when it was dropped for good
   */
  deliver(frame: Uint8Array, flags = 0): boolean {
    if (!this.filter.accepts(frame, 0)) {
      this.filtered++;
      return true;
    }
    if (this.freeChains === 0) return false;
    const size = VIRTIO_NET_HDR_SIZE + frame.length;
    if (!this.mergeable && this.#chains[this.#free]!.writableBytes < size) {
      this.tooLarge++;
      return true;
    }
    if (this.#freeBytes < size) return false;
    let count = 0;
    for (let room = 0; room < size; count++) room += this.#chains[this.#free + count]!.writableBytes;
    const header = this.#header;
    header[0] = this.dataValid ? flags : 0;
    header[NUM_BUFFERS_AT] = count & 0xff;
    header[NUM_BUFFERS_AT + 1] = count >>> 8;
    this.#chains[this.#free]!.writer.write(header);
    for (let i = 0, done = 0; i < count; i++) {
      const { writer } = this.#chains[this.#free + i]!;
      done += writer.writeSome(done === 0 ? frame : frame.subarray(done));
    }
    this.occupied(size, count);
    return true;
  }

  /**
   * For native backends: the first `count` free chains were filled with a frame of `size` bytes, header
   * included.
   */
  occupied(size: number, count: number): void {
    this.#frameSizes[this.#free] = size;
    for (let i = 0, left = size; i < count; i++) {
      const { writableBytes } = this.#chains[this.#free]!;
      const written = Math.min(left, writableBytes);
      this.#written[this.#free] = written;
      this.#freeBytes -= writableBytes;
      left -= written;
      this.#free++;
    }
    this.wanted--;
  }

  /** For the device: adds the writable part of a chain. */
  add(chain: DescriptorChain): void {
    if (this.#begin === this.#chains.length) this.clear();
    else if (this.#begin >= INITIAL_CHAINS) this.#compact();
    const index = this.#chains.length;
    if (index >= this.#written.length) this.#growChains();
    const count = chain.length - chain.readableCount;
    const at = this.#ends[index]!;
    const end = at + 2 * count;
    if (end > this.#iovecs.length) {
      const iovecs = new Float64Array(Math.max(end, this.#iovecs.length * 2));
      iovecs.set(this.#iovecs);
      this.#iovecs = iovecs;
    }
    for (let i = 0; i < count; i++) {
      this.#iovecs[at + 2 * i] = chain.address(chain.readableCount + i);
      this.#iovecs[at + 2 * i + 1] = chain.size(chain.readableCount + i);
    }
    this.#ends[index + 1] = end;
    this.#frameSizes[index] = 0;
    this.#written[index] = 0;
    this.#chains.push(chain);
    this.#freeBytes += chain.writableBytes;
  }

  /** For the device: number of the oldest chain that it has not seen, to be passed with {@link passTo}. */
  get begin(): number {
    return this.#begin;
  }

  chain(index: number): DescriptorChain {
    return this.#chains[index]!;
  }

  /** Bytes written to chain `index`. */
  written(index: number): number {
    return this.#written[index]!;
  }

  /** Bytes of the frame that begins in chain `index`, without its header; 0 where none begins. */
  frameLength(index: number): number {
    return Math.max(0, this.#frameSizes[index]! - VIRTIO_NET_HDR_SIZE);
  }

  /** For the device: forgets the chains before `index`. */
  passTo(index: number): void {
    this.#begin = index;
  }

  /** For the device: forgets everything. */
  clear(): void {
    this.#chains.length = 0;
    this.#begin = 0;
    this.#free = 0;
    this.#freeBytes = 0;
  }

  /** Copies the frame that begins in chain `index`, without its header, as far as `target` reaches. */
  copyFrame(index: number, target: Uint8Array): number {
    let skip = VIRTIO_NET_HDR_SIZE;
    let left = Math.min(this.frameLength(index), target.length);
    let done = 0;
    for (let chain = index; left > 0; chain++) {
      let pieceLeft = this.#written[chain]!;
      for (let at = this.#ends[chain]!; at < this.#ends[chain + 1]! && left > 0 && pieceLeft > 0; at += 2) {
        const size = Math.min(this.#iovecs[at + 1]!, pieceLeft);
        pieceLeft -= size;
        const skipped = Math.min(skip, size);
        skip -= skipped;
        const length = Math.min(size - skipped, left);
        this.memory.read(this.#iovecs[at]! + skipped, target.subarray(done, done + length));
        done += length;
        left -= length;
      }
    }
    return done;
  }

  #compact(): void {
    const { length } = this.#chains;
    const first = this.#ends[this.#begin]!;
    this.#iovecs.copyWithin(0, first, this.#ends[length]);
    for (let i = this.#begin; i <= length; i++) this.#ends[i - this.#begin] = this.#ends[i]! - first;
    this.#written.copyWithin(0, this.#begin, length);
    this.#frameSizes.copyWithin(0, this.#begin, length);
    this.#chains.splice(0, this.#begin);
    this.#free -= this.#begin;
    this.#begin = 0;
  }

  #growChains(): void {
    const size = this.#written.length * 2;
    const grown = (array: Uint32Array<ArrayBuffer>, length: number): Uint32Array<ArrayBuffer> => {
      const larger = new Uint32Array(length);
      larger.set(array);
      return larger;
    };
    this.#written = grown(this.#written, size);
    this.#frameSizes = grown(this.#frameSizes, size);
    this.#ends = grown(this.#ends, size + 1);
  }
}
