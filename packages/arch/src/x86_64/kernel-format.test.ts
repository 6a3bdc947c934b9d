import { gzipSync } from 'node:zlib';
import { MIB, codeOf, image, zboot } from '../../test/support.ts';
import { bzImage, elf, note, pattern, pvhNotes, x86Memory } from '../../test/x86.ts';
import type { BzImageFields, ElfFields, SegmentFields } from '../../test/x86.ts';
import { identifyKernel, loadKernel } from './index.ts';

const text = (content: string): Uint8Array => new TextEncoder().encode(content.padEnd(1024, '\0'));
const LOAD: SegmentFields = { guestAddress: 0x100_0000n, data: pattern(10_000) };

describe('identifyKernel', () => {
  it('reads the header of a bzImage (boot.rst)', () => {
    const kernel = bzImage({
      kernelSize: 4096,
      initSize: 77,
      cmdlineSize: 100,
      preferredAddress: 0x20_0000n,
    });
    expect(identifyKernel(kernel, kernel.length)).toEqual({
      kind: 'bzImage',
      header: {
        version: 0x20f,
        kernelOffset: 2048,
        kernelSize: 4096,
        preferredAddress: 0x20_0000,
        relocatable: true,
        alignment: 0x20_0000,
        initSize: 77,
        initrdAddressMax: 0x7fff_ffff,
        cmdlineSize: 100,
        bytes: kernel.slice(0x1f1, 0x26c),
      },
    });
  });

  it('takes setup_sects of 0 for 4', () => {
    const kernel = bzImage({ setupSectors: 0 });
    expect(identifyKernel(kernel, kernel.length)).toMatchObject({ header: { kernelOffset: 5 * 512 } });
  });

  it('knows an ELF file', () => {
    expect(identifyKernel(elf(), 20_000)).toEqual({ kind: 'elf' });
  });
});

describe('loadKernel refuses', () => {
  const memory = x86Memory(32 * MIB);

  it.each<[string, Uint8Array, string]>([
    ['an arm64 Image', image(), 'WRONG_ARCHITECTURE'],
    ['an arm64 EFI zboot image', zboot(new Uint8Array(9)), 'WRONG_ARCHITECTURE'],
    ['an ELF file for arm64', elf({ machine: 183 }), 'WRONG_ARCHITECTURE'],
    ['an ELF file for i386', elf({ machine: 3, bits: 1 }), 'WRONG_ARCHITECTURE'],
    ['an EFI program', zboot(new Uint8Array(9), 'gzip', 0x8664), 'NOT_A_KERNEL'],
    ['a kernel compressed with gzip', gzipSync(elf()), 'UNSUPPORTED_COMPRESSION'],
    ['an xz file', new Uint8Array([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 0]), 'UNSUPPORTED_COMPRESSION'],
    ['nothing', new Uint8Array(0), 'NOT_A_KERNEL'],
    ['zeros', new Uint8Array(5000), 'NOT_A_KERNEL'],
    ['a script', text('#!/bin/sh\n'), 'NOT_A_KERNEL'],
    ['the first bytes of an ELF header', elf().subarray(0, 19), 'NOT_A_KERNEL'],
    ['half an ELF header', elf().subarray(0, 40), 'TRUNCATED'],
    ['half a setup header', bzImage().subarray(0, 0x240), 'TRUNCATED'],
  ])('%s', async (_, kernel, code) => {
    expect(await codeOf(() => loadKernel(memory, kernel))).toBe(code);
  });

  it.each<[string, BzImageFields, string]>([
    ['boot protocol 2.11', { version: 0x20b }, 'UNSUPPORTED_KERNEL'],
    ['a zImage', { loadflags: 0 }, 'UNSUPPORTED_KERNEL'],
    ['a 32-bit kernel', { xloadflags: 0x7e }, 'UNSUPPORTED_KERNEL'],
    ['a header too short for its protocol', { jump: 0x40 }, 'BAD_KERNEL'],
    ['a kernel of 0 bytes', { syssize: 0 }, 'BAD_KERNEL'],
    ['a kernel that ends before its entry', { kernelSize: 512 }, 'BAD_KERNEL'],
    ['a kernel that is longer than the file', { syssize: 32 * 64 + 1 }, 'TRUNCATED'],
    ['a syssize of 2^32-1', { syssize: 0xffff_ffff }, 'TRUNCATED'],
    ['an alignment of 0', { alignment: 0 }, 'BAD_KERNEL'],
    ['an alignment that is no power of two', { alignment: 0x30_0000 }, 'BAD_KERNEL'],
    ['an init_size of 2^32-1', { initSize: 0xffff_ffff }, 'KERNEL_TOO_LARGE'],
    ['an init_size larger than memory', { initSize: 40 * MIB }, 'MEMORY_TOO_SMALL'],
    ['an address beyond memory', { preferredAddress: 1n << 40n }, 'KERNEL_TOO_LARGE'],
    ['an address of 2^64-1', { preferredAddress: (1n << 64n) - 1n, relocatable: 0 }, 'KERNEL_TOO_LARGE'],
    ['an alignment beyond memory', { alignment: 0x8000_0000 }, 'MEMORY_TOO_SMALL'],
    [
      'a fixed address in the first MiB',
      { preferredAddress: 0xf_0000n, relocatable: 0 },
      'UNSUPPORTED_KERNEL',
    ],
  ])('a bzImage with %s', async (_, fields, code) => {
    expect(await codeOf(() => loadKernel(memory, bzImage(fields)))).toBe(code);
  });

  const u64 = (1n << 64n) - 1n;
  it.each<[string, ElfFields, string]>([
    ['32 bits', { bits: 1 }, 'UNSUPPORTED_KERNEL'],
    ['another file type', { type: 1 }, 'UNSUPPORTED_KERNEL'],
    ['no program headers', { phnum: 0 }, 'BAD_KERNEL'],
    ['65535 program headers', { phnum: 0xffff }, 'BAD_KERNEL'],
    ['program headers of another size', { phentsize: 32 }, 'BAD_KERNEL'],
    ['program headers behind its end', { phoff: 1n << 20n }, 'TRUNCATED'],
    ['program headers at 2^64-1', { phoff: u64 }, 'TRUNCATED'],
    ['nothing to load', { segments: [{ ...LOAD, type: 6 }] }, 'BAD_KERNEL'],
    ['a segment behind its end', { segments: [{ ...LOAD, offset: 1n << 20n }] }, 'TRUNCATED'],
    ['a segment at offset 2^64-1', { segments: [{ ...LOAD, offset: u64 }] }, 'TRUNCATED'],
    ['a segment longer than it', { segments: [{ ...LOAD, fileSize: 1n << 20n }] }, 'TRUNCATED'],
    [
      'a segment smaller in memory than in the file',
      { segments: [{ ...LOAD, memorySize: 9999n }] },
      'BAD_KERNEL',
    ],
    ['a segment of 2^64-1 bytes', { segments: [{ ...LOAD, memorySize: u64 }] }, 'KERNEL_TOO_LARGE'],
    ['a segment at 2^64-1', { segments: [{ ...LOAD, guestAddress: u64 }], entry: u64 }, 'KERNEL_TOO_LARGE'],
    ['a segment at 0', { segments: [{ ...LOAD, guestAddress: 0n }], entry: 0n }, 'UNSUPPORTED_KERNEL'],
    [
      'a segment behind memory',
      { segments: [LOAD, { ...LOAD, guestAddress: 0x200_0000n }] },
      'MEMORY_TOO_SMALL',
    ],
    ['overlapping segments', { segments: [LOAD, { ...LOAD, guestAddress: 0x100_270fn }] }, 'BAD_KERNEL'],
    ['an entry outside its segments', { entry: 0x100_2710n }, 'BAD_KERNEL'],
    ['a virtual entry', { entry: 0xffff_ffff_8100_0000n }, 'BAD_KERNEL'],
    ['a PVH entry outside its segments', { segments: [LOAD, pvhNotes(0x99_0000n)] }, 'BAD_KERNEL'],
    [
      'a PVH entry of 3 bytes',
      { segments: [LOAD, { type: 4, data: note('Xen', 18, new Uint8Array(3)) }] },
      'BAD_KERNEL',
    ],
    [
      'a note longer than its segment',
      { segments: [LOAD, { type: 4, data: note('Xen', 6, pattern(99)).subarray(0, 60) }] },
      'BAD_KERNEL',
    ],
    ['a MiB of notes', { segments: [LOAD, { type: 4, data: new Uint8Array(MIB) }] }, 'BAD_KERNEL'],
    ['notes behind its end', { segments: [LOAD, { type: 4, offset: u64, fileSize: 9n }] }, 'TRUNCATED'],
  ])('an ELF file with %s', async (_, fields, code) => {
    expect(await codeOf(() => loadKernel(memory, elf(fields)))).toBe(code);
  });

  it('a protocol that the kernel does not speak', async () => {
    expect(await codeOf(() => loadKernel(memory, bzImage(), { protocol: 'pvh' }))).toBe('UNSUPPORTED_KERNEL');
    expect(await codeOf(() => loadKernel(memory, elf(), { protocol: 'pvh' }))).toBe('UNSUPPORTED_KERNEL');
  });

  it('what it says it was given instead', async () => {
    await expect(loadKernel(memory, image())).rejects.toThrow(
      'an arm64 kernel (Image), but this machine is x86-64',
    );
    await expect(loadKernel(memory, bzImage({ initSize: 40 * MIB }))).rejects.toThrow(
      'the kernel takes 41943040 bytes at 0x1000000 and needs 58720256 bytes of memory; there are 33554432',
    );
  });
});
