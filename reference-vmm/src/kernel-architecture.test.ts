import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { architectureOf } from './kernel-architecture.ts';

function bytes(size: number, fields: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const image = new Uint8Array(size);
  for (const [offset, field] of fields) image.set(field, offset);
  return image;
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const elf = (machine: number): Uint8Array =>
  bytes(4096, [
    [0, text('\x7fELF\x02\x01\x01')],
    [18, Uint8Array.of(machine, 0)],
  ]);

describe('architectureOf', () => {
  it.each([
    ['a bzImage', bytes(4096, [[0x202, text('HdrS')]]), 'x86_64'],
    ['an x86-64 ELF file', elf(62), 'x86_64'],
    ['an arm64 Image', bytes(4096, [[56, text('ARM\x64')]]), 'aarch64'],
    ['an arm64 ELF file, which is no bootable kernel', elf(183), undefined],
    ['an arm64 EFI zboot image', zboot(), 'aarch64'],
    ['something compressed with gzip', gzipSync(new Uint8Array(4096)), undefined],
    ['text', text('hello '.repeat(1000)), undefined],
    ['nothing', new Uint8Array(0), undefined],
  ])('of %s', (_, image, arch) => expect(architectureOf(image, image.length)).toBe(arch));

  it('takes any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (head) =>
        [undefined, 'x86_64', 'aarch64'].includes(architectureOf(head, head.length)),
      ),
    );
  });
});

/** `MZ`, `zimg`, payload offset and size, compression type (Linux drivers/firmware/efi/libstub/zboot-header.S). */
function zboot(): Uint8Array {
  return bytes(4096, [
    [0, text('MZ')],
    [4, text('zimg')],
    [8, Uint8Array.of(0, 1, 0, 0, 0, 2, 0, 0)],
    [24, text('gzip')],
  ]);
}
