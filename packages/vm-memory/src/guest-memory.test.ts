import { GuestMemory, VmMemoryError, type GuestRegionConfig, type VmMemoryErrorCode } from './index.ts';

function bytes(size: number, shared = false, offset = 0): Uint8Array {
  const buffer = shared ? new SharedArrayBuffer(size + offset) : new ArrayBuffer(size + offset);
  return new Uint8Array(buffer, offset, size);
}

function codeOf(action: () => unknown): VmMemoryErrorCode | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof VmMemoryError) return error.code;
    throw error;
  }
  return undefined;
}

const BAD_ADDRESSES = [-1, -8, 0.5, 4096.5, NaN, Infinity, -Infinity, 2 ** 53, 2 ** 64];

describe('the regions of guest memory', () => {
  const construct = (...regions: GuestRegionConfig[]) => codeOf(() => new GuestMemory(regions));

  it('are sorted by address', () => {
    const memory = new GuestMemory([
      { guestAddress: 0x8000_0000, bytes: bytes(64), readOnly: true },
      { guestAddress: 0, bytes: bytes(32) },
    ]);
    expect(
      memory.regions.map(({ guestAddress, size, end, readOnly }) => [guestAddress, size, end, readOnly]),
    ).toEqual([
      [0, 32, 32, false],
      [0x8000_0000, 64, 0x8000_0040, true],
    ]);
    expect(memory.size).toBe(96);
  });

  it('may touch but not overlap', () => {
    expect(
      construct({ guestAddress: 0, bytes: bytes(16) }, { guestAddress: 16, bytes: bytes(16) }),
    ).toBeUndefined();
    expect(construct({ guestAddress: 8, bytes: bytes(16) }, { guestAddress: 0, bytes: bytes(16) })).toBe(
      'OVERLAP',
    );
    expect(construct({ guestAddress: 0, bytes: bytes(64) }, { guestAddress: 8, bytes: bytes(8) })).toBe(
      'OVERLAP',
    );
    expect(construct({ guestAddress: 8, bytes: bytes(8) }, { guestAddress: 8, bytes: bytes(8) })).toBe(
      'OVERLAP',
    );
  });

  it('have a base that is a multiple of 8 below 2^53', () => {
    for (const guestAddress of [...BAD_ADDRESSES, 1, 4, 0x1004]) {
      expect(construct({ guestAddress, bytes: bytes(16) })).toBe('INVALID_REGION');
    }
  });

  it('end at 2^53 - 1 at the latest', () => {
    expect(construct({ guestAddress: 2 ** 53 - 16, bytes: bytes(15) })).toBeUndefined();
    expect(construct({ guestAddress: 2 ** 53 - 16, bytes: bytes(16) })).toBe('INVALID_REGION');
  });

  it('have bytes aligned to 8 in the host, and at least one', () => {
    expect(construct({ guestAddress: 0, bytes: bytes(16, false, 4) })).toBe('INVALID_REGION');
    expect(construct({ guestAddress: 0, bytes: bytes(16, true, 24) })).toBeUndefined();
    expect(construct({ guestAddress: 0, bytes: bytes(0) })).toBe('INVALID_REGION');
  });

  it('can be none at all', () => {
    const memory = new GuestMemory([]);
    expect(memory.contains(0, 1)).toBe(false);
    expect(memory.findRegion(0)).toBeUndefined();
    expect(codeOf(() => memory.readUint8(0))).toBe('OUT_OF_RANGE');
  });
});

describe.each([
  ['an ArrayBuffer', false],
  ['a SharedArrayBuffer', true],
])('guest memory on %s', (_name, shared) => {
  // Two regions that touch, a gap, and a read-only one.
  const setUp = () => {
    const first = bytes(64, shared, 8);
    const second = bytes(64, shared, 16);
    const rom = bytes(64, shared);
    const memory = new GuestMemory([
      { guestAddress: 0x1000, bytes: first },
      { guestAddress: 0x1040, bytes: second },
      { guestAddress: 0xffff_ff00, bytes: rom, readOnly: true },
    ]);
    return { memory, first, second, rom };
  };

  it('contains a range when every byte is in a region', () => {
    const { memory } = setUp();
    expect(memory.contains(0x1000, 64)).toBe(true);
    expect(memory.contains(0x1000, 128)).toBe(true);
    expect(memory.contains(0x103f, 2)).toBe(true);
    expect(memory.contains(0x1000, 129)).toBe(false);
    expect(memory.contains(0xfff, 2)).toBe(false);
    expect(memory.contains(0xffff_ff00, 64)).toBe(true);
    expect(memory.contains(0x5000, 0)).toBe(true);
    for (const bad of BAD_ADDRESSES) {
      expect(memory.contains(bad, 1)).toBe(false);
      expect(memory.contains(0x1000, bad)).toBe(false);
    }
  });

  it('finds the region of an address, in any order of look-ups', () => {
    const { memory } = setUp();
    const [first, second, rom] = memory.regions;
    for (const round of [0, 1]) {
      expect(memory.findRegion(0x1000 + round)).toBe(first);
      expect(memory.findRegion(0xffff_ff3f)).toBe(rom);
      expect(memory.findRegion(0x103f)).toBe(first);
      expect(memory.findRegion(0x1040)).toBe(second);
      expect(memory.findRegion(0xfff)).toBeUndefined();
      expect(memory.findRegion(0x1080)).toBeUndefined();
      expect(memory.findRegion(NaN)).toBeUndefined();
    }
  });

  it('gives slices that are views of one region', () => {
    const { memory, second } = setUp();
    const slice = memory.slice(0x1044, 4);
    slice.set([1, 2, 3, 4]);
    expect([...second.subarray(4, 8)]).toEqual([1, 2, 3, 4]);
    expect(memory.slice(0x1044, 4).byteOffset).toBe(second.byteOffset + 4);
    expect(codeOf(() => memory.slice(0x103f, 2))).toBe('OUT_OF_RANGE');
    expect(codeOf(() => memory.slice(0x107f, 2))).toBe('OUT_OF_RANGE');
    expect(memory.slice(0x107f, 1)).toHaveLength(1);
    expect(memory.slice(0x9000, 0)).toHaveLength(0);
    for (const bad of BAD_ADDRESSES) {
      expect(codeOf(() => memory.slice(bad, 1))).toBe('INVALID_ARGUMENT');
      expect(codeOf(() => memory.slice(0x1000, bad))).toBe('INVALID_ARGUMENT');
    }
    expect(codeOf(() => memory.slice(0x1000, 2 ** 53 - 1))).toBe('INVALID_ARGUMENT');
  });

  it('gives typed views of aligned addresses', () => {
    const { memory, first } = setUp();
    memory.uint16View(0x1002, 2).set([0x1234, 0x5678]);
    expect([...first.subarray(2, 6)]).toEqual([0x34, 0x12, 0x78, 0x56]);
    memory.uint32View(0x1008, 1)[0] = 0x89abcdef;
    expect(memory.readUint32(0x1008)).toBe(0x89abcdef);
    expect(codeOf(() => memory.uint16View(0x1001, 1))).toBe('MISALIGNED');
    expect(codeOf(() => memory.uint32View(0x1002, 1))).toBe('MISALIGNED');
    expect(codeOf(() => memory.uint32View(0x103c, 2))).toBe('OUT_OF_RANGE');
    for (const bad of [-1, 0.5, NaN, 2 ** 53 - 1]) {
      expect(codeOf(() => memory.uint16View(0x1000, bad))).toBe('INVALID_ARGUMENT');
      expect(codeOf(() => memory.uint32View(0x1000, bad))).toBe('INVALID_ARGUMENT');
    }
  });

  it('reads and writes little-endian numbers at any alignment', () => {
    const { memory, first } = setUp();
    first.set([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x08], 3);
    expect(memory.readUint8(0x1003)).toBe(0x11);
    expect(memory.readUint16(0x1003)).toBe(0x2211);
    expect(memory.readUint32(0x1003)).toBe(0x44332211);
    expect(memory.readBigUint64(0x1003)).toBe(0x0877665544332211n);
    memory.writeUint8(0x1010, 0x1fe);
    memory.writeUint16(0x1011, -2);
    memory.writeUint32(0x1013, 0xdeadbeef);
    memory.writeUint64(0x1017, 0x1f_ffff_ffff_ffff);
    expect([...first.subarray(0x10, 0x1f)]).toEqual([
      0xfe, 0xfe, 0xff, 0xef, 0xbe, 0xad, 0xde, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0,
    ]);
    memory.writeBigUint64(0x1020, 0xfedcba9876543210n);
    expect(memory.readUint32(0x1024)).toBe(0xfedcba98);
  });

  it('reads 64-bit numbers up to 2^53 - 1 and refuses larger ones', () => {
    const { memory } = setUp();
    for (const value of [0, 1, 2 ** 32, 2 ** 32 - 1, Number.MAX_SAFE_INTEGER]) {
      memory.writeUint64(0x1000, value);
      expect(memory.readUint64(0x1000)).toBe(value);
    }
    memory.writeBigUint64(0x1000, 2n ** 53n);
    expect(codeOf(() => memory.readUint64(0x1000))).toBe('VALUE_TOO_LARGE');
    memory.writeBigUint64(0x1000, 2n ** 64n - 1n);
    expect(codeOf(() => memory.readUint64(0x1000))).toBe('VALUE_TOO_LARGE');
    for (const bad of [-1, 0.5, NaN, 2 ** 53]) {
      expect(codeOf(() => memory.writeUint64(0x1000, bad))).toBe('INVALID_ARGUMENT');
    }
    expect(memory.readBigUint64(0x1000)).toBe(2n ** 64n - 1n);
  });

  it('reads and writes across regions that touch', () => {
    const { memory, first, second } = setUp();
    memory.writeUint16(0x103f, 0x2211);
    expect([first[63], second[0]]).toEqual([0x11, 0x22]);
    expect(memory.readUint16(0x103f)).toBe(0x2211);
    memory.writeUint32(0x103e, 0x44332211);
    expect(memory.readUint32(0x103e)).toBe(0x44332211);
    memory.writeUint64(0x1039, 2 ** 52 + 5);
    expect(memory.readUint64(0x1039)).toBe(2 ** 52 + 5);
    memory.writeBigUint64(0x103c, 0x8877665544332211n);
    expect(memory.readBigUint64(0x103c)).toBe(0x8877665544332211n);
    expect([...second.subarray(0, 4)]).toEqual([0x55, 0x66, 0x77, 0x88]);
    memory.write(
      0x1038,
      Uint8Array.from({ length: 16 }, (_, i) => i),
    );
    expect([...first.subarray(56)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...second.subarray(0, 8)]).toEqual([8, 9, 10, 11, 12, 13, 14, 15]);
    const back = new Uint8Array(16);
    memory.read(0x1038, back);
    expect([...back]).toEqual(Array.from({ length: 16 }, (_, i) => i));
    memory.fill(0x103f, 2, 0x1ab);
    expect([first[63], second[0], second[1]]).toEqual([0xab, 0xab, 9]);
  });

  it('writes nothing when part of the range is outside', () => {
    const { memory, second } = setUp();
    const source = new Uint8Array(8).fill(7);
    expect(codeOf(() => memory.write(0x107c, source))).toBe('OUT_OF_RANGE');
    expect(codeOf(() => memory.fill(0x107c, 8, 7))).toBe('OUT_OF_RANGE');
    expect(codeOf(() => memory.writeUint64(0x107c, 7))).toBe('OUT_OF_RANGE');
    expect([...second]).toEqual(Array.from(second, () => 0));
  });

  it('refuses every access outside, and addresses that are none', () => {
    const { memory } = setUp();
    const accesses: ((address: number) => unknown)[] = [
      (a) => memory.readUint8(a),
      (a) => memory.readUint16(a),
      (a) => memory.readUint32(a),
      (a) => memory.readUint64(a),
      (a) => memory.readBigUint64(a),
      (a) => memory.writeUint8(a, 0),
      (a) => memory.writeUint16(a, 0),
      (a) => memory.writeUint32(a, 0),
      (a) => memory.writeUint64(a, 0),
      (a) => memory.writeBigUint64(a, 0n),
      (a) => memory.read(a, new Uint8Array(3)),
      (a) => memory.write(a, new Uint8Array(3)),
      (a) => memory.fill(a, 3, 0),
      (a) => memory.iovecs(a, 3, new Float64Array(8)),
      (a) => memory.atomicLoadUint16(a),
      (a) => memory.atomicStoreUint16(a, 0),
    ];
    for (const access of accesses) {
      expect(codeOf(() => access(0x1080))).toBe('OUT_OF_RANGE');
      expect(codeOf(() => access(0xffff_ff40))).toBe('OUT_OF_RANGE');
      for (const bad of [-2, 4096.5, NaN, Infinity, 2 ** 53]) {
        expect(['INVALID_ARGUMENT', 'MISALIGNED']).toContain(codeOf(() => access(bad)));
      }
    }
  });

  it('keeps read-only regions from all writes', () => {
    const { memory, rom } = setUp();
    const at = 0xffff_ff00;
    for (const write of [
      () => memory.writeUint8(at, 1),
      () => memory.writeUint16(at, 1),
      () => memory.writeUint32(at, 1),
      () => memory.writeUint64(at, 1),
      () => memory.writeBigUint64(at, 1n),
      () => memory.write(at, Uint8Array.of(1)),
      () => memory.fill(at, 4, 1),
      () => memory.atomicStoreUint16(at, 1),
    ]) {
      expect(codeOf(write)).toBe('READ_ONLY');
    }
    expect([...rom]).toEqual(Array.from(rom, () => 0));
    rom[0] = 5;
    expect(memory.readUint8(at)).toBe(5);
  });

  it('writes nothing when the second of two touching regions is read-only', () => {
    const memory = new GuestMemory([
      { guestAddress: 0, bytes: bytes(8, shared) },
      { guestAddress: 8, bytes: bytes(8, shared), readOnly: true },
    ]);
    expect(codeOf(() => memory.write(6, Uint8Array.of(1, 1, 1)))).toBe('READ_ONLY');
    expect(codeOf(() => memory.writeUint32(6, 0x01010101))).toBe('READ_ONLY');
    expect(memory.readUint16(6)).toBe(0);
  });

  it('loads and stores 16-bit ring indices atomically', () => {
    const { memory, first } = setUp();
    memory.atomicStoreUint16(0x1002, 0x1_abcd);
    expect([...first.subarray(2, 4)]).toEqual([0xcd, 0xab]);
    expect(memory.atomicLoadUint16(0x1002)).toBe(0xabcd);
    expect(codeOf(() => memory.atomicLoadUint16(0x1003))).toBe('MISALIGNED');
    expect(codeOf(() => memory.atomicStoreUint16(0x1003, 0))).toBe('MISALIGNED');
  });

  it('packs iovecs as address and length, one for each region', () => {
    const { memory } = setUp();
    const out = new Float64Array(7).fill(-1);
    expect(memory.iovecs(0x1008, 16, out)).toBe(2);
    expect(memory.iovecs(0x1030, 0x20, out, 2)).toBe(6);
    expect([...out]).toEqual([0x1008, 16, 0x1030, 0x10, 0x1040, 0x10, -1]);
    expect(memory.iovecs(0x1000, 0, out, 5)).toBe(5);
    expect(codeOf(() => memory.iovecs(0x1000, 1, out, 6))).toBe('IOVECS_FULL');
    expect(codeOf(() => memory.iovecs(0x1030, 0x20, out, 4))).toBe('IOVECS_FULL');
  });
});

describe('an atomic store', () => {
  it('is seen by another agent together with what was written before it', async () => {
    const { Worker } = await import('node:worker_threads');
    const buffer = new SharedArrayBuffer(64);
    const memory = new GuestMemory([{ guestAddress: 0x8000_0000, bytes: new Uint8Array(buffer) }]);
    // The worker answers, for each index it sees, with the payload that belongs to it.
    const worker = new Worker(
      `const { workerData: buffer, parentPort } = require('node:worker_threads');
       const index = new Uint16Array(buffer), words = new Int32Array(buffer);
       let wrong = 0;
       for (let seen = 0; seen < 20000; ) {
         const now = Atomics.load(index, 0);
         if (now !== seen) {
           if (words[4] < now) wrong++;
           seen = now;
           Atomics.store(words, 8, seen);
           Atomics.notify(words, 8);
         }
       }
       parentPort.postMessage(wrong);`,
      { eval: true, workerData: buffer },
    );
    const wrong = new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    for (let i = 1; i <= 20000; i++) {
      memory.writeUint32(0x8000_0010, i);
      memory.atomicStoreUint16(0x8000_0000, i);
      // Every so often let it catch up, so that it sees many different indices on few processors too.
      if (i % 100 === 0) {
        const words = new Int32Array(buffer);
        for (let seen = Atomics.load(words, 8); seen < i; seen = Atomics.load(words, 8))
          Atomics.wait(words, 8, seen, 10);
      }
    }
    expect(await wrong).toBe(0);
    await worker.terminate();
  });
});
