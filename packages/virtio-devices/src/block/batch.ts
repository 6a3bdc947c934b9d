import type { GuestMemory } from '@vmm/vm-memory';
import type { DescriptorChain, Queue } from '@vmm/virtio-queue';

const INITIAL_TRANSFERS = 16;
const INITIAL_SEGMENTS = 64;
/** Numbers of one transfer in {@link BlockBatch.transfers}. */
const TRANSFER_WORDS = 4;
const POSITION = 1;
const FIRST = 2;
const END = 3;

/** Answers a transfer before its batch is done. */
export type TransferDone = (batch: BlockBatch, transfer: number) => void;

/**
 * Transfers between a block backend and guest memory. Transfers and segments are counted from 0; a transfer
 * is a range of the backend and as many segments, contiguous in the host's memory, as make up its length.
 * Reused: nothing of it may be kept.
 */
export class BlockBatch {
  /** Bytes of all transfers. */
  bytes = 0;
  /** Whether a transfer writes to the backend. */
  hasWrites = false;
  /** Called by {@link complete}; set by whoever submits the batch. */
  onComplete: TransferDone | undefined;
  /** Called by {@link cancel}; set by the backend that the batch was submitted to, for as long as it works. */
  onCancel: (() => void) | undefined;

  #cancelled = false;
  #count = 0;
  #transfers = new Float64Array(INITIAL_TRANSFERS * TRANSFER_WORDS);
  #lengths = new Float64Array(INITIAL_TRANSFERS);
  #completed = new Uint8Array(INITIAL_TRANSFERS);
  readonly #errors: unknown[] = [];
  readonly #chains: DescriptorChain[] = [];
  #memory: GuestMemory | undefined;
  #queue: Queue | undefined;
  #queueIndex = 0;

  #segmentCount = 0;
  readonly #segmentBytes: Uint8Array[] = [];
  #segmentOffsets = new Float64Array(INITIAL_SEGMENTS);
  /** Guest address and length of each segment. */
  #iovecs = new Float64Array(INITIAL_SEGMENTS * 2);

  /** The memory of the transfers is no longer the device's: touch it no more. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Number of transfers. */
  get count(): number {
    return this.#count;
  }

  /** The guest's memory, for native code that has a map of it; undefined in an empty batch. */
  get memory(): GuestMemory | undefined {
    return this.#memory;
  }

  /** Four numbers for each transfer: 1 for a write or 0, position, first segment, segment after the last. */
  get transfers(): Float64Array {
    return this.#transfers;
  }

  /** Two numbers for each segment: guest physical address, bytes. */
  get iovecs(): Float64Array {
    return this.#iovecs;
  }

  /** From guest memory to the backend; otherwise the other way. */
  isWrite(transfer: number): boolean {
    return this.#transfers[transfer * TRANSFER_WORDS] === 1;
  }

  /** Byte offset in the backend. */
  position(transfer: number): number {
    return this.#transfers[transfer * TRANSFER_WORDS + POSITION]!;
  }

  /** Bytes, a multiple of 512. */
  length(transfer: number): number {
    return this.#lengths[transfer]!;
  }

  /** Index of the transfer's first segment. */
  firstSegment(transfer: number): number {
    return this.#transfers[transfer * TRANSFER_WORDS + FIRST]!;
  }

  /** Index after the transfer's last segment. */
  endSegment(transfer: number): number {
    return this.#transfers[transfer * TRANSFER_WORDS + END]!;
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
    return this.#iovecs[segment * 2 + 1]!;
  }

  /** Guest physical address. */
  segmentAddress(segment: number): number {
    return this.#iovecs[segment * 2]!;
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

  /**
   * For backends that answer later: this transfer has come to its end, well or not, and need not wait for
   * the others. Those that are not completed are when the answer of `submit` settles.
   */
  complete(transfer: number): void {
    if (this.#completed[transfer] === 1) return;
    this.#completed[transfer] = 1;
    this.onComplete?.(this, transfer);
  }

  isComplete(transfer: number): boolean {
    return this.#completed[transfer] === 1;
  }

  /** For whoever submitted the batch: the memory is not the device's any more. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.onCancel?.();
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

  /** Empties the batch. For the device: says whose chains come next. */
  begin(queue?: Queue, queueIndex = 0): void {
    this.#queue = queue;
    this.#queueIndex = queueIndex;
    this.#count = 0;
    this.#cancelled = false;
    this.bytes = 0;
    this.hasWrites = false;
    this.onCancel = undefined;
    this.#memory = undefined;
    this.#errors.length = 0;
    this.#chains.length = 0;
    this.#segmentCount = 0;
  }

  /**
   * For the device: adds a transfer of a chain's readable part after `skip` bytes, or of its writable part
   * from its start.
   */
  add(chain: DescriptorChain, write: boolean, position: number, skip: number, length: number): void {
    const index = this.#open(chain.memory, write, position, length);
    this.#chains[index] = chain;
    let piece = write ? 0 : chain.readableCount;
    for (let left = length; left > 0; piece++) {
      const pieceSize = chain.size(piece);
      if (skip >= pieceSize) {
        skip -= pieceSize;
        continue;
      }
      const size = Math.min(left, pieceSize - skip);
      const region = chain.region(piece);
      const offset = chain.offset(piece) + skip;
      this.#append(index, region.bytes, offset, size, region.guestAddress + offset);
      skip = 0;
      left -= size;
    }
  }

  /**
   * For backends over others: adds a transfer of a part of another batch's transfer.
   *
   * @param skip bytes of that transfer before the part
   * @param position byte offset in the backend that this batch is for
   */
  addPart(source: BlockBatch, transfer: number, skip: number, length: number, position: number): void {
    if (source.#memory === undefined) return;
    const index = this.#open(source.#memory, source.isWrite(transfer), position, length);
    let segment = source.firstSegment(transfer);
    for (let left = length; left > 0; segment++) {
      const segmentSize = source.segmentSize(segment);
      if (skip >= segmentSize) {
        skip -= segmentSize;
        continue;
      }
      const size = Math.min(left, segmentSize - skip);
      const bytes = source.segmentBytes(segment);
      const offset = source.segmentOffset(segment) + skip;
      this.#append(index, bytes, offset, size, source.segmentAddress(segment) + skip);
      skip = 0;
      left -= size;
    }
  }

  #open(memory: GuestMemory, write: boolean, position: number, length: number): number {
    const index = this.#count++;
    if (index === this.#lengths.length) this.#growTransfers();
    this.#memory = memory;
    const at = index * TRANSFER_WORDS;
    this.#transfers[at] = write ? 1 : 0;
    this.#transfers[at + POSITION] = position;
    this.#transfers[at + FIRST] = this.#segmentCount;
    this.#transfers[at + END] = this.#segmentCount;
    this.#lengths[index] = length;
    this.#completed[index] = 0;
    this.bytes += length;
    if (write) this.hasWrites = true;
    return index;
  }

  /** Adds a segment to the last transfer, or lengthens its last one. */
  #append(transfer: number, bytes: Uint8Array, offset: number, size: number, address: number): void {
    const next = this.#segmentCount;
    const last = next - 1;
    if (
      next > this.#transfers[transfer * TRANSFER_WORDS + FIRST]! &&
      this.#segmentBytes[last] === bytes &&
      this.#segmentOffsets[last]! + this.#iovecs[last * 2 + 1]! === offset
    ) {
      this.#iovecs[last * 2 + 1]! += size;
      return;
    }
    if (next === this.#segmentOffsets.length) this.#growSegments();
    this.#segmentBytes[next] = bytes;
    this.#segmentOffsets[next] = offset;
    this.#iovecs[next * 2] = address;
    this.#iovecs[next * 2 + 1] = size;
    this.#segmentCount = next + 1;
    this.#transfers[transfer * TRANSFER_WORDS + END] = next + 1;
  }

  #growTransfers(): void {
    const size = this.#lengths.length * 2;
    this.#transfers = grown(this.#transfers, size * TRANSFER_WORDS);
    this.#lengths = grown(this.#lengths, size);
    const completed = new Uint8Array(size);
    completed.set(this.#completed);
    this.#completed = completed;
  }

  #growSegments(): void {
    const size = this.#segmentOffsets.length * 2;
    this.#segmentOffsets = grown(this.#segmentOffsets, size);
    this.#iovecs = grown(this.#iovecs, size * 2);
  }
}

function grown(array: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(size);
  larger.set(array);
  return larger;
}
