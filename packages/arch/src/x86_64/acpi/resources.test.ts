import { codeOf } from '../../../test/support.ts';
import * as resources from './resources.ts';

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('resource descriptors', () => {
  it('io: 16-bit decode, fixed, alignment 1 (ACPI 6.5 §6.4.2.5)', () => {
    expect(resources.io(0x3f8, 8)).toEqual(bytes(0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 1, 8));
  });

  it('memory32Fixed (§6.4.3.4)', () => {
    expect(resources.memory32Fixed(0xd000_1000, 0x1000, 'read-write')).toEqual(
      bytes(0x86, 9, 0, 1, 0x00, 0x10, 0x00, 0xd0, 0x00, 0x10, 0x00, 0x00),
    );
    expect(resources.memory32Fixed(0, 1, 'read-only')[3]).toBe(0);
  });

  it('interrupt: consumer, trigger, polarity, sharing in bits 0 to 3 (§6.4.3.6)', () => {
    const mode = { trigger: 'edge', polarity: 'high', shared: false } as const;
    expect(resources.interrupt(mode, 5)).toEqual(bytes(0x89, 6, 0, 0x03, 1, 5, 0, 0, 0));
    expect(resources.interrupt({ trigger: 'level', polarity: 'low', shared: true }, 0x102, 3)).toEqual(
      bytes(0x89, 10, 0, 0x0d, 2, 0x02, 0x01, 0, 0, 3, 0, 0, 0),
    );
  });

  it('address spaces: granularity, minimum, maximum, offset, length (§6.4.3.5)', () => {
    expect(resources.wordBusNumber(0, 255)).toEqual(
      bytes(0x88, 13, 0, 2, 0x0c, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0x00, 0x01),
    );
    expect(resources.wordIo(0x1000, 0xefff)).toEqual(
      bytes(0x88, 13, 0, 1, 0x0c, 3, 0, 0, 0x00, 0x10, 0xff, 0xef, 0, 0, 0x00, 0xe0),
    );
    expect(resources.dwordMemory(0xc000_0000, 0xcfff_ffff)).toEqual(
      bytes(
        ...[0x87, 23, 0, 0, 0x0c, 1],
        ...[0, 0, 0, 0],
        ...[0, 0, 0, 0xc0],
        ...[0xff, 0xff, 0xff, 0xcf],
        ...[0, 0, 0, 0],
        ...[0, 0, 0, 0x10],
      ),
    );
    expect(resources.qwordPrefetchableMemory(2 ** 39, 2 ** 40 - 1)).toEqual(
      bytes(
        ...[0x8a, 43, 0, 0, 0x0c, 7],
        ...[0, 0, 0, 0, 0, 0, 0, 0],
        ...[0, 0, 0, 0, 0x80, 0, 0, 0],
        ...[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0],
        ...[0, 0, 0, 0, 0, 0, 0, 0],
        ...[0, 0, 0, 0, 0x80, 0, 0, 0],
      ),
    );
  });

  it('a template is a buffer that ends in an end tag without checksum (§6.4.2.9)', () => {
    expect(resources.resourceTemplate()).toEqual(bytes(0x11, 5, 0x0a, 2, 0x79, 0));
    const io = resources.io(0x70, 2);
    expect(resources.resourceTemplate(io)).toEqual(bytes(0x11, 13, 0x0a, 10, ...io, 0x79, 0));
  });

  it.each<[string, () => unknown]>([
    ['memory at 4 GiB', () => resources.memory32Fixed(2 ** 32, 1, 'read-write')],
    ['memory of a negative size', () => resources.memory32Fixed(0, -1, 'read-write')],
    ['memory at a fraction', () => resources.memory32Fixed(0.5, 1, 'read-write')],
    ['port 65536', () => resources.io(65_536, 1)],
    ['256 ports', () => resources.io(0, 256)],
    ['no interrupt', () => resources.interrupt({ trigger: 'edge', polarity: 'high', shared: false })],
    ['interrupt -1', () => resources.interrupt({ trigger: 'edge', polarity: 'high', shared: false }, -1)],
    ['a range that ends before it starts', () => resources.dwordMemory(2, 1)],
    ['a range whose length does not fit', () => resources.wordIo(0, 0xffff)],
    ['a 32-bit range above 4 GiB', () => resources.dwordMemory(0, 2 ** 32)],
    ['a range beyond exact numbers', () => resources.qwordPrefetchableMemory(0, 2 ** 53)],
  ])('refuse %s', async (_, action) => {
    expect(await codeOf(action)).toBe('INVALID_ARGUMENT');
  });
});
