import * as fc from 'fast-check';
import { addPages, countPages, decodePages, eachPage, encodePages, hasPage, noPages } from './pages.ts';

const SIZES = [70 * 4096, 4096, 64 * 4096];

const numbers = fc.tuple(
  ...SIZES.map((size) => fc.uniqueArray(fc.nat(size / 4096 - 1)).map((each) => each.sort((a, b) => a - b))),
);

function setsOf(pages: readonly (readonly number[])[]): Uint32Array[] {
  const sets = noPages(SIZES);
  for (const [region, each] of pages.entries())
    for (const page of each) sets[region]![page >>> 5]! |= 1 << (page & 31);
  return [...sets];
}

describe('sets of pages', () => {
  it('are gone through by address, counted, added up and encoded', () => {
    fc.assert(
      fc.property(numbers, numbers, (some, others) => {
        const sets = setsOf(some);
        const listed = some.flatMap((pages, region) =>
          pages.map((page) => ({ region, offset: page * 4096 })),
        );
        expect([...eachPage(sets)]).toEqual(listed);
        expect(countPages(sets)).toBe(listed.length);
        expect(decodePages(encodePages(sets), SIZES)).toEqual(sets);
        const both = setsOf(some);
        addPages(both, setsOf(others));
        for (const [region, size] of SIZES.entries())
          for (let page = 0; page < size / 4096; page++)
            expect(hasPage(both, { region, offset: page * 4096 })).toBe(
              some[region]!.includes(page) || others[region]!.includes(page),
            );
      }),
      { numRuns: 50 },
    );
  });

  it('that are not of these regions are refused', () => {
    const encoded = encodePages(noPages(SIZES));
    expect(() => decodePages(encoded.slice(1), SIZES)).toThrow(RangeError);
    expect(() => decodePages([...encoded.slice(1), new Uint8Array(12)], SIZES)).toThrow(RangeError);
    expect(() => decodePages([encoded[0], 'AAAA', encoded[2]], SIZES)).toThrow(RangeError);
    const beyond = encodePages(noPages(SIZES));
    beyond[0]![70 >>> 3]! |= 1 << (70 & 7);
    expect(() => decodePages(beyond, SIZES)).toThrow('no such pages');
  });
});
