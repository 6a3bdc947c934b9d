import fc from 'fast-check';
import { GuestMemory } from '@vmm/vm-memory';
import { MIB, codeOf, reader, same } from '../../test/support.ts';
import { bzImage, elf, note, pattern, pvhNotes, x86Memory } from '../../test/x86.ts';
import { ArchError } from '../index.ts';
import { loadKernel } from './index.ts';
import type { LoadedKernel } from './index.ts';

describe('loadKernel places a bzImage (boot.rst)', () => {
  it('at its preferred address and enters it 0x200 behind, in 64-bit mode', async () => {
    const memory = x86Memory(64 * MIB);
    const kernel = bzImage({ kernelSize: 200_000, initSize: 3 * MIB, trailer: 999 });
    const loaded = await loadKernel(memory, kernel);
    expect(loaded).toMatchObject({
      format: 'bzImage',
      protocol: 'linux64',
      entry: 0x100_0200,
      kernel: { guestAddress: 0x100_0000, size: 3 * MIB },
      initrd: undefined,
      cmdlineSize: 2047,
    });
    expect(same(memory.slice(0x100_0000, 200_000), pattern(200_000))).toBe(true);
    expect(same(memory.slice(0x100_0000 + 200_000, 2000), new Uint8Array(2000))).toBe(true);
    expect(same(memory.slice(0, 0x100_0000), new Uint8Array(0x100_0000))).toBe(true);
  });

  it('that has no preference at its alignment above 1 MiB, and a fixed one where it says', async () => {
    const memory = x86Memory(64 * MIB);
    const relocatable = bzImage({ preferredAddress: 0n, alignment: 0x40_0000 });
    expect((await loadKernel(memory, relocatable)).kernel.guestAddress).toBe(0x40_0000);
    const fixed = bzImage({ preferredAddress: 0x11_0000n, relocatable: 0 });
    expect((await loadKernel(memory, fixed)).kernel.guestAddress).toBe(0x11_0000);
  });

  it('with room for all its bytes even when init_size is less', async () => {
    const { kernel } = await loadKernel(x86Memory(64 * MIB), bzImage({ kernelSize: 65_536, initSize: 1 }));
    expect(kernel.size).toBe(65_536);
  });
});

describe('loadKernel places an ELF file', () => {
  const segments = [
    { guestAddress: 0x120_0000n, data: pattern(5000), memorySize: 20_000n },
    { guestAddress: 0x100_0000n, data: pattern(9000) },
    { guestAddress: 0x110_0000n, memorySize: 4096n },
    { guestAddress: 0x900_0000n },
  ];

  it('by its physical addresses, with zeros behind what the file has', async () => {
    const memory = x86Memory(64 * MIB);
    memory.fill(0x100_0000, 3 * MIB, 0xcc);
    const loaded = await loadKernel(memory, elf({ segments, entry: 0x100_0010n }));
    expect(loaded).toEqual({
      format: 'elf',
      protocol: 'linux64',
      entry: 0x100_0010,
      kernel: { guestAddress: 0x100_0000, size: 0x20_0000 + 20_000 },
      initrd: undefined,
      cmdlineSize: 2047,
      header: undefined,
    });
    expect(same(memory.slice(0x100_0000, 9000), pattern(9000))).toBe(true);
    expect(same(memory.slice(0x120_0000, 5000), pattern(5000))).toBe(true);
    expect(same(memory.slice(0x120_0000 + 5000, 15_000), new Uint8Array(15_000))).toBe(true);
    expect(same(memory.slice(0x110_0000, 4096), new Uint8Array(4096))).toBe(true);
    expect(memory.readUint8(0x120_0000 + 20_000)).toBe(0xcc);
  });

  it('with the PVH entry when it has the note, and with e_entry when that is asked for', async () => {
    const kernel = elf({ segments: [...segments, pvhNotes(0x120_0100n)] });
    const memory = x86Memory(64 * MIB);
    expect(await loadKernel(memory, kernel)).toMatchObject({ protocol: 'pvh', entry: 0x120_0100 });
    expect(await loadKernel(memory, kernel, { protocol: 'pvh' })).toMatchObject({ entry: 0x120_0100 });
    expect(await loadKernel(memory, kernel, { protocol: 'linux64' })).toMatchObject({
      protocol: 'linux64',
      entry: 0x100_0000,
    });
    const others = elf({ segments: [...segments, { type: 4, data: note('Xen', 6, pattern(6)) }] });
    expect(await loadKernel(memory, others)).toMatchObject({ protocol: 'linux64', entry: 0x100_0000 });
    const short = elf({ segments: [pvhNotes(0x120_0100n, 4), ...segments] });
    expect(await loadKernel(memory, short)).toMatchObject({ protocol: 'pvh', entry: 0x120_0100 });
  });
});

describe('loadKernel places the initial RAM disk', () => {
  const initrd = pattern(10_001);

  it('page-aligned at the end of memory', async () => {
    for (const kernel of [bzImage(), elf()]) {
      const memory = x86Memory(64 * MIB);
      const loaded = await loadKernel(memory, kernel, { initrd });
      expect(loaded.initrd).toEqual({ guestAddress: 64 * MIB - 3 * 4096, size: 10_001 });
      expect(same(memory.slice(64 * MIB - 3 * 4096, 10_001), initrd)).toBe(true);
    }
  });

  it('no higher than initrd_addr_max', async () => {
    const kernel = bzImage({ initrdAddressMax: 0x1ff_ffff });
    const loaded = await loadKernel(x86Memory(64 * MIB), kernel, { initrd });
    expect(loaded.initrd).toEqual({ guestAddress: 0x200_0000 - 3 * 4096, size: 10_001 });
    const odd = bzImage({ initrdAddressMax: 0x1ff_fffe });
    const unaligned = await loadKernel(x86Memory(64 * MIB), odd, { initrd: new Uint8Array(4096) });
    expect(unaligned.initrd?.guestAddress).toBe(0x200_0000 - 2 * 4096);
  });

  it('and kernel from sources that are read piece by piece', async () => {
    for (const kernel of [bzImage(), elf()]) {
      const memory = x86Memory(32 * MIB);
      const whole = x86Memory(32 * MIB);
      const expected = await loadKernel(whole, kernel, { initrd });
      expect(await loadKernel(memory, reader(kernel), { initrd: reader(initrd) })).toEqual(expected);
      expect(same(memory.slice(0, 32 * MIB), whole.slice(0, 32 * MIB))).toBe(true);
    }
  });

  it('only where there is room behind what the kernel needs', async () => {
    const kernel = bzImage({ initSize: 15 * MIB - 100 });
    const load = (size: number): Promise<LoadedKernel> =>
      loadKernel(x86Memory(32 * MIB), kernel, { initrd: new Uint8Array(size) });
    expect((await load(MIB)).initrd?.guestAddress).toBe(31 * MIB);
    await expect(load(MIB + 1)).rejects.toThrow(
      new ArchError(
        'INITRD_TOO_LARGE',
        'the initial RAM disk takes 1048577 bytes; 1048576 are free between the kernel and 0x2000000',
      ),
    );
    const huge = { size: 2 ** 50, read: () => 1 };
    expect(await codeOf(() => loadKernel(x86Memory(32 * MIB), kernel, { initrd: huge }))).toBe(
      'INITRD_TOO_LARGE',
    );
    const low = bzImage({ initrdAddressMax: 0xffff });
    expect(await codeOf(() => loadKernel(x86Memory(32 * MIB), low, { initrd: kernel }))).toBe(
      'INITRD_TOO_LARGE',
    );
  });
});

describe('loadKernel', () => {
  it('marks what it wrote as dirty', async () => {
    const memory = x86Memory(32 * MIB);
    memory.enableDirtyTracking();
    const segments = [{ guestAddress: 0x100_0000n, data: pattern(5000), memorySize: 10_000n }];
    await loadKernel(memory, elf({ segments }), { initrd: new Uint8Array(100) });
    const dirty = memory.takeDirty().flatMap(({ guestAddress, pageCount, bits }) =>
      Array.from({ length: pageCount }, (_, page) => page)
        .filter((page) => (bits[page >> 5]! & (1 << (page & 31))) !== 0)
        .map((page) => guestAddress + page * 4096),
    );
    expect(dirty).toEqual([0x100_0000, 0x100_1000, 0x100_2000, 32 * MIB - 4096]);
  });

  it('needs memory from 0 on that can be written', async () => {
    const region = (guestAddress: number, readOnly: boolean): GuestMemory =>
      new GuestMemory([{ guestAddress, bytes: new Uint8Array(32 * MIB), readOnly }]);
    expect(await codeOf(() => loadKernel(new GuestMemory([]), bzImage()))).toBe('MEMORY_TOO_SMALL');
    expect(await codeOf(() => loadKernel(region(4096, false), bzImage()))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(() => loadKernel(region(0, true), bzImage()))).toBe('INVALID_ARGUMENT');
  });

  it('passes on what a source throws', async () => {
    const failing = {
      size: 100_000,
      read: (): never => {
        throw new RangeError('no more disk');
      },
    };
    await expect(loadKernel(x86Memory(32 * MIB), failing)).rejects.toThrow(new RangeError('no more disk'));
    await expect(loadKernel(x86Memory(32 * MIB), bzImage(), { initrd: failing })).rejects.toThrow(
      new RangeError('no more disk'),
    );
  });
});

describe('loadKernel with hostile headers', () => {
  const u32 = fc.oneof(fc.nat({ max: 0xffff_ffff }), fc.constantFrom(0, 1, 0x7fff_ffff, 0xffff_ffff));
  const u64 = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.bigInt({ min: 0n, max: 64n << 20n }),
    fc.constantFrom(0n, 1n << 31n, 1n << 32n, 1n << 53n, (1n << 64n) - 1n),
  );
  const inMemory = fc.bigInt({ min: 1n << 20n, max: 20n << 20n });

  function expectPlaced(memory: GuestMemory, loaded: LoadedKernel): void {
    const { kernel, initrd, entry } = loaded;
    expect(kernel.guestAddress).toBeGreaterThanOrEqual(MIB);
    expect(kernel.guestAddress + kernel.size).toBeLessThanOrEqual(memory.size);
    expect(entry).toBeGreaterThanOrEqual(kernel.guestAddress);
    expect(entry).toBeLessThan(kernel.guestAddress + kernel.size);
    expect(initrd!.guestAddress % 4096).toBe(0);
    expect(initrd!.guestAddress).toBeGreaterThanOrEqual(kernel.guestAddress + kernel.size);
    expect(initrd!.guestAddress + initrd!.size).toBeLessThanOrEqual(memory.size);
  }

  it('either refuses a bzImage or puts it into memory', async () => {
    let placed = 0;
    const memory = x86Memory(32 * MIB);
    // Half of the runs start from plausible fields: random ones are nearly always refused.
    const fields = fc.oneof(
      fc.record({
        initSize: u32,
        preferredAddress: u64,
        alignment: u32,
        relocatable: fc.nat({ max: 1 }),
        syssize: u32,
        initrdAddressMax: u32,
        setupSectors: fc.nat({ max: 255 }),
      }),
      fc.record({
        initSize: fc.nat({ max: 10 * MIB }),
        preferredAddress: inMemory,
        alignment: fc.constantFrom(1, 4096, 0x20_0000),
        relocatable: fc.nat({ max: 1 }),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fields, fc.nat({ max: 100_000 }), async (header, initrdSize) => {
        const initrd = new Uint8Array(initrdSize);
        try {
          const kernel = bzImage({ kernelSize: 4096, ...header });
          expectPlaced(memory, await loadKernel(memory, kernel, { initrd }));
        } catch (error) {
          if (!(error instanceof ArchError)) throw error;
          return;
        }
        placed++;
      }),
      { numRuns: 300 },
    );
    expect(placed).toBeGreaterThan(20);
  });

  it('either refuses an ELF file or puts it into memory', async () => {
    let placed = 0;
    const memory = x86Memory(32 * MIB);
    const random = fc.record({
      guestAddress: u64,
      memorySize: u64,
      offset: u64,
      fileSize: u64,
      data: fc.constant(pattern(100)),
    });
    const plausible = fc.record({ guestAddress: inMemory, data: fc.nat({ max: 9999 }).map(pattern) });
    const segments = fc.oneof(
      fc.array(fc.oneof(random, plausible), { maxLength: 4 }),
      fc.array(plausible, { minLength: 1, maxLength: 3 }),
    );
    await fc.assert(
      fc.asyncProperty(segments, fc.option(u64, { freq: 2 }), async (list, other) => {
        const kernel = elf({ segments: list, entry: other ?? list[0]?.guestAddress ?? 0n });
        try {
          expectPlaced(memory, await loadKernel(memory, kernel, { initrd: new Uint8Array(5000) }));
        } catch (error) {
          if (!(error instanceof ArchError)) throw error;
          return;
        }
        placed++;
      }),
      { numRuns: 300 },
    );
    expect(placed).toBeGreaterThan(20);
  });

  it('answers any damaged kernel with an ArchError or a place', async () => {
    const memory = x86Memory(32 * MIB);
    const segments = [{ guestAddress: 0x100_0000n, data: pattern(2000) }, pvhNotes(0x100_0000n)];
    const originals = [bzImage({ kernelSize: 2048 }), elf({ segments })];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat({ max: 0x270 }), fc.nat({ max: 255 })), { maxLength: 8 }),
        fc.option(fc.nat({ max: 3000 })),
        async (original, changes, cut) => {
          const bytes = new Uint8Array(original);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          await codeOf(() => loadKernel(memory, bytes.subarray(0, cut ?? bytes.length)));
        },
      ),
      { numRuns: 500 },
    );
  });
});
