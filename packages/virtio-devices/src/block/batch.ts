import type { DescriptorChain, Queue } from '@vmm/virtio-queue';

const INITIAL_TRANSFERS = 16;
const INITIAL_SEGMENTS = 64;

/**
 * Transfers between a block backend and guest memory. Transfers and segments are counted from 0; a transfer
 * is a range of the backend and as many segments, contiguous in the host's memory, as make up its length.
 * Reused: nothing of it may be kept.
 */
export class BlockBatch {
  /** The memory of the transfers is no longer the device's: touch it no more. */
  cancelled = false;
  /** Bytes of all transfers. */
  bytes = 0;
  /** Whether a transfer writes to the backend. */
  hasWrites = false;

  #count = 0;
  #writes = new Uint8Array(INITIAL_TRANSFERS);
  #positions = new Float64Array(INITIAL_TRANSFERS);
  #lengths = new Float64Array(INITIAL_TRANSFERS);
  /** Entry `i + 1` is the end of transfer `i`. */
  #segmentEnds = new Uint32Array(INITIAL_TRANSFERS + 1);
  readonly #errors: unknown[] = [];
  readonly #chains: DescriptorChain[] = [];
  #queue: Queue | undefined;
  #queueIndex = 0;

  readonly #segmentBytes: Uint8Array[] = [];
  #segmentOffsets = new Float64Array(INITIAL_SEGMENTS);
  #segmentSizes = new Float64Array(INITIAL_SEGMENTS);
  #segmentAddresses = new Float64Array(INITIAL_SEGMENTS);

  /** Number of transfers. */
  get count(): number {
    return this.#count;
  }

  /** From guest memory to the backend; otherwise the other way. */
  isWrite(transfer: number): boolean {
    return this.#writes[transfer] === 1;
  }

  /** Byte offset in the backend. */
  position(transfer: number): number {
    return this.#positions[transfer]!;
  }

  /** Bytes, a multiple of 512. */
  length(transfer: number): number {
    return this.#lengths[transfer]!;
  }

  /** Index of the transfer's first segment. */
  firstSegment(transfer: number): number {
    return this.#segmentEnds[transfer]!;
  }

  /** Index after the transfer's last segment. */
  endSegment(transfer: number): number {
    return this.#segmentEnds[transfer + 1]!;
  }

  /** The host bytes that hold the segment, and much more. */
  segmentBytes(segment: number): Uint8Array {
    return this.#segmentBytes[segment]!;
  }

  /** Where the segment begins in them. */
  segmentOffset(segment: number): number {
    return this.#segmentOffsets[segment]!;
  }

  /** Bytes, at least 1; any number. */
  segmentSize(segment: number): number {
    return this.#segmentSizes[segment]!;
  }

  /** Guest physical address. */
  segmentAddress(segment: number): number {
    return this.#segmentAddresses[segment]!;
  }

  /** Marks a transfer as failed; the driver gets VIRTIO_BLK_S_IOERR. */
  fail(transfer: number, cause: unknown): void {
    this.#errors[transfer] ??= cause ?? new Error('unknown');
  }

  failAll(cause: unknown): void {
    for (let i = 0; i < this.#count; i++) this.fail(i, cause);
  }

  /** Undefined when the transfer has not failed. */
  error(transfer: number): unknown {
    return this.#errors[transfer];
  }

  /** For the device. */
  get queue(): Queue | undefined {
    return this.#queue;
  }

  /** For the device. */
  get queueIndex(): number {
    return this.#queueIndex;
  }

  /** For the device. */
  chain(transfer: number): DescriptorChain {
    return this.#chains[transfer]!;
  }

  /** For the device: empties the batch and says whose chains come next. */
  begin(queue: Queue, queueIndex: number): void {
    this.#queue = queue;
    this.#queueIndex = queueIndex;
    this.#count = 0;
    this.cancelled = false;
    this.bytes = 0;
    this.hasWrites = false;
    this.#errors.length = 0;
    this.#chains.length = 0;
    this.#segmentBytes.length = 0;
  }

  /**
   * For the device: adds a transfer of a chain's readable part after `skip` bytes, or of its writable part
   * from its start.
   */
  add(chain: DescriptorChain, write: boolean, position: number, skip: number, length: number): void {
    const index = this.#count;
    if (index === this.#writes.length) this.#growTransfers();
    this.#writes[index] = write ? 1 : 0;
    this.#positions[index] = position;
    this.#lengths[index] = length;
    this.#chains[index] = chain;
    const first = this.#segmentEnds[index]!;
    this.#segmentEnds[index + 1] = this.#addSegments(
      chain,
      write ? 0 : chain.readableCount,
      first,
      skip,
      length,
    );
    this.#count = index + 1;
    this.bytes += length;
    if (write) this.hasWrites = true;
  }

  #addSegments(chain: DescriptorChain, piece: number, first: number, skip: number, length: number): number {
    let next = first;
    for (let left = length; left > 0; piece++) {
      const pieceSize = chain.size(piece);
      if (skip >= pieceSize) {
        skip -= pieceSize;
        continue;
      }
      const region = chain.region(piece);
      const offset = chain.offset(piece) + skip;
      const size = Math.min(left, pieceSize - skip);
      skip = 0;
      left -= size;
      const last = next - 1;
      if (
        next > first &&
        this.#segmentBytes[last] === region.bytes &&
        this.#segmentOffsets[last]! + this.#segmentSizes[last]! === offset
      ) {
        this.#segmentSizes[last]! += size;
        continue;
      }
      if (next === this.#segmentSizes.length) this.#growSegments();
      this.#segmentBytes[next] = region.bytes;
      this.#segmentOffsets[next] = offset;
      this.#segmentSizes[next] = size;
      this.#segmentAddresses[next] = region.guestAddress + offset;
      next++;
    }
    return next;
  }

  #growTransfers(): void {
    const size = this.#writes.length * 2;
    const writes = new Uint8Array(size);
    writes.set(this.#writes);
    this.#writes = writes;
    this.#positions = grown(this.#positions, size);
    this.#lengths = grown(this.#lengths, size);
    const ends = new Uint32Array(size + 1);
    ends.set(this.#segmentEnds);
    this.#segmentEnds = ends;
  }

  #growSegments(): void {
    const size = this.#segmentSizes.length * 2;
    this.#segmentOffsets = grown(this.#segmentOffsets, size);
    this.#segmentSizes = grown(this.#segmentSizes, size);
    this.#segmentAddresses = grown(this.#segmentAddresses, size);
  }
}

function grown(array: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(size);
  larger.set(array);
  return larger;
}
