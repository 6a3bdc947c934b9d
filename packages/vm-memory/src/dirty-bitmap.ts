import { formatAddress, type GuestAddress } from './address.ts';
import { VmMemoryError } from './errors.ts';
import type { GuestRegion } from './region.ts';

/** Bytes of guest memory behind one bit of a {@link DirtyBitmap}. */
export const DIRTY_PAGE_SIZE = 4096;

/** The dirty pages of one region. */
export interface DirtyPages {
  /** Address of the page of bit 0, a multiple of {@link DIRTY_PAGE_SIZE}. */
  readonly guestAddress: GuestAddress;
  /** Number of pages, which is the number of valid bits. */
  readonly pageCount: number;
  /** Page `n` is bit `n % 32` of word `n / 32`. */
  readonly bits: Uint32Array;
}

class RegionBits implements DirtyPages {
  readonly start: number;
  readonly end: number;
  readonly firstPage: number;
  readonly guestAddress: GuestAddress;
  readonly pageCount: number;
  bits: Uint32Array;

  constructor(region: GuestRegion) {
    this.start = region.guestAddress;
    this.end = region.end;
    this.firstPage = Math.floor(region.guestAddress / DIRTY_PAGE_SIZE);
    this.guestAddress = this.firstPage * DIRTY_PAGE_SIZE;
    this.pageCount = Math.floor((region.end - 1) / DIRTY_PAGE_SIZE) - this.firstPage + 1;
    this.bits = new Uint32Array(Math.ceil(this.pageCount / 32));
  }
}

/**
 * Which pages the VMM's own accesses wrote since the last `take()`. What the vCPUs wrote is the
 * hypervisor's to say; `merge()` takes its log in.
 */
export class DirtyBitmap {
  readonly #regions: readonly RegionBits[];

  /** @param regions sorted by address */
  constructor(regions: readonly GuestRegion[]) {
    this.#regions = regions.map((region) => new RegionBits(region));
  }

  /** Marks every page that holds a byte of the range. Parts outside all regions are passed over. */
  mark(address: GuestAddress, length: number): void {
    const end = address + length;
    if (end === address) return;
    for (const region of this.#regions) {
      if (region.start >= end) break;
      if (region.end <= address) continue;
      const from = Math.floor(Math.max(address, region.start) / DIRTY_PAGE_SIZE) - region.firstPage;
      const last = Math.floor((Math.min(end, region.end) - 1) / DIRTY_PAGE_SIZE) - region.firstPage;
      markBits(region.bits, from, last);
    }
  }

  /**
   * Marks pages that somebody else noted, such as a hypervisor's log of the vCPUs' stores.
   *
   * @param guestAddress the page of bit 0 of `bits`: where a region begins, a multiple of {@link DIRTY_PAGE_SIZE}
   * @param bits page `n` is bit `n % 32` of word `n / 32`; as many words as the region has
   * @throws VmMemoryError `INVALID_ARGUMENT` when no region begins there or it has another number of pages
   */
  merge(guestAddress: GuestAddress, bits: Uint32Array): void {
    const region = this.#regions.find((each) => each.start === guestAddress);
    if (region === undefined || region.bits.length !== bits.length || guestAddress % DIRTY_PAGE_SIZE !== 0) {
      throw new VmMemoryError(
        'INVALID_ARGUMENT',
        `${bits.length} words of dirty pages do not fit a region at ${formatAddress(guestAddress)}`,
      );
    }
    for (const [index, word] of bits.entries()) region.bits[index]! |= word;
    // Bits that are no page of the region are nobody's.
    const rest = region.pageCount % 32;
    if (rest !== 0) region.bits[bits.length - 1]! &= (1 << rest) - 1;
  }

  /** Whether the page that holds `address` is marked; false outside all regions. */
  isDirty(address: GuestAddress): boolean {
    for (const region of this.#regions) {
      if (address < region.start || address >= region.end) continue;
      const page = Math.floor(address / DIRTY_PAGE_SIZE) - region.firstPage;
      return ((region.bits[page >>> 5]! >>> (page & 31)) & 1) === 1;
    }
    return false;
  }

  /** The marks so far, one entry for each region in order of address; clears them. */
  take(): DirtyPages[] {
    return this.#regions.map((region) => {
      const { guestAddress, pageCount, bits } = region;
      region.bits = new Uint32Array(bits.length);
      return { guestAddress, pageCount, bits };
    });
  }
}

/** Sets bits `from` … `last`. A range may be as long as guest memory: whole words at a time. */
function markBits(bits: Uint32Array, from: number, last: number): void {
  const first = from >>> 5;
  const end = last >>> 5;
  const head = -1 << (from & 31);
  const tail = -1 >>> (31 - (last & 31));
  if (first === end) {
    bits[first]! |= head & tail;
    return;
  }
  bits[first]! |= head;
  if (end - first > 1) bits.fill(0xffff_ffff, first + 1, end);
  bits[end]! |= tail;
}
