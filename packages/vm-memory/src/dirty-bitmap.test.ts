import { DIRTY_PAGE_SIZE, GuestMemory, VmMemoryError, type DirtyPages } from './index.ts';

/** Addresses of the dirty pages. */
function dirtyPages(regions: readonly DirtyPages[]): number[] {
  return regions.flatMap(({ guestAddress, pageCount, bits }) =>
    Array.from({ length: pageCount }, (_, page) => page)
      .filter((page) => ((bits[page >>> 5]! >>> (page & 31)) & 1) === 1)
      .map((page) => guestAddress + page * DIRTY_PAGE_SIZE),
  );
}

function setUp(): GuestMemory {
  return new GuestMemory([
    { guestAddress: 0x1_0000, bytes: new Uint8Array(40 * DIRTY_PAGE_SIZE) },
    { guestAddress: 0x8000_0000, bytes: new Uint8Array(2 * DIRTY_PAGE_SIZE) },
  ]);
}

describe('the dirty bitmap', () => {
  it('is absent until it is asked for, and taking it then is an error', () => {
    const memory = setUp();
    memory.writeUint32(0x1_0000, 1);
    memory.markDirty(0x1_0000, 1);
    expect(memory.dirty).toBeUndefined();
    let code: string | undefined;
    try {
      memory.takeDirty();
    } catch (error) {
      if (error instanceof VmMemoryError) code = error.code;
    }
    expect(code).toBe('DIRTY_TRACKING_OFF');
  });

  it('begins with no marks, and stays when asked for again', () => {
    const memory = setUp();
    memory.writeUint32(0x1_0000, 1);
    const bitmap = memory.enableDirtyTracking();
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
    memory.writeUint8(0x1_1000, 1);
    expect(memory.enableDirtyTracking()).toBe(bitmap);
    expect(dirtyPages(memory.takeDirty())).toEqual([0x1_1000]);
  });

  it('is marked by every kind of write', () => {
    const memory = setUp();
    memory.enableDirtyTracking();
    const writes: ((address: number) => void)[] = [
      (a) => memory.writeUint8(a, 1),
      (a) => memory.writeUint16(a, 1),
      (a) => memory.writeUint32(a, 1),
      (a) => memory.writeUint64(a, 1),
      (a) => memory.writeBigUint64(a, 1n),
      (a) => memory.atomicStoreUint16(a, 1),
      (a) => memory.write(a, Uint8Array.of(1)),
      (a) => memory.fill(a, 1, 1),
      (a) => memory.markDirty(a, 1),
    ];
    writes.forEach((write, i) => {
      const page = 0x1_0000 + (i + 1) * DIRTY_PAGE_SIZE;
      write(page + 16);
      expect(dirtyPages(memory.takeDirty())).toEqual([page]);
    });
  });

  it('is not marked by reads or refused writes', () => {
    const memory = setUp();
    memory.enableDirtyTracking();
    memory.readUint32(0x1_0000);
    memory.read(0x1_0000, new Uint8Array(64));
    memory.slice(0x1_0000, 64);
    expect(() => memory.write(0x8000_1ffc, new Uint8Array(8))).toThrow(VmMemoryError);
    expect(() => memory.writeUint64(0x8000_1ffc, 1)).toThrow(VmMemoryError);
    memory.write(0x1_0800, new Uint8Array(0));
    memory.fill(0x1_0800, 0, 1);
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
  });

  it('has exactly the pages of a range that begins and ends anywhere in a word', () => {
    const pages = 130;
    const memory = new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(pages * DIRTY_PAGE_SIZE) }]);
    memory.enableDirtyTracking();
    for (const from of [0, 1, 30, 31, 32, 33, 63, 64, 100]) {
      for (const last of [from, from + 1, 31, 32, 63, 64, 95, 96, 97, 127, 128, 129]) {
        if (last < from) continue;
        memory.markDirty(from * DIRTY_PAGE_SIZE, (last - from + 1) * DIRTY_PAGE_SIZE);
        const marked = dirtyPages(memory.takeDirty());
        expect(marked).toEqual(
          Array.from({ length: last - from + 1 }, (_, i) => (from + i) * DIRTY_PAGE_SIZE),
        );
      }
    }
  });

  it('has every page that a range touches, and clears when taken', () => {
    const memory = setUp();
    const bitmap = memory.enableDirtyTracking();
    memory.fill(0x1_1fff, DIRTY_PAGE_SIZE + 2, 1);
    expect(bitmap.isDirty(0x1_1000)).toBe(true);
    expect(bitmap.isDirty(0x1_4000)).toBe(false);
    expect(bitmap.isDirty(0x7000_0000)).toBe(false);
    expect(dirtyPages(memory.takeDirty())).toEqual([0x1_1000, 0x1_2000, 0x1_3000]);
    expect(bitmap.isDirty(0x1_1000)).toBe(false);
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
  });

  it('has the 32nd and later pages in later words', () => {
    const memory = setUp();
    memory.enableDirtyTracking();
    memory.writeUint8(0x1_0000 + 31 * DIRTY_PAGE_SIZE, 1);
    memory.writeUint8(0x1_0000 + 39 * DIRTY_PAGE_SIZE, 1);
    const [first] = memory.takeDirty();
    expect([...first!.bits]).toEqual([0x8000_0000, 1 << 7]);
    expect(first!.pageCount).toBe(40);
  });

  it('counts pages by guest address when a region begins inside one', () => {
    const memory = new GuestMemory([
      { guestAddress: 0x1ff8, bytes: new Uint8Array(16) },
      { guestAddress: 0x2008, bytes: new Uint8Array(8) },
    ]);
    memory.enableDirtyTracking();
    memory.write(0x1fff, new Uint8Array(17));
    const pages = memory.takeDirty();
    expect(pages.map(({ guestAddress, pageCount }) => [guestAddress, pageCount])).toEqual([
      [0x1000, 2],
      [0x2000, 1],
    ]);
    expect(dirtyPages(pages)).toEqual([0x1000, 0x2000, 0x2000]);
  });

  it('passes over parts of a range outside all regions', () => {
    const memory = setUp();
    memory.enableDirtyTracking();
    memory.markDirty(0x8000_1fff, 10 * DIRTY_PAGE_SIZE);
    memory.markDirty(0, 2 ** 52);
    expect(dirtyPages(memory.takeDirty())).toHaveLength(42);
    memory.markDirty(0, 0x1_0000);
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
  });

  it('takes in what somebody else noted', () => {
    const memory = setUp();
    const bitmap = memory.enableDirtyTracking();
    memory.writeUint8(0x1_1000, 1);
    bitmap.merge(0x1_0000, Uint32Array.of(0x8000_0001, 0xffff_ff80));
    bitmap.merge(0x8000_0000, Uint32Array.of(2));
    expect(dirtyPages(memory.takeDirty())).toEqual([0x1_0000, 0x1_1000, 0x2_f000, 0x3_7000, 0x8000_1000]);
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
  });

  it.each([
    [0x1_0000, 1],
    [0x1_0000, 3],
    [0x1_1000, 2],
    [0x7000_0000, 2],
    [0.5, 2],
  ])('takes in no bitmap of no region: %d, %d words', (address, words) => {
    const bitmap = setUp().enableDirtyTracking();
    expect(() => bitmap.merge(address, new Uint32Array(words))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('goes away when tracking is turned off', () => {
    const memory = setUp();
    memory.enableDirtyTracking();
    memory.disableDirtyTracking();
    expect(memory.dirty).toBeUndefined();
    memory.writeUint8(0x1_0000, 1);
    memory.enableDirtyTracking();
    expect(dirtyPages(memory.takeDirty())).toEqual([]);
  });
});
