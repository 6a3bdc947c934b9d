/** Bytes of one page of a {@link SectorBitmap}; it stands for 16 MiB of the disk. */
export const BITMAP_PAGE_BYTES = 4096;
const PAGE_SECTORS = BITMAP_PAGE_BYTES * 8;

/** A page of the bitmap: bit `n % 8` of byte `n / 8` is for sector `index * 32768 + n`. */
export interface BitmapPage {
  readonly index: number;
  readonly bytes: Uint8Array;
}

/** One bit for each sector of a disk; pages without a set bit take no memory. Bits are never cleared. */
export class SectorBitmap {
  readonly #pages = new Map<number, Uint8Array>();
  readonly #dirty = new Set<number>();
  #count = 0;

  /** Sectors whose bit is set. */
  get count(): number {
    return this.#count;
  }

  /** Takes a page over that is stored somewhere. */
  load(page: BitmapPage): void {
    const bytes = page.bytes.slice();
    this.#pages.set(page.index, bytes);
    for (const byte of bytes) this.#count += bitsOf(byte);
  }

  has(sector: number): boolean {
    const page = this.#pages.get(Math.floor(sector / PAGE_SECTORS));
    const bit = sector % PAGE_SECTORS;
    return page !== undefined && ((page[bit >> 3]! >> (bit & 7)) & 1) === 1;
  }

  /** Sets the bits of a range. */
  set(sector: number, count: number): void {
    const end = sector + count;
    for (let at = sector; at < end;) {
      const index = Math.floor(at / PAGE_SECTORS);
      const stop = Math.min(end, (index + 1) * PAGE_SECTORS);
      this.#setInPage(index, at % PAGE_SECTORS, stop - index * PAGE_SECTORS);
      at = stop;
    }
  }

  /** The first sector from `sector` to `end` whose bit is not `value`, or `end`. */
  endOfRun(sector: number, end: number, value: boolean): number {
    let at = sector;
    while (at < end) {
      const index = Math.floor(at / PAGE_SECTORS);
      const page = this.#pages.get(index);
      const stop = Math.min(end, (index + 1) * PAGE_SECTORS);
      if (page === undefined) {
        if (value) return at;
        at = stop;
        continue;
      }
      const whole = value ? 0xff : 0;
      while (at < stop) {
        const bit = at % PAGE_SECTORS;
        if ((bit & 7) === 0 && stop - at >= 8 && page[bit >> 3] === whole) at += 8;
        else if (((page[bit >> 3]! >> (bit & 7)) & 1) === (value ? 1 : 0)) at++;
        else return at;
      }
    }
    return end;
  }

  /** Copies of the pages that have changed since they were taken last. */
  takeDirty(): BitmapPage[] {
    const pages: BitmapPage[] = [];
    for (const index of this.#dirty) {
      const bytes = this.#pages.get(index);
      if (bytes !== undefined) pages.push({ index, bytes: bytes.slice() });
    }
    this.#dirty.clear();
    return pages;
  }

  /** Pages that were taken could not be stored. */
  putBack(pages: readonly BitmapPage[]): void {
    for (const { index } of pages) this.#dirty.add(index);
  }

  #setInPage(index: number, from: number, to: number): void {
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = new Uint8Array(BITMAP_PAGE_BYTES);
      this.#pages.set(index, page);
    }
    let changed = false;
    for (let bit = from; bit < to;) {
      const at = bit >> 3;
      const whole = (bit & 7) === 0 && to - bit >= 8;
      const mask = whole ? 0xff : 1 << (bit & 7);
      const missing = mask & ~page[at]!;
      if (missing !== 0) {
        page[at]! |= mask;
        this.#count += bitsOf(missing);
        changed = true;
      }
      bit += whole ? 8 : 1;
    }
    if (changed) this.#dirty.add(index);
  }
}

function bitsOf(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}
