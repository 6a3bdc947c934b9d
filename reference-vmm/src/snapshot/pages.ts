/** Bytes of a page of guest memory, as far as it is told what changed. */
export const PAGE_BYTES = 4096;

/** Pages of guest memory: for each of its regions a set, of which page `n` is bit `n % 32` of word `n / 32`. */
export type PageSets = readonly Uint32Array[];

/** A page of one of the regions. */
export interface Page {
  /** Which region. */
  readonly region: number;
  /** Bytes from its beginning. */
  readonly offset: number;
}

/** Words of the set of a region with so many bytes. */
export function wordsFor(size: number): number {
  return Math.ceil(size / PAGE_BYTES / 32);
}

export function noPages(sizes: readonly number[]): PageSets {
  return sizes.map((size) => new Uint32Array(wordsFor(size)));
}

/** Adds pages to a set. */
export function addPages(to: PageSets, pages: PageSets): void {
  for (const [index, words] of to.entries()) {
    const more = pages[index]!;
    for (let at = 0; at < words.length; at++) words[at]! |= more[at]!;
  }
}

export function countPages(pages: PageSets): number {
  let count = 0;
  for (const words of pages) for (const word of words) count += bitsOf(word);
  return count;
}

/** The pages of a set by address. */
export function* eachPage(pages: PageSets): Generator<Page> {
  for (const [region, words] of pages.entries()) {
    for (const [index, word] of words.entries()) {
      for (let rest = word; rest !== 0; rest &= rest - 1) {
        const bit = 31 - Math.clz32(rest & -rest);
        yield { region, offset: (index * 32 + bit) * PAGE_BYTES };
      }
    }
  }
}

export function hasPage(pages: PageSets, { region, offset }: Page): boolean {
  const page = offset / PAGE_BYTES;
  return ((pages[region]![page >>> 5]! >>> (page & 31)) & 1) === 1;
}

/** Little-endian bytes of each region's words. */
export function encodePages(pages: PageSets): Uint8Array[] {
  return pages.map((words) => {
    const bytes = new Uint8Array(words.length * 4);
    const view = new DataView(bytes.buffer);
    for (const [index, word] of words.entries()) view.setUint32(index * 4, word, true);
    return bytes;
  });
}

/**
 * Undoes {@link encodePages}.
 *
 * @param encoded of unknown origin
 * @param sizes bytes of each region
 * @throws RangeError when they are no pages of these regions
 */
export function decodePages(encoded: readonly unknown[], sizes: readonly number[]): PageSets {
  if (encoded.length !== sizes.length)
    throw new RangeError(`${encoded.length} sets of pages for ${sizes.length} regions`);
  return encoded.map((bytes, region) => {
    const size = sizes[region]!;
    const length = wordsFor(size);
    if (!(bytes instanceof Uint8Array) || bytes.length !== length * 4)
      throw new RangeError(`the set of pages of region ${region} is not as long as that`);
    const words = new Uint32Array(length);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let index = 0; index < length; index++) words[index] = view.getUint32(index * 4, true);
    const rest = (size / PAGE_BYTES) % 32;
    if (rest !== 0 && words.at(-1)! >>> rest !== 0)
      throw new RangeError(`region ${region} has no such pages`);
    return words;
  });
}

function bitsOf(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
