import type { ChainReader } from '@vmm/virtio-queue';
import type { GuestMemory } from '@vmm/vm-memory';
import { VIRTIO_BALLOON_PAGE_SIZE } from './constants.ts';

const PAGE = VIRTIO_BALLOON_PAGE_SIZE;

/**
 * Gives guest memory back to the host: `Vm.discardMemory()` of a hypervisor.
 *
 * @param ranges for each range its guest address and its length in bytes, multiples of 4096, each inside one region of
 *   writable guest memory
 * @param words how many numbers of `ranges` count
 */
export type MemoryRelease = (ranges: Float64Array, words: number) => void;

/** Page numbers in one batch. */
const PAGES = 4096;

/** Collects pages and ranges of the guest's, so that one call gives many of them back. */
export class ReleaseBatch {
  readonly #release: MemoryRelease | undefined;
  readonly #pages = new Uint32Array(PAGES);
  readonly #bytes = new Uint8Array(this.#pages.buffer);
  readonly #ranges = new Float64Array(2 * PAGES);
  #pageCount = 0;
  #words = 0;
  /** Bytes that were given back. */
  released = 0;
  /** Pages that are no writable guest memory, or named twice in a batch. */
  refused = 0;
  /** Calls of the release function. */
  calls = 0;

  constructor(release: MemoryRelease | undefined) {
    this.#release = release;
  }

  /** No more fits before {@link flush}. */
  get full(): boolean {
    return this.#pageCount === PAGES || this.#words === this.#ranges.length;
  }

  /**
   * Takes page numbers (le32) from a chain, as many as fit and at most `limit`.
   *
   * @returns how many
   */
  readPages(reader: ChainReader, limit: number): number {
    const count = Math.min(Math.floor(reader.remaining / 4), PAGES - this.#pageCount, limit);
    const start = this.#pageCount * 4;
    reader.read(this.#bytes.subarray(start, start + count * 4));
    this.#pageCount += count;
    return count;
  }

  /** Takes the whole pages of a range that is writable guest memory inside one region. */
  addRange(address: number, length: number): void {
    const start = Math.ceil(address / PAGE) * PAGE;
    const end = Math.floor((address + length) / PAGE) * PAGE;
    if (start >= end) return;
    this.#ranges[this.#words++] = start;
    this.#ranges[this.#words++] = end - start;
  }

  /**
   * Gives back what was collected.
   *
   * @throws whatever the release function throws; the batch is empty then
   */
  flush(memory: GuestMemory): void {
    this.#sortPages(memory);
    const words = this.#words;
    this.#words = 0;
    if (words === 0) return;
    let bytes = 0;
    for (let i = 0; i < words; i += 2) {
      // Zero or what it was: either way not what a copy of the memory has.
      memory.markDirty(this.#ranges[i]!, this.#ranges[i + 1]!);
      bytes += this.#ranges[i + 1]!;
    }
    if (this.#release === undefined) return;
    this.calls++;
    this.#release(this.#ranges, words);
    this.released += bytes;
  }

  /** Makes ranges of the pages: neighbours are one, and what is no writable guest memory is left out. */
  #sortPages(memory: GuestMemory): void {
    const pages = this.#pages.subarray(0, this.#pageCount);
    this.#pageCount = 0;
    pages.sort();
    let end = -1;
    for (const page of pages) {
      const address = page * PAGE;
      // The same page twice is behind the end of its range.
      const region = address < end ? undefined : memory.findRegion(address);
      if (region === undefined || region.readOnly || address + PAGE > region.end) {
        this.refused++;
        continue;
      }
      if (address === end && address !== region.guestAddress) {
        this.#ranges[this.#words - 1]! += PAGE;
      } else {
        this.#ranges[this.#words++] = address;
        this.#ranges[this.#words++] = PAGE;
      }
      end = address + PAGE;
    }
  }
}
