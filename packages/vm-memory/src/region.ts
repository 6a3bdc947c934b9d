import { formatAddress, type GuestAddress } from './address.ts';
import { VmMemoryError } from './errors.ts';

/** What a {@link GuestMemory} is made of. */
export interface GuestRegionConfig {
  /** Guest physical base: a multiple of 8. */
  readonly guestAddress: GuestAddress;
  /**
   * The host's bytes, on an ArrayBuffer or a SharedArrayBuffer. Their `byteOffset` must be a multiple of 8,
   * so that what is aligned for the guest is aligned for the host's atomic accesses.
   */
  readonly bytes: Uint8Array;
  /** Devices may not write here. Default false. */
  readonly readOnly?: boolean;
}

/** A contiguous range of guest memory and the host's bytes behind it. */
export class GuestRegion {
  readonly guestAddress: GuestAddress;
  /** Bytes. */
  readonly size: number;
  /** First address after the region. */
  readonly end: GuestAddress;
  readonly readOnly: boolean;
  /** Byte `i` is guest address `guestAddress + i`. Writing here bypasses `readOnly` and the dirty bitmap. */
  readonly bytes: Uint8Array;
  /** The same bytes; for unaligned access. */
  readonly view: DataView;
  readonly #buffer: ArrayBufferLike;
  readonly #byteOffset: number;

  /** @throws VmMemoryError `INVALID_REGION` */
  constructor(config: GuestRegionConfig) {
    const { guestAddress, bytes } = config;
    const size = bytes.byteLength;
    const where = `region at ${formatAddress(guestAddress)}`;
    if (!Number.isSafeInteger(guestAddress) || guestAddress < 0 || guestAddress % 8 !== 0) {
      throw new VmMemoryError('INVALID_REGION', `${where}: the base must be a multiple of 8 below 2^53`);
    }
    if (size === 0) throw new VmMemoryError('INVALID_REGION', `${where} is empty (or its buffer detached)`);
    if (!Number.isSafeInteger(guestAddress + size)) {
      throw new VmMemoryError('INVALID_REGION', `${where} ends beyond 2^53 - 1`);
    }
    if (bytes.byteOffset % 8 !== 0) {
      throw new VmMemoryError(
        'INVALID_REGION',
        `${where}: byteOffset ${bytes.byteOffset} of its bytes must be a multiple of 8`,
      );
    }
    this.guestAddress = guestAddress;
    this.size = size;
    this.end = guestAddress + size;
    this.readOnly = config.readOnly ?? false;
    this.bytes = bytes;
    this.#buffer = bytes.buffer;
    this.#byteOffset = bytes.byteOffset;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, size);
  }

  /** A new view of bytes `offset` to `offset + length`, which the caller has checked. */
  slice(offset: number, length: number): Uint8Array {
    // Half the time of TypedArray.prototype.subarray.
    return new Uint8Array(this.#buffer, this.#byteOffset + offset, length);
  }
}
