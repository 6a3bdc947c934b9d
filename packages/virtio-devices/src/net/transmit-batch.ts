import type { DescriptorChain } from '@vmm/virtio-queue';
import type { GuestMemory } from '@vmm/vm-memory';
import { VIRTIO_NET_HDR_SIZE } from './constants.ts';
import { completeFrame } from './header.ts';

const INITIAL_FRAMES = 64;

/**
 * Frames of a driver on their way to a backend, oldest first. Each is a chain: the 12 bytes of a
 * `virtio_net_hdr` and the Ethernet frame, checked to be 26 to 65572 bytes. What they hold is the driver's,
 * which can change it at any moment.
 */
export class TransmitBatch {
  /** The guest's memory. */
  readonly memory: GuestMemory;
  /** Frames that the backend passed with {@link drop}. */
  dropped = 0;
  /** Bytes of all frames, without their headers. */
  bytes = 0;
  readonly #chains: DescriptorChain[] = [];
  #begin = 0;
  /** Two doubles for each piece: guest address and length, as `ChainCursor.iovecs` makes them. */
  #iovecs = new Float64Array(4 * INITIAL_FRAMES);
  /** Entry `i + 1`: index after the last double of frame `i`. */
  #ends = new Uint32Array(INITIAL_FRAMES + 1);

  constructor(memory: GuestMemory) {
    this.memory = memory;
  }

  /** Frames that the backend has not taken. */
  get remaining(): number {
    return this.#chains.length - this.#begin;
  }

  /** For native backends: pieces of all frames, headers included, as pairs of guest address and length. */
  get iovecs(): Float64Array {
    return this.#iovecs;
  }

  /** For native backends: entry `i + 1` is the index in {@link iovecs} after frame `i`. */
  get ends(): Uint32Array {
    return this.#ends;
  }

  /** For native backends: number of the first remaining frame in {@link ends}. */
  get begin(): number {
    return this.#begin;
  }

  /** For native backends: number after the last frame in {@link ends}. */
  get end(): number {
    return this.#chains.length;
  }

  /**
   * The first remaining frame, copied, with its checksum completed.
   *
   * @returns the frame at the end of a buffer of its own, with 12 bytes before it that mean nothing; undefined
   *   when its header makes no sense
   */
  copyFrame(): Uint8Array<ArrayBuffer> | undefined {
    const { reader, readableBytes } = this.#chains[this.#begin]!;
    const bytes = new Uint8Array(readableBytes);
    reader.rewind();
    reader.read(bytes);
    return completeFrame(bytes) ? bytes.subarray(VIRTIO_NET_HDR_SIZE) : undefined;
  }

  /**
   * Copies the start of frame `index`, from 0 to {@link end}, as it is.
   *
   * @returns the number of bytes copied
   */
  peek(index: number, target: Uint8Array): number {
    const { reader } = this.#chains[index]!;
    reader.seek(VIRTIO_NET_HDR_SIZE);
    return reader.readSome(target);
  }

  /** Bytes of frame `index`, without its header. */
  length(index: number): number {
    return this.#chains[index]!.readableBytes - VIRTIO_NET_HDR_SIZE;
  }

  /** The first `count` remaining frames are sent. */
  advance(count = 1): void {
    this.#begin += count;
  }

  /** The first remaining frame cannot be sent at all. */
  drop(): void {
    this.dropped++;
    this.#begin++;
  }

  /** For the device: adds the readable part of a chain. */
  add(chain: DescriptorChain): void {
    const index = this.#chains.length;
    if (index + 1 >= this.#ends.length) {
      const ends = new Uint32Array(this.#ends.length * 2);
      ends.set(this.#ends);
      this.#ends = ends;
    }
    const at = this.#ends[index]!;
    const needed = at + 2 * chain.readableCount;
    if (needed > this.#iovecs.length) {
      const iovecs = new Float64Array(Math.max(needed, this.#iovecs.length * 2));
      iovecs.set(this.#iovecs);
      this.#iovecs = iovecs;
    }
    for (let i = 0; i < chain.readableCount; i++) {
      this.#iovecs[at + 2 * i] = chain.address(i);
      this.#iovecs[at + 2 * i + 1] = chain.size(i);
    }
    this.#ends[index + 1] = needed;
    this.#chains.push(chain);
    this.bytes += chain.readableBytes - VIRTIO_NET_HDR_SIZE;
  }

  /** For the device: chain `index`, from 0 to {@link end}. */
  chain(index: number): DescriptorChain {
    return this.#chains[index]!;
  }

  /** For the device: forgets all chains. */
  clear(): void {
    this.#chains.length = 0;
    this.#begin = 0;
    this.bytes = 0;
  }
}
