import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { MIB, codeOf, guestMemory, image, zboot } from '../../test/support.ts';
import { identifyKernel, loadKernel } from './index.ts';

function bytes(length: number, ...parts: [number, string | readonly number[]][]): Uint8Array {
  const result = new Uint8Array(length);
  for (const [at, part] of parts)
    result.set(typeof part === 'string' ? new TextEncoder().encode(part) : part, at);
  return result;
}

const elf = (machine: number, bits = 2, endian = 1): Uint8Array =>
  bytes(
    64,
    [0, '\x7fELF'],
    [4, [bits, endian, 1]],
    [18, endian === 1 ? [machine & 255, machine >> 8] : [machine >> 8, machine & 255]],
  );
const pe = (machine: number): Uint8Array =>
  bytes(512, [0, 'MZ'], [60, [0x80]], [0x80, 'PE'], [0x84, [machine & 255, machine >> 8]]);

describe('identifyKernel', () => {
  it.each([
    [0, undefined],
    [1, 4096],
    [2, 16384],
    [3, 65536],
  ])('reads flags of page size %d (booting.rst §4)', (field, pageSize) => {
    for (const [flag, bigEndian, anywhere] of [
      [0, false, false],
      [1, true, false],
      [8, false, true],
    ] as const) {
      const kernel = image({ flags: (field << 1) | flag, textOffset: 4096n, imageSize: 77n });
      expect(identifyKernel(kernel, kernel.length)).toEqual({
        kind: 'image',
        header: { textOffset: 4096, imageSize: 77, pageSize, bigEndian, anywhere },
      });
    }
  });

  it('takes an Image that is an EFI program too', () => {
    const kernel = image();
    kernel.set([0x4d, 0x5a]);
    expect(identifyKernel(kernel, kernel.length).kind).toBe('image');
  });

  it('finds the payload of an EFI zboot image', () => {
    const kernel = zboot(new Uint8Array(99));
    expect(identifyKernel(kernel, kernel.length)).toEqual({
      kind: 'gzip',
      offset: 0x200,
      size: 99,
      zboot: true,
    });
  });

  it.each<[string, Uint8Array, string]>([
    ['an x86 bzImage', bytes(1024, [0x1fe, [0x55, 0xaa]], [0x202, 'HdrS']), 'WRONG_ARCHITECTURE'],
    [
      'an x86 bzImage with EFI stub',
      bytes(
        1024,
        [0, 'MZ'],
        [60, [0x82]],
        [0x82, 'PE'],
        [0x86, [0x64, 0x86]],
        [0x1fe, [0x55, 0xaa]],
        [0x202, 'HdrS'],
      ),
      'WRONG_ARCHITECTURE',
    ],
    ['an x86-64 vmlinux', elf(62), 'WRONG_ARCHITECTURE'],
    ['a RISC-V vmlinux', elf(243), 'WRONG_ARCHITECTURE'],
    ['a big-endian s390 vmlinux', elf(22, 2, 2), 'WRONG_ARCHITECTURE'],
    ['an ELF file of an unknown machine', elf(9999), 'WRONG_ARCHITECTURE'],
    ['a RISC-V Image', bytes(512, [48, 'RISCV'], [56, 'RSC\x05']), 'WRONG_ARCHITECTURE'],
    ['a 32-bit Arm zImage', bytes(512, [36, [0x18, 0x28, 0x6f, 0x01]]), 'WRONG_ARCHITECTURE'],
    ['an EFI program for x86-64', pe(0x8664), 'WRONG_ARCHITECTURE'],
    ['an EFI program for LoongArch', pe(0x6264), 'WRONG_ARCHITECTURE'],
    ['an EFI zboot image for RISC-V', zboot(new Uint8Array(9), 'gzip', 0x5064), 'WRONG_ARCHITECTURE'],
    ['an EFI program for arm64 that is no kernel', pe(0xaa64), 'NOT_A_KERNEL'],
    ['an arm64 vmlinux', elf(183), 'UNSUPPORTED_KERNEL'],
    ['an EFI zboot image with zstd', zboot(new Uint8Array(9), 'zstd'), 'UNSUPPORTED_COMPRESSION'],
    [
      'an EFI zboot image with a name that does not end',
      zboot(new Uint8Array(9), 'x'.repeat(32)),
      'UNSUPPORTED_COMPRESSION',
    ],
    ['an EFI zboot image that is cut', zboot(new Uint8Array(99)).subarray(0, 0x210), 'TRUNCATED'],
    ['an EFI zboot image of less than its header', zboot(new Uint8Array(99)).subarray(0, 40), 'TRUNCATED'],
    ['xz', bytes(64, [0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]]), 'UNSUPPORTED_COMPRESSION'],
    ['zstd', bytes(64, [0, [0x28, 0xb5, 0x2f, 0xfd]]), 'UNSUPPORTED_COMPRESSION'],
    ['bzip2', bytes(64, [0, 'BZh9']), 'UNSUPPORTED_COMPRESSION'],
    ['lz4', bytes(64, [0, [0x02, 0x21, 0x4c, 0x18]]), 'UNSUPPORTED_COMPRESSION'],
    ['nothing', new Uint8Array(0), 'NOT_A_KERNEL'],
    ['zeros', new Uint8Array(5000), 'NOT_A_KERNEL'],
    ['text', bytes(64, [0, '#!/bin/sh\n']), 'NOT_A_KERNEL'],
    ['an Image header that is cut', image().subarray(0, 60), 'NOT_A_KERNEL'],
  ])('refuses %s, packed or not', async (_, kernel, code) => {
    const memory = guestMemory(16 * MIB);
    expect(await codeOf(() => loadKernel(memory, kernel))).toBe(code);
    if (code !== 'TRUNCATED' && kernel.length > 0) {
      expect(await codeOf(() => loadKernel(memory, gzipSync(kernel)))).toBe(code);
    }
  });

  it('says what it was given instead', async () => {
    const memory = guestMemory(16 * MIB);
    await expect(loadKernel(memory, elf(62))).rejects.toThrow(
      'an ELF file for x86-64, but this machine is arm64',
    );
    await expect(loadKernel(memory, zboot(new Uint8Array(9), 'zstd'))).rejects.toThrow(
      'compressed with "zstd"',
    );
    await expect(loadKernel(memory, gzipSync(gzipSync(image())))).rejects.toThrow('compressed twice');
  });

  it('knows a program of this machine by its ELF header', async () => {
    const head = new Uint8Array(readFileSync(process.execPath).subarray(0, 4096));
    const expected = process.arch === 'arm64' ? 'UNSUPPORTED_KERNEL' : 'WRONG_ARCHITECTURE';
    expect(await codeOf(() => identifyKernel(head, head.length))).toBe(expected);
  });
});
