import { HypervisorError } from './errors.ts';
import { checkRange, hex } from './validate.ts';
import type { GuestMemoryRegion } from './vm.ts';

const GUEST_PAGE = 4096;

/**
 * Gives pages back to the host.
 *
 * @param ranges for each range where it begins in `bytes` and its length
 * @param fileBytes how many of `bytes`, from the first on, are a mapping of a file
 */
export type DiscardBytes = (
  bytes: Uint8Array,
  ranges: Float64Array,
  words: number,
  fileBytes: number,
) => void;

/**
 * What `Vm.discardMemory()` does with any backend: checks every range, then calls `discard` once for each run of ranges
 * in one region.
 *
 * @param fileBytes how many bytes of a region are a mapping of a file
 * @throws HypervisorError `INVALID_ARGUMENT`, and what `discard` throws
 */
export function discardRanges(
  regions: readonly GuestMemoryRegion[],
  ranges: Float64Array,
  words: number,
  fileBytes: (region: GuestMemoryRegion) => number,
  discard: DiscardBytes | undefined,
): void {
  if (!Number.isInteger(words) || words < 0 || words > ranges.length || words % 2 !== 0) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${words} numbers of ${ranges.length} are no list of ranges`,
    );
  }
  for (let i = 0; i < words; i += 2) regionOf(regions, ranges[i]!, ranges[i + 1]!);
  if (discard === undefined) return;
  const offsets = new Float64Array(words);
  for (let i = 0; i < words;) {
    const region = regionOf(regions, ranges[i]!, ranges[i + 1]!);
    let count = 0;
    for (; i < words && contains(region, ranges[i]!, ranges[i + 1]!); i += 2) {
      offsets[count++] = ranges[i]! - region.guestAddress;
      offsets[count++] = ranges[i + 1]!;
    }
    discard(region.bytes, offsets, count, fileBytes(region));
  }
}

function regionOf(regions: readonly GuestMemoryRegion[], address: number, length: number): GuestMemoryRegion {
  checkRange('discarded memory', address, length, GUEST_PAGE);
  const region = regions.find((each) => contains(each, address, length));
  if (region === undefined || region.readOnly || length % GUEST_PAGE !== 0) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${length} bytes at ${hex(address)} are not whole pages of one writable region of guest memory`,
    );
  }
  return region;
}

function contains({ guestAddress, bytes }: GuestMemoryRegion, address: number, length: number): boolean {
  return address >= guestAddress && address + length <= guestAddress + bytes.length;
}
