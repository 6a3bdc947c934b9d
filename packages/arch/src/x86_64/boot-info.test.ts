import type { GuestMemory } from '@vmm/vm-memory';
import { MIB, codeOf, same } from '../../test/support.ts';
import { bzImage, elf, pattern, pvhNotes, x86Memory } from '../../test/x86.ts';
import { loadKernel, memoryMap, writeBootInformation } from './index.ts';
import type { BootInformation, BootState } from './index.ts';

const PVH_KERNEL = elf({
  segments: [{ guestAddress: 0x100_0000n, data: pattern(99) }, pvhNotes(0x100_0000n)],
});

async function boot(
  memory: GuestMemory,
  kernel: Uint8Array,
  information: BootInformation = {},
  initrd?: Uint8Array,
): Promise<BootState> {
  return writeBootInformation(memory, await loadKernel(memory, kernel, { initrd }), information);
}

/** The NUL-terminated string at an address. */
function cString(memory: GuestMemory, address: number): string {
  const bytes = memory.slice(address, 65_536);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

describe('boot_params (zero-page.rst, boot.rst)', () => {
  it('tell of RAM disk, command line, RSDP and loader', async () => {
    const memory = x86Memory(64 * MIB);
    const state = await boot(memory, bzImage(), { cmdline: 'quiet', rsdp: 0xe_0000 }, pattern(5000));
    expect(state).toEqual({ protocol: 'linux64', entry: 0x100_0200, info: 0x7000 });
    const field = (offset: number): number => memory.readUint32(0x7000 + offset);
    expect(field(0x218)).toBe(64 * MIB - 8192); // ramdisk_image
    expect(field(0x21c)).toBe(5000); // ramdisk_size
    expect(field(0x0c0)).toBe(0); // ext_ramdisk_image
    expect(cString(memory, field(0x228))).toBe('quiet'); // cmd_line_ptr
    expect(field(0x070)).toBe(0xe_0000); // acpi_rsdp_addr
    expect(field(0x074)).toBe(0);
    expect(memory.readUint8(0x7210)).toBe(0xff); // type_of_loader
    expect(memory.readUint8(0x71ef)).toBe(0); // sentinel
    expect(memory.readBigUint64(0x7250)).toBe(0n); // setup_data
    expect(same(memory.slice(0x7000, 0x70), new Uint8Array(0x70))).toBe(true); // screen_info and more
  });

  it('have the header of the bzImage, and nothing else of the file', async () => {
    const memory = x86Memory(64 * MIB);
    const kernel = bzImage();
    await boot(memory, kernel);
    const header = kernel.slice(0x1f1, 0x26c);
    header[0x210 - 0x1f1] = 0xff;
    new DataView(header.buffer).setUint32(0x228 - 0x1f1, 0x20000, true);
    expect(same(memory.slice(0x71f1, header.length), header)).toBe(true);
    expect(same(memory.slice(0x726c, 0x2d0 - 0x26c), new Uint8Array(0x2d0 - 0x26c))).toBe(true);
  });

  it('have no more of a header than they have room for, however long it says it is', async () => {
    const memory = x86Memory(64 * MIB);
    await boot(memory, bzImage({ jump: 0xff }), { memoryMap: [] });
    expect(memory.readUint8(0x728f)).toBe(0xee);
    expect(same(memory.slice(0x7290, 0x1000 - 0x290), new Uint8Array(0x1000 - 0x290))).toBe(true);
  });

  it('have a header of protocol 2.12 for an ELF kernel', async () => {
    const memory = x86Memory(64 * MIB);
    expect(await boot(memory, elf(), {}, pattern(10))).toMatchObject({ protocol: 'linux64', info: 0x7000 });
    expect(memory.readUint16(0x71fe)).toBe(0xaa55);
    expect(memory.readUint32(0x7202)).toBe(0x5372_6448);
    expect(memory.readUint16(0x7206)).toBe(0x20c);
    expect(memory.readUint8(0x7211) & 1).toBe(1);
    expect(memory.readUint32(0x721c)).toBe(10);
  });

  it('have the memory map, 20 bytes an entry', async () => {
    const memory = x86Memory(64 * MIB);
    await boot(memory, bzImage());
    const count = memory.readUint8(0x71e8);
    const entries = Array.from({ length: count }, (_, index) => ({
      guestAddress: memory.readUint64(0x72d0 + index * 20),
      size: memory.readUint64(0x72d0 + index * 20 + 8),
      type: memory.readUint32(0x72d0 + index * 20 + 16),
    }));
    expect(entries).toEqual(memoryMap(64 * MIB));
  });

  it('point to a seed for the random generator', async () => {
    const memory = x86Memory(64 * MIB);
    const seed = pattern(32);
    await boot(memory, bzImage(), { rngSeed: seed });
    const node = memory.readUint64(0x7250);
    expect(memory.readBigUint64(node)).toBe(0n);
    expect(memory.readUint32(node + 8)).toBe(9); // SETUP_RNG_SEED
    expect(memory.readUint32(node + 12)).toBe(32);
    expect(same(memory.slice(node + 16, 32), seed)).toBe(true);
    expect(await codeOf(() => boot(memory, bzImage(), { rngSeed: new Uint8Array(4081) }))).toBe(
      'INVALID_ARGUMENT',
    );
  });
});

describe('hvm_start_info (Xen start_info.h)', () => {
  it('tells of module, command line, RSDP and memory map', async () => {
    const memory = x86Memory(64 * MIB);
    const state = await boot(memory, PVH_KERNEL, { cmdline: 'a=b c', rsdp: 0xe_1230 }, pattern(5000));
    expect(state).toEqual({ protocol: 'pvh', entry: 0x100_0000, info: 0x6000 });
    expect(memory.readUint32(0x6000)).toBe(0x336e_c578); // magic
    expect(memory.readUint32(0x6004)).toBe(1); // version
    expect(memory.readUint32(0x6008)).toBe(0); // flags
    expect(memory.readUint32(0x600c)).toBe(1); // nr_modules
    const module = memory.readUint64(0x6010);
    expect(memory.readUint64(module)).toBe(64 * MIB - 8192);
    expect(memory.readUint64(module + 8)).toBe(5000);
    expect(memory.readUint64(module + 16)).toBe(0);
    expect(cString(memory, memory.readUint64(0x6018))).toBe('a=b c');
    expect(memory.readUint64(0x6020)).toBe(0xe_1230);
    const map = memory.readUint64(0x6028);
    const entries = Array.from({ length: memory.readUint32(0x6030) }, (_, index) => ({
      guestAddress: memory.readUint64(map + index * 24),
      size: memory.readUint64(map + index * 24 + 8),
      type: memory.readUint32(map + index * 24 + 16),
    }));
    expect(entries).toEqual(memoryMap(64 * MIB));
  });

  it('has no module without a RAM disk', async () => {
    const memory = x86Memory(64 * MIB);
    await boot(memory, PVH_KERNEL, { rngSeed: pattern(32) });
    expect(memory.readUint32(0x600c)).toBe(0);
    expect(memory.readUint64(0x6010)).toBe(0);
  });
});

describe('writeBootInformation refuses', () => {
  it('a command line that is longer than the kernel takes', async () => {
    const memory = x86Memory(64 * MIB);
    const kernel = bzImage({ cmdlineSize: 100 });
    await boot(memory, kernel, { cmdline: 'ä'.repeat(50) });
    expect(cString(memory, 0x20000)).toBe('ä'.repeat(50));
    expect(await codeOf(() => boot(memory, kernel, { cmdline: 'x'.repeat(101) }))).toBe(
      'COMMAND_LINE_TOO_LONG',
    );
    expect(await codeOf(() => boot(memory, elf(), { cmdline: 'x'.repeat(2048) }))).toBe(
      'COMMAND_LINE_TOO_LONG',
    );
  });

  it('one that is longer than its room, whatever the kernel says it takes', async () => {
    const memory = x86Memory(64 * MIB);
    const kernel = bzImage({ cmdlineSize: 0xffff_ffff });
    await boot(memory, kernel, { cmdline: 'x'.repeat(0xffff) });
    expect(memory.readUint8(0x2fffe)).toBe(0x78);
    expect(memory.readUint8(0x2ffff)).toBe(0);
    expect(await codeOf(() => boot(memory, kernel, { cmdline: 'x'.repeat(0x10000) }))).toBe(
      'COMMAND_LINE_TOO_LONG',
    );
  });

  it('a NUL in the command line', async () => {
    expect(await codeOf(() => boot(x86Memory(64 * MIB), bzImage(), { cmdline: 'a\0b' }))).toBe(
      'BAD_COMMAND_LINE',
    );
  });

  it.each<[string, Uint8Array, number]>([
    ['boot_params', bzImage(), 128],
    ['hvm_start_info', PVH_KERNEL, 167],
  ])('a memory map that is longer than %s have room for', async (_, kernel, room) => {
    const memory = x86Memory(64 * MIB);
    const map = (length: number): BootInformation => ({
      memoryMap: Array.from({ length }, (__, index) => ({ guestAddress: index * 4096, size: 4096, type: 1 })),
    });
    await boot(memory, kernel, map(room));
    expect(await codeOf(() => boot(memory, kernel, map(room + 1)))).toBe('INVALID_ARGUMENT');
  });
});
