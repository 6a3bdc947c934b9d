import fc from 'fast-check';
import { codeOf } from '../../../test/support.ts';
import * as aml from './aml.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const ascii = (text: string): number[] => Array.from(text, (char) => char.charCodeAt(0));

/** PkgLength read after the grammar of ACPI 6.5 §20.2.4. */
function readPkgLength(encoded: Uint8Array): { total: number; size: number } {
  const lead = encoded[0] ?? 0;
  const following = lead >> 6;
  if (following === 0) return { total: lead & 0x3f, size: 1 };
  let total = lead & 0xf;
  for (let index = 0; index < following; index++) total += (encoded[1 + index] ?? 0) * 2 ** (4 + 8 * index);
  return { total, size: 1 + following };
}

describe('pkgLength (ACPI 6.5 §20.2.4)', () => {
  it.each<[number, number[]]>([
    [0, [0x01]],
    [62, [0x3f]],
    [63, [0x41, 0x04]],
    [64, [0x42, 0x04]],
    [4093, [0x4f, 0xff]],
    [4094, [0x81, 0x00, 0x01]],
    [2 ** 20 - 1 - 3, [0x8f, 0xff, 0xff]],
    [2 ** 20 - 3, [0xc1, 0x00, 0x00, 0x01]],
    [2 ** 28 - 1 - 4, [0xcf, 0xff, 0xff, 0xff]],
  ])('of %i bytes is as short as it can be', (length, encoded) => {
    expect(aml.pkgLength(length)).toEqual(bytes(...encoded));
  });

  it('counts its own bytes and those behind it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 28 - 5 }), (length) => {
        const encoded = aml.pkgLength(length);
        expect(readPkgLength(encoded)).toEqual({ total: length + encoded.length, size: encoded.length });
        // Bits 5:4 of the lead byte are reserved when bytes follow.
        if (encoded.length > 1) expect((encoded[0] ?? 0) & 0x30).toBe(0);
      }),
    );
  });

  it('refuses what 28 bits cannot say', async () => {
    expect(await codeOf(() => aml.pkgLength(2 ** 28 - 4))).toBe('INVALID_ARGUMENT');
  });
});

describe('integer (ACPI 6.5 §20.2.3)', () => {
  it.each<[number | bigint, number[]]>([
    [0, [0x00]],
    [1, [0x01]],
    [2, [0x0a, 0x02]],
    [0xff, [0x0a, 0xff]],
    [0x100, [0x0b, 0x00, 0x01]],
    [0xffff, [0x0b, 0xff, 0xff]],
    [0x1_0000, [0x0c, 0x00, 0x00, 0x01, 0x00]],
    [0xffff_ffff, [0x0c, 0xff, 0xff, 0xff, 0xff]],
    [0x1_0000_0000, [0x0e, 0, 0, 0, 0, 1, 0, 0, 0]],
    [0x0123_4567_89ab_cdefn, [0x0e, 0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01]],
    [2n ** 64n - 1n, [0xff]],
  ])('%s takes its shortest form', (value, encoded) => {
    expect(aml.integer(value)).toEqual(bytes(...encoded));
  });

  it.each<[number | bigint]>([[-1], [1.5], [NaN], [2 ** 53], [2n ** 64n], [-1n]])(
    'refuses %s',
    async (value) => {
      expect(await codeOf(() => aml.integer(value))).toBe('INVALID_ARGUMENT');
    },
  );
});

describe('path (ACPI 6.5 §20.2.2)', () => {
  it.each<[string, number[]]>([
    ['\\', [0x5c, 0x00]],
    ['^', [0x5e, 0x00]],
    ['A', ascii('A___')],
    ['\\_SB', ascii('\\_SB_')],
    ['_CRS', ascii('_CRS')],
    ['^^PCI0', ascii('^^PCI0')],
    ['\\_SB.PCI0', [0x5c, 0x2e, ...ascii('_SB_PCI0')]],
    ['A.B.C', [0x2f, 3, ...ascii('A___B___C___')]],
  ])('%s', (text, encoded) => {
    expect(aml.path(text)).toEqual(bytes(...encoded));
  });

  it.each([
    [''],
    ['ABCDE'],
    ['0ABC'],
    ['abcd'],
    ['A..B'],
    ['.A'],
    ['A.'],
    ['\\^A'],
    ['^\\A'],
    ['A B'],
    ['Ä'],
    [Array.from({ length: 256 }, () => 'A').join('.')],
  ])('refuses %j', async (text) => {
    expect(await codeOf(() => aml.path(text))).toBe('INVALID_ARGUMENT');
  });
});

describe('terms and data objects', () => {
  it('string ends in NUL and takes ASCII only (§20.2.3)', async () => {
    expect(aml.string('LNRO0005')).toEqual(bytes(0x0d, ...ascii('LNRO0005'), 0));
    expect(aml.string('')).toEqual(bytes(0x0d, 0));
    for (const text of ['a\0b', 'é', '\u{1f600}']) {
      expect(await codeOf(() => aml.string(text))).toBe('INVALID_ARGUMENT');
    }
  });

  it('eisaId packs three letters of five bits and four digits, most significant byte first (§19.6.36)', async () => {
    expect(aml.eisaId('PNP0501')).toEqual(bytes(0x0c, 0x41, 0xd0, 0x05, 0x01));
    expect(aml.eisaId('PNP0C0C')).toEqual(bytes(0x0c, 0x41, 0xd0, 0x0c, 0x0c));
    expect(aml.eisaId('ZZZFFFF')).toEqual(bytes(0x0c, 0x6b, 0x5a, 0xff, 0xff));
    for (const id of ['PNP501', 'pnp0501', 'PNP05G1', 'PNP05011', 'LNRO0005']) {
      expect(await codeOf(() => aml.eisaId(id))).toBe('INVALID_ARGUMENT');
    }
  });

  it('scope, device and name (§20.2.5)', () => {
    const named = aml.name('_UID', aml.integer(1));
    expect(named).toEqual(bytes(0x08, ...ascii('_UID'), 0x01));
    expect(aml.device('COM1', named)).toEqual(bytes(0x5b, 0x82, 11, ...ascii('COM1'), ...named));
    expect(aml.scope('\\_SB', named)).toEqual(bytes(0x10, 12, ...ascii('\\_SB_'), ...named));
  });

  it('method says arguments and serialization in its flags (§20.2.5.2)', async () => {
    const body = aml.returns(aml.arg(6));
    expect(aml.method('TEST', { args: 7, serialized: false }, body)).toEqual(
      bytes(0x14, 8, ...ascii('TEST'), 0x07, 0xa4, 0x6e),
    );
    expect(aml.method('TEST', { args: 1, serialized: true })).toEqual(bytes(0x14, 6, ...ascii('TEST'), 0x09));
    for (const args of [-1, 8, 0.5]) {
      expect(await codeOf(() => aml.method('TEST', { args, serialized: false }))).toBe('INVALID_ARGUMENT');
    }
  });

  it('packageOf counts its elements in a byte (§20.2.5.4)', async () => {
    expect(aml.packageOf(aml.integer(5), aml.integer(0))).toEqual(bytes(0x12, 5, 2, 0x0a, 5, 0));
    expect(aml.packageOf()).toEqual(bytes(0x12, 2, 0));
    const elements = Array.from({ length: 256 }, () => aml.integer(0));
    expect(aml.packageOf(...elements.slice(1))[3]).toBe(255);
    expect(await codeOf(() => aml.packageOf(...elements))).toBe('INVALID_ARGUMENT');
  });

  it('buffer has its size as an integer before its bytes (§20.2.5.4)', () => {
    expect(aml.buffer(bytes(7, 8))).toEqual(bytes(0x11, 5, 0x0a, 2, 7, 8));
    expect(aml.buffer(new Uint8Array(300)).subarray(0, 6)).toEqual(bytes(0x11, 0x41, 0x13, 0x0b, 0x2c, 0x01));
  });

  it('statements and operators (§20.2.5.3, §20.2.5.4, §20.2.6)', () => {
    const predicate = aml.equal(aml.arg(0), aml.local(7));
    expect(predicate).toEqual(bytes(0x93, 0x68, 0x67));
    const store = aml.store(aml.integer(1), aml.local(0));
    expect(store).toEqual(bytes(0x70, 0x01, 0x60));
    expect(aml.when(predicate, store)).toEqual(bytes(0xa0, 7, 0x93, 0x68, 0x67, 0x70, 0x01, 0x60));
    expect(aml.otherwise(store)).toEqual(bytes(0xa1, 4, 0x70, 0x01, 0x60));
    expect(aml.notify(aml.path('PWRB'), 0x80)).toEqual(bytes(0x86, ...ascii('PWRB'), 0x0a, 0x80));
  });

  it.each([
    ['argument 7', () => aml.arg(7)],
    ['argument -1', () => aml.arg(-1)],
    ['local 8', () => aml.local(8)],
    ['local 0.5', () => aml.local(0.5)],
  ])('there is no %s', async (_, action) => {
    expect(await codeOf(action)).toBe('INVALID_ARGUMENT');
  });
});
