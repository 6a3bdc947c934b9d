import { formatAddress, type GuestAddress } from './address.ts';
import { DirtyBitmap, type DirtyPages } from './dirty-bitmap.ts';
import { VmMemoryError } from './errors.ts';
import { GuestRegion, type GuestRegionConfig } from './region.ts';

const TWO_32 = 2 ** 32;
const HOST_IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Numbers that one iovec takes in the array that {@link GuestMemory.iovecs} fills. */
export const IOVEC_WORDS = 2;

/**
 * A guest's physical memory. Multi-byte values are little-endian.
 *
 * A range is valid when every byte of it lies in some region; regions that touch count as one for
 * everything but views, which are of one host buffer. An empty range is valid at any address. Addresses and
 * lengths are checked on every access: fractions, negative numbers, NaN and sums beyond 2^53 - 1 are
 * refused, nothing wraps.
 */
export class GuestMemory {
  /** In order of address. */
  readonly regions: readonly GuestRegion[];
  /** Total of all regions, in bytes. */
  readonly size: number;
  #recent: GuestRegion | undefined;
  #dirty: DirtyBitmap | undefined;
  readonly #scratch = new Uint8Array(8);
  readonly #scratchView: DataView = new DataView(this.#scratch.buffer);

  /**
   * @param regions in any order
   * @throws VmMemoryError `INVALID_REGION`, `OVERLAP`, `UNSUPPORTED_HOST`
   */
  constructor(regions: readonly GuestRegionConfig[]) {
    if (!HOST_IS_LITTLE_ENDIAN) {
      throw new VmMemoryError('UNSUPPORTED_HOST', 'guest memory needs a little-endian host');
    }
    this.regions = regions
      .map((region) => new GuestRegion(region))
      .sort((a, b) => a.guestAddress - b.guestAddress);
    this.regions.forEach((region, index) => {
      const next = this.regions[index + 1];
      if (next !== undefined && region.end > next.guestAddress) {
        throw new VmMemoryError(
          'OVERLAP',
          `regions at ${formatAddress(region.guestAddress)} and ${formatAddress(next.guestAddress)} overlap`,
        );
      }
    });
    this.size = this.regions.reduce((sum, region) => sum + region.size, 0);
    this.#recent = this.regions[0];
  }

  /** The region that holds the byte at `address`. */
  findRegion(address: GuestAddress): GuestRegion | undefined {
    const recent = this.#recent;
    if (recent !== undefined && address >= recent.guestAddress && address < recent.end) return recent;
    for (const region of this.regions) {
      if (address >= region.guestAddress && address < region.end) {
        this.#recent = region;
        return region;
      }
    }
    return undefined;
  }

  /** Whether the range is valid. Never throws: what is no address or length is not contained. */
  contains(address: GuestAddress, length: number): boolean {
    if (!isRange(address, length)) return false;
    const end = address + length;
    for (let at = address; at < end;) {
      const region = this.findRegion(at);
      if (region === undefined) return false;
      at = region.end;
    }
    return true;
  }

  /**
   * A view of the range, valid as long as the memory is. Writing through it marks nothing dirty
   * ({@link markDirty}) and does not respect `readOnly`.
   *
   * @throws VmMemoryError `OUT_OF_RANGE` when the range is not inside one region, `INVALID_ARGUMENT`
   */
  slice(address: GuestAddress, length: number): Uint8Array {
    const region = this.#inside(address, length);
    if (region === undefined) {
      requireRange(address, length);
      if (length === 0) return new Uint8Array(0);
      throw outOfRange(address, length);
    }
    return region.slice(address - region.guestAddress, length);
  }

  /**
   * A view of `length` 16-bit words.
   *
   * @throws VmMemoryError as {@link slice}, and `MISALIGNED` when `address` is odd
   */
  uint16View(address: GuestAddress, length: number): Uint16Array {
    requireRange(address, length);
    const bytes = this.slice(address, length * 2);
    requireAligned(address, 2);
    return new Uint16Array(bytes.buffer, bytes.byteOffset, length);
  }

  /**
   * A view of `length` 32-bit words.
   *
   * @throws VmMemoryError as {@link slice}, and `MISALIGNED` when `address` is no multiple of 4
   */
  uint32View(address: GuestAddress, length: number): Uint32Array {
    requireRange(address, length);
    const bytes = this.slice(address, length * 4);
    requireAligned(address, 4);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, length);
  }

  /** @throws VmMemoryError `OUT_OF_RANGE`, `INVALID_ARGUMENT`; so do all reads below */
  readUint8(address: GuestAddress): number {
    const region = this.#inside(address, 1);
    if (region === undefined) return this.#gather(address, 1).getUint8(0);
    return region.view.getUint8(address - region.guestAddress);
  }

  readUint16(address: GuestAddress): number {
    const region = this.#inside(address, 2);
    if (region === undefined) return this.#gather(address, 2).getUint16(0, true);
    return region.view.getUint16(address - region.guestAddress, true);
  }

  readUint32(address: GuestAddress): number {
    const region = this.#inside(address, 4);
    if (region === undefined) return this.#gather(address, 4).getUint32(0, true);
    return region.view.getUint32(address - region.guestAddress, true);
  }

  /** @throws VmMemoryError also `VALUE_TOO_LARGE` for a value beyond 2^53 - 1 */
  readUint64(address: GuestAddress): number {
    const region = this.#inside(address, 8);
    const view = region === undefined ? this.#gather(address, 8) : region.view;
    const offset = region === undefined ? 0 : address - region.guestAddress;
    const value = view.getUint32(offset, true) + view.getUint32(offset + 4, true) * TWO_32;
    if (value > Number.MAX_SAFE_INTEGER) {
      throw new VmMemoryError(
        'VALUE_TOO_LARGE',
        `the 64-bit value at ${formatAddress(address)} is beyond 2^53 - 1: use readBigUint64()`,
      );
    }
    return value;
  }

  readBigUint64(address: GuestAddress): bigint {
    const region = this.#inside(address, 8);
    if (region === undefined) return this.#gather(address, 8).getBigUint64(0, true);
    return region.view.getBigUint64(address - region.guestAddress, true);
  }

  /** @throws VmMemoryError `OUT_OF_RANGE`, `INVALID_ARGUMENT`, `READ_ONLY`; so do all writes below */
  writeUint8(address: GuestAddress, value: number): void {
    const region = this.#insideForWrite(address, 1);
    if (region !== undefined) {
      region.view.setUint8(address - region.guestAddress, value);
    } else {
      this.#scratchView.setUint8(0, value);
      this.#scatter(address, 1);
    }
  }

  /** Stores `value` modulo 2^16. */
  writeUint16(address: GuestAddress, value: number): void {
    const region = this.#insideForWrite(address, 2);
    if (region !== undefined) {
      region.view.setUint16(address - region.guestAddress, value, true);
    } else {
      this.#scratchView.setUint16(0, value, true);
      this.#scatter(address, 2);
    }
  }

  /** Stores `value` modulo 2^32. */
  writeUint32(address: GuestAddress, value: number): void {
    const region = this.#insideForWrite(address, 4);
    if (region !== undefined) {
      region.view.setUint32(address - region.guestAddress, value, true);
    } else {
      this.#scratchView.setUint32(0, value, true);
      this.#scatter(address, 4);
    }
  }

  /** @param value an integer from 0 to 2^53 - 1 */
  writeUint64(address: GuestAddress, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new VmMemoryError('INVALID_ARGUMENT', `${value} is no integer from 0 to 2^53 - 1`);
    }
    const region = this.#insideForWrite(address, 8);
    const view = region === undefined ? this.#scratchView : region.view;
    const offset = region === undefined ? 0 : address - region.guestAddress;
    view.setUint32(offset, value, true);
    view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
    if (region === undefined) this.#scatter(address, 8);
  }

  /** Stores `value` modulo 2^64. */
  writeBigUint64(address: GuestAddress, value: bigint): void {
    const region = this.#insideForWrite(address, 8);
    if (region !== undefined) {
      region.view.setBigUint64(address - region.guestAddress, value, true);
    } else {
      this.#scratchView.setBigUint64(0, value, true);
      this.#scatter(address, 8);
    }
  }

  /**
   * Loads a 16-bit word atomically; no later access of this thread is made before it (acquire).
   *
   * @throws VmMemoryError also `MISALIGNED` when `address` is odd
   */
  atomicLoadUint16(address: GuestAddress): number {
    return Atomics.load(this.uint16View(address, 1), 0);
  }

  /**
   * Stores a 16-bit word atomically; no earlier access of this thread is made after it (release).
   *
   * @throws VmMemoryError also `MISALIGNED` when `address` is odd
   */
  atomicStoreUint16(address: GuestAddress, value: number): void {
    requireAligned(address, 2);
    this.#insideForWrite(address, 2);
    Atomics.store(this.uint16View(address, 1), 0, value);
  }

  /** Fills `target` from guest memory. */
  read(address: GuestAddress, target: Uint8Array): void {
    const { length } = target;
    const region = this.#inside(address, length);
    if (region !== undefined) {
      target.set(region.slice(address - region.guestAddress, length));
      return;
    }
    this.#require(address, length);
    this.#eachPart(address, length, (part, offset, size, done) => {
      target.set(part.slice(offset, size), done);
    });
  }

  /** Copies all of `source` to guest memory, or nothing when it throws. */
  write(address: GuestAddress, source: Uint8Array): void {
    const { length } = source;
    const region = this.#insideForWrite(address, length);
    if (region !== undefined) {
      region.bytes.set(source, address - region.guestAddress);
      return;
    }
    this.#requireWritable(address, length);
    this.#eachPart(address, length, (part, offset, size, done) => {
      part.bytes.set(source.subarray(done, done + size), offset);
    });
    this.#dirty?.mark(address, length);
  }

  /** Stores `value` modulo 256 into every byte of the range, or nothing when it throws. */
  fill(address: GuestAddress, length: number, value: number): void {
    this.#requireWritable(address, length);
    this.#eachPart(address, length, (part, offset, size) => {
      part.bytes.fill(value, offset, offset + size);
    });
    this.#dirty?.mark(address, length);
  }

  /**
   * Describes the range for native batch I/O: for each part that lies in one region, two doubles are put
   * into `out`, the part's guest address and its length in bytes. Native code checks them against its own
   * map of the memory.
   *
   * @param at index in `out` to start at
   * @returns the index after the last number stored
   * @throws VmMemoryError `OUT_OF_RANGE`, `INVALID_ARGUMENT`, `IOVECS_FULL`
   */
  iovecs(address: GuestAddress, length: number, out: Float64Array, at = 0): number {
    this.#require(address, length);
    const end = address + length;
    for (let start = address; start < end;) {
      const stop = Math.min(end, this.findRegion(start)!.end);
      if (at + IOVEC_WORDS > out.length) {
        throw new VmMemoryError('IOVECS_FULL', `no room for an iovec at index ${at} of ${out.length}`);
      }
      out[at] = start;
      out[at + 1] = stop - start;
      at += IOVEC_WORDS;
      start = stop;
    }
    return at;
  }

  /** The dirty bitmap while dirty tracking is on. */
  get dirty(): DirtyBitmap | undefined {
    return this.#dirty;
  }

  /** From now on writes are noted; nothing is marked yet. Harmless when it is on already. */
  enableDirtyTracking(): DirtyBitmap {
    this.#dirty ??= new DirtyBitmap(this.regions);
    return this.#dirty;
  }

  disableDirtyTracking(): void {
    this.#dirty = undefined;
  }

  /** For whoever writes through a view or lets the host's kernel write. Does nothing when tracking is off. */
  markDirty(address: GuestAddress, length: number): void {
    this.#dirty?.mark(address, length);
  }

  /**
   * The pages written since tracking began or since the last call.
   *
   * @throws VmMemoryError `DIRTY_TRACKING_OFF`
   */
  takeDirty(): DirtyPages[] {
    if (this.#dirty === undefined) {
      throw new VmMemoryError('DIRTY_TRACKING_OFF', 'call enableDirtyTracking() first');
    }
    return this.#dirty.take();
  }

  /** The one region that holds the whole range, if there is one. */
  #inside(address: number, length: number): GuestRegion | undefined {
    const region = this.findRegion(address);
    if (region === undefined || address + length > region.end) return undefined;
    return Number.isInteger(address) && Number.isInteger(length) && length >= 0 ? region : undefined;
  }

  #insideForWrite(address: number, length: number): GuestRegion | undefined {
    const region = this.#inside(address, length);
    if (region === undefined) return undefined;
    if (region.readOnly && length > 0) throw readOnly(address);
    if (this.#dirty !== undefined) this.#dirty.mark(address, length);
    return region;
  }

  #require(address: number, length: number): void {
    requireRange(address, length);
    if (!this.contains(address, length)) throw outOfRange(address, length);
  }

  #requireWritable(address: number, length: number): void {
    this.#require(address, length);
    const end = address + length;
    for (let at = address; at < end;) {
      const region = this.findRegion(at)!;
      if (region.readOnly) throw readOnly(at);
      at = region.end;
    }
  }

  #eachPart(
    address: number,
    length: number,
    visit: (region: GuestRegion, offset: number, size: number, done: number) => void,
  ): void {
    for (let done = 0; done < length;) {
      const region = this.findRegion(address + done)!;
      const offset = address + done - region.guestAddress;
      const size = Math.min(length - done, region.size - offset);
      visit(region, offset, size, done);
      done += size;
    }
  }

  #gather(address: number, length: number): DataView {
    this.read(address, this.#scratch.subarray(0, length));
    return this.#scratchView;
  }

  #scatter(address: number, length: number): void {
    this.write(address, this.#scratch.subarray(0, length));
  }
}

function isRange(address: number, length: number): boolean {
  return (
    Number.isSafeInteger(address) &&
    address >= 0 &&
    Number.isSafeInteger(length) &&
    length >= 0 &&
    address + length <= Number.MAX_SAFE_INTEGER
  );
}

function requireRange(address: number, length: number): void {
  if (!isRange(address, length)) {
    throw new VmMemoryError(
      'INVALID_ARGUMENT',
      `address ${formatAddress(address)} and length ${length} must be integers from 0 with a sum below 2^53`,
    );
  }
}

function requireAligned(address: number, alignment: number): void {
  if (address % alignment !== 0) {
    throw new VmMemoryError('MISALIGNED', `${formatAddress(address)} is no multiple of ${alignment}`);
  }
}

function outOfRange(address: number, length: number): VmMemoryError {
  return new VmMemoryError(
    'OUT_OF_RANGE',
    `${length} bytes at ${formatAddress(address)} are not guest memory`,
  );
}

function readOnly(address: number): VmMemoryError {
  return new VmMemoryError('READ_ONLY', `${formatAddress(address)} lies in a read-only region`);
}
