import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { MIB, codeOf, guestMemory, image, reader, same, zboot } from '../../test/support.ts';
import type { ImageFields } from '../../test/support.ts';
import { ArchError } from '../index.ts';
import { MAX_DEVICE_TREE_SIZE, loadDeviceTree, loadKernel } from './index.ts';

describe('loadKernel places (booting.rst)', () => {
  it('an Image at text_offset from a 2 MiB boundary, and starts it there', async () => {
    const memory = guestMemory(64 * MIB);
    const kernel = image({ textOffset: 0x8_0000n, imageSize: 3n * BigInt(MIB), length: 200_000 });
    const loaded = await loadKernel(memory, kernel);
    expect(loaded).toEqual({
      entry: 0x8_0000,
      kernel: { guestAddress: 0x8_0000, size: 3 * MIB },
      initrd: undefined,
      deviceTree: { guestAddress: 62 * MIB, size: 2 * MIB },
      header: { textOffset: 0x8_0000, imageSize: 3 * MIB, bigEndian: false, pageSize: 4096, anywhere: true },
      format: 'image',
    });
    expect(same(memory.slice(loaded.entry, kernel.length), kernel)).toBe(true);
    expect(same(memory.slice(0, loaded.entry), new Uint8Array(loaded.entry))).toBe(true);
    expect(same(memory.slice(loaded.entry + kernel.length, MIB), new Uint8Array(MIB))).toBe(true);
  });

  it('the initial RAM disk page-aligned below the device tree', async () => {
    const memory = guestMemory(64 * MIB);
    const initrd = Uint8Array.from({ length: 10_001 }, (_, index) => index % 251);
    const loaded = await loadKernel(memory, image(), { initrd });
    expect(loaded.initrd).toEqual({ guestAddress: 62 * MIB - 3 * 4096, size: 10_001 });
    expect(same(memory.slice(62 * MIB - 3 * 4096, 10_001), initrd)).toBe(true);
  });

  it('everything below 1 GiB when there is more memory', async () => {
    const { initrd, deviceTree } = await loadKernel(guestMemory(1024 * MIB + 4096), image(), {
      initrd: new Uint8Array(4096),
    });
    expect(deviceTree.guestAddress).toBe(1022 * MIB);
    expect(initrd?.guestAddress).toBe(1022 * MIB - 4096);
  });

  it('the device tree in a 2 MiB block of its own when the memory ends elsewhere', async () => {
    const { deviceTree } = await loadKernel(guestMemory(64 * MIB + 4096), image());
    expect(deviceTree).toEqual({ guestAddress: 62 * MIB, size: 2 * MIB });
  });

  it('a kernel from before 3.17, without image_size, at 0x80000', async () => {
    const memory = guestMemory(16 * MIB);
    const kernel = image({ textOffset: 77n, imageSize: 0n, length: 300_000 });
    const loaded = await loadKernel(memory, kernel);
    expect(loaded.kernel).toEqual({ guestAddress: 0x8_0000, size: 300_000 });
    const unpacked = guestMemory(16 * MIB);
    expect((await loadKernel(unpacked, gzipSync(kernel))).kernel).toEqual(loaded.kernel);
    expect(same(unpacked.slice(0, MIB), memory.slice(0, MIB))).toBe(true);
  });

  it('what a source reads piece by piece', async () => {
    const memory = guestMemory(16 * MIB);
    const kernel = image();
    const initrd = image({ length: 12_345 });
    const loaded = await loadKernel(memory, reader(kernel), { initrd: reader(initrd) });
    expect(same(memory.slice(0, kernel.length), kernel)).toBe(true);
    expect(same(memory.slice(loaded.initrd!.guestAddress, initrd.length), initrd)).toBe(true);
  });

  it('no more of a file than image_size: what was appended is no part of the kernel', async () => {
    const memory = guestMemory(16 * MIB);
    const kernel = image({ length: 20_000, imageSize: 10_000n });
    for (const source of [kernel, gzipSync(kernel)]) {
      await loadKernel(memory, source);
      expect(same(memory.slice(0, 10_000), kernel.subarray(0, 10_000))).toBe(true);
      expect(same(memory.slice(10_000, 20_000), new Uint8Array(20_000))).toBe(true);
    }
  });

  it('marks what it wrote as dirty', async () => {
    const memory = guestMemory(16 * MIB);
    memory.enableDirtyTracking();
    const loaded = await loadKernel(memory, image({ length: 8192 }), { initrd: new Uint8Array(4096) });
    loadDeviceTree(memory, loaded, new Uint8Array(100));
    const dirty = memory.takeDirty().flatMap(({ guestAddress, pageCount, bits }) =>
      Array.from({ length: pageCount }, (_, page) => page)
        .filter((page) => (bits[page >> 5]! & (1 << (page & 31))) !== 0)
        .map((page) => guestAddress + page * 4096),
    );
    expect(dirty).toEqual([0, 4096, 14 * MIB - 4096, 14 * MIB]);
  });
});

describe('loadKernel unpacks', () => {
  const kernel = image({ length: 3 * MIB, imageSize: 4n * BigInt(MIB) });
  it.each([
    ['gzip', gzipSync(kernel)],
    ['zboot', zboot(gzipSync(kernel))],
  ])('%s as if it had not been packed', async (format, packed) => {
    const plain = guestMemory(16 * MIB);
    const expected = await loadKernel(plain, kernel);
    for (const source of [packed, reader(packed, 70_000)]) {
      const memory = guestMemory(16 * MIB);
      expect(await loadKernel(memory, source)).toEqual({ ...expected, format });
      expect(same(memory.slice(0, 16 * MIB), plain.slice(0, 16 * MIB))).toBe(true);
    }
  });

  it('an Image that is shorter than what it looks at first', async () => {
    const memory = guestMemory(16 * MIB);
    const small = image({ length: 100 });
    await loadKernel(memory, gzipSync(small));
    expect(same(memory.slice(0, 100), small)).toBe(true);
  });

  it('no further than image_size, however much more there is', async () => {
    const bomb = new Uint8Array(200 * MIB);
    bomb.set(image({ length: 4096, imageSize: 8192n }));
    const packed = gzipSync(bomb, { level: 1 });
    let read = 0;
    const source = reader(packed, 64 * 1024);
    const counted = {
      size: source.size,
      read(offset: number, into: Uint8Array) {
        read = Math.max(read, offset);
        return source.read(offset, into);
      },
    };
    const memory = guestMemory(8 * MIB);
    expect((await loadKernel(memory, counted)).kernel.size).toBe(8192);
    expect(read).toBeLessThan(packed.length / 2 + 256 * 1024);
  });

  it('no further than memory when the Image has no image_size', async () => {
    const bomb = new Uint8Array(40 * MIB);
    bomb.set(image({ length: 4096, imageSize: 0n }));
    expect(await codeOf(() => loadKernel(guestMemory(8 * MIB), gzipSync(bomb)))).toBe('MEMORY_TOO_SMALL');
  });

  it('nothing that is damaged', async () => {
    const packed = gzipSync(kernel);
    const wrongChecksum = new Uint8Array(packed);
    wrongChecksum[packed.length - 6]! ^= 1;
    const damaged = new Uint8Array(packed);
    damaged.fill(0x55, 1000, 1100);
    const cut = packed.subarray(0, packed.length - 1000);
    const header = packed.subarray(0, 5);
    for (const bad of [wrongChecksum, damaged, cut, header]) {
      expect(await codeOf(() => loadKernel(guestMemory(16 * MIB), bad))).toBe('BAD_COMPRESSION');
    }
  });

  it('passes on what a source throws, and leaves nothing behind', async () => {
    const packed = gzipSync(kernel);
    const failing = {
      size: packed.length,
      read(offset: number, into: Uint8Array): Promise<number> {
        if (offset > 4096) return Promise.reject(new RangeError('no more disk'));
        into.set(packed.subarray(offset, offset + into.length));
        return Promise.resolve(Math.min(into.length, 5000));
      },
    };
    await expect(loadKernel(guestMemory(16 * MIB), failing)).rejects.toThrow(new RangeError('no more disk'));
  });
});

describe('loadKernel refuses', () => {
  it.each<[string, ImageFields, number, string]>([
    ['a big-endian kernel', { flags: 0xb }, 16, 'UNSUPPORTED_KERNEL'],
    ['a text_offset that is no instruction address', { textOffset: 2n }, 16, 'NOT_A_KERNEL'],
    ['a kernel larger than this memory', { imageSize: 20n << 20n }, 16, 'MEMORY_TOO_SMALL'],
    [
      'a kernel that leaves no room for the device tree',
      { imageSize: (14n << 20n) + 1n },
      16,
      'MEMORY_TOO_SMALL',
    ],
    ['a memory of a page', {}, 4096 / MIB, 'MEMORY_TOO_SMALL'],
    ['a kernel larger than any memory', { imageSize: 1n << 30n }, 16, 'KERNEL_TOO_LARGE'],
    ['an image_size of 2^64-1', { imageSize: (1n << 64n) - 1n }, 16, 'KERNEL_TOO_LARGE'],
    ['a text_offset of 2^64-4', { textOffset: (1n << 64n) - 4n }, 16, 'KERNEL_TOO_LARGE'],
    ['a text_offset beyond memory', { textOffset: 1n << 40n }, 16, 'KERNEL_TOO_LARGE'],
  ])('%s, packed or not', async (_, fields, mebibytes, code) => {
    const memory = guestMemory(mebibytes * MIB);
    expect(await codeOf(() => loadKernel(memory, image(fields)))).toBe(code);
    expect(await codeOf(() => loadKernel(memory, gzipSync(image(fields))))).toBe(code);
  });

  it('with both sizes in the message', async () => {
    const kernel = image({ imageSize: 30n << 20n });
    await expect(loadKernel(guestMemory(16 * MIB), kernel)).rejects.toThrow(
      'the kernel takes 31457280 bytes at 0x0 and needs 33554432 bytes of memory; there are 16777216',
    );
    await loadKernel(guestMemory(32 * MIB), kernel);
  });

  it('a page size that the CPU does not have', async () => {
    const options = { pageSizes: [4096] as const };
    for (const [flags, code] of [
      [0x8, 'none'],
      [0xa, 'none'],
      [0xc, 'UNSUPPORTED_KERNEL'],
      [0xe, 'UNSUPPORTED_KERNEL'],
    ] as const) {
      expect(await codeOf(() => loadKernel(guestMemory(16 * MIB), image({ flags }), options))).toBe(code);
    }
  });

  it('an initial RAM disk that does not fit between kernel and device tree', async () => {
    const memory = guestMemory(16 * MIB);
    const kernel = image({ imageSize: 5_000n });
    const room = 14 * MIB - 8192;
    expect((await loadKernel(memory, kernel, { initrd: new Uint8Array(room) })).initrd?.guestAddress).toBe(
      8192,
    );
    await expect(loadKernel(memory, kernel, { initrd: new Uint8Array(room + 1) })).rejects.toThrow(
      new ArchError(
        'INITRD_TOO_LARGE',
        `the initial RAM disk takes ${room + 1} bytes; ${room} are free between kernel and device tree`,
      ),
    );
    expect(await codeOf(() => loadKernel(memory, kernel, { initrd: { size: 2 ** 50, read: () => 1 } }))).toBe(
      'INITRD_TOO_LARGE',
    );
  });

  it.each<[string, number, (offset: number, into: Uint8Array) => number, string]>([
    [
      'that ends early',
      10_000,
      (offset, into) => (offset > 5000 ? 0 : Math.min(into.length, 5001)),
      'TRUNCATED',
    ],
    ['that answers more than asked for', 10_000, (_, into) => into.length + 1, 'INVALID_ARGUMENT'],
    ['that answers a negative count', 10_000, () => -1, 'INVALID_ARGUMENT'],
    ['with a negative size', -1, () => 0, 'INVALID_ARGUMENT'],
  ])('a source %s', async (_, size, read, code) => {
    expect(await codeOf(() => loadKernel(guestMemory(16 * MIB), image(), { initrd: { size, read } }))).toBe(
      code,
    );
  });

  it('a device tree of more than 2 MiB', async () => {
    const memory = guestMemory(16 * MIB);
    const loaded = await loadKernel(memory, image());
    expect(loadDeviceTree(memory, loaded, new Uint8Array(MAX_DEVICE_TREE_SIZE).fill(9))).toBe(14 * MIB);
    expect(memory.slice(14 * MIB, 2 * MIB).every((byte) => byte === 9)).toBe(true);
    expect(await codeOf(() => loadDeviceTree(memory, loaded, new Uint8Array(MAX_DEVICE_TREE_SIZE + 1)))).toBe(
      'DEVICE_TREE_TOO_LARGE',
    );
  });
});

describe('loadKernel with hostile headers', () => {
  const u64 = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.bigInt({ min: 0n, max: 32n << 20n }),
    fc.constantFrom(0n, 4n, 1n << 31n, 1n << 32n, 1n << 53n, (1n << 63n) + 4n),
  );
  // Headers of which nothing is plausible are nearly always refused, so half of the runs start from good ones.
  const header = fc.oneof(
    fc.tuple(u64, u64, fc.nat({ max: 15 })),
    fc.tuple(fc.bigInt(0n, 1n << 20n), fc.bigInt(0n, 2n << 20n), fc.constantFrom(0, 2, 8, 10)),
  );
  it('either refuses the kernel or puts everything into memory without overlap', async () => {
    let placed = 0;
    await fc.assert(
      fc.asyncProperty(
        header,
        fc.integer({ min: 64, max: 20_000 }),
        fc.nat({ max: 12 * MIB }),
        fc.boolean(),
        async ([textOffset, imageSize, flags], length, initrdSize, packed) => {
          const memory = guestMemory(16 * MIB);
          const kernel = image({ textOffset: textOffset & ~3n, imageSize, flags, length });
          const source = packed ? gzipSync(kernel) : kernel;
          let loaded;
          try {
            loaded = await loadKernel(memory, source, { initrd: new Uint8Array(initrdSize).fill(1) });
          } catch (error) {
            if (!(error instanceof ArchError)) throw error;
            return;
          }
          placed++;
          const initrd = loaded.initrd!;
          expect(loaded.entry).toBeGreaterThanOrEqual(0);
          expect(initrd.guestAddress % 4096).toBe(0);
          expect(initrd.guestAddress).toBeGreaterThanOrEqual(loaded.kernel.guestAddress + loaded.kernel.size);
          expect(initrd.guestAddress + initrd.size).toBeLessThanOrEqual(loaded.deviceTree.guestAddress);
          const inMemory = Math.min(length, loaded.kernel.size);
          expect(same(memory.slice(loaded.entry, inMemory), kernel.subarray(0, inMemory))).toBe(true);
        },
      ),
      { numRuns: 200 },
    );
    expect(placed).toBeGreaterThan(20);
  });

  it('answers any damaged kernel with an ArchError or a place', async () => {
    const originals = [
      image({ length: 6000 }),
      gzipSync(image({ length: 6000 })),
      zboot(gzipSync(image({ length: 6000 }))),
    ];
    const memory = guestMemory(16 * MIB);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat({ max: 700 }), fc.nat({ max: 255 })), { maxLength: 8 }),
        fc.nat({ max: 700 }),
        async (original, changes, cut) => {
          const bytes = new Uint8Array(original);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          await codeOf(() => loadKernel(memory, cut < 350 ? bytes.subarray(0, cut) : bytes));
        },
      ),
      { numRuns: 500 },
    );
  });
});
