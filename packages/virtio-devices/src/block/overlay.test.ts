import fc from 'fast-check';
import { pattern, ranges, TestDisk } from '../../test/block/test-disk.ts';
import type { BlockBatch } from './batch.ts';
import * as blk from './constants.ts';
import { MemoryBlockBackend } from './memory-backend.ts';
import { OverlayBlockBackend } from './overlay-backend.ts';
import { MemoryOverlayStore } from './overlay-store.ts';
import { BITMAP_PAGE_BYTES, SectorBitmap, type BitmapPage } from './sector-bitmap.ts';

const SECTORS = 300;

it('reads what was never written from the base, and the rest from the overlay; the base stays as it is', async () => {
  const base = new MemoryBlockBackend(pattern(SECTORS * 512));
  const before = base.bytes.slice();
  const overlay = new OverlayBlockBackend(base);
  const disk = new TestDisk(overlay);
  await disk.write(1, new Uint8Array(512).fill(0xee));
  await disk.write(4, new Uint8Array(1024).fill(0xdd));
  const read = await disk.read(0, 8);
  const expected = before.slice(0, 8 * 512);
  expected.fill(0xee, 512, 1024);
  expected.fill(0xdd, 4 * 512, 6 * 512);
  expect(read).toEqual(expected);
  expect(Buffer.compare(base.bytes, before)).toBe(0);
  expect(overlay.writtenBytes).toBe(3 * 512);
});

it('discarded and zeroed ranges read as zeroes', async () => {
  const disk = new TestDisk(new OverlayBlockBackend(new MemoryBlockBackend(pattern(SECTORS * 512))));
  await disk.write(3, new Uint8Array(512).fill(1));
  expect((await disk.request(blk.VIRTIO_BLK_T_DISCARD, 0, ranges([2, 200, 0]))).status).toBe(0);
  expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([250, 1, 0]))).status).toBe(0);
  expect((await disk.read(2, 64)).every((byte) => byte === 0)).toBe(true);
  expect((await disk.read(250)).every((byte) => byte === 0)).toBe(true);
  expect(await disk.read(1)).toEqual(pattern(SECTORS * 512).slice(512, 1024));
});

it('any sequence of requests reads as the same writes to an array do', async () => {
  const request = fc.record({
    kind: fc.constantFrom('read', 'write', 'zero', 'discard', 'flush'),
    sector: fc.nat(SECTORS - 1),
    count: fc.integer({ min: 1, max: 150 }),
    seed: fc.nat(255),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 15 }), async (requests) => {
      const base = new MemoryBlockBackend(pattern(SECTORS * 512));
      const model = base.bytes.slice();
      const untouched = base.bytes.slice();
      const disk = new TestDisk(new OverlayBlockBackend(base));
      for (const { kind, sector, count: wanted, seed } of requests) {
        const count = Math.min(wanted, SECTORS - sector);
        const [from, to] = [sector * 512, (sector + count) * 512];
        if (kind === 'read')
          expect(Buffer.compare(await disk.read(sector, count), model.subarray(from, to))).toBe(0);
        else if (kind === 'write') {
          const data = pattern(count * 512, seed);
          await disk.write(sector, data);
          model.set(data, from);
        } else if (kind === 'flush') await disk.flush();
        else {
          const type = kind === 'zero' ? blk.VIRTIO_BLK_T_WRITE_ZEROES : blk.VIRTIO_BLK_T_DISCARD;
          expect((await disk.request(type, 0, ranges([sector, count, 0]))).status).toBe(0);
          model.fill(0, from, to);
        }
      }
      for (let sector = 0; sector < SECTORS; sector += 100) {
        const expected = model.subarray(sector * 512, (sector + 100) * 512);
        expect(Buffer.compare(await disk.read(sector, 100), expected)).toBe(0);
      }
      expect(Buffer.compare(base.bytes, untouched)).toBe(0);
    }),
    { numRuns: 60 },
  );
});

/** Fails when told to, and logs what is made durable. */
class FailingStore extends MemoryOverlayStore {
  failing = false;
  readonly persisted: number[] = [];

  override submit(batch: BlockBatch): void {
    if (this.failing) throw new Error('no space');
    super.submit(batch);
  }

  override persist(pages: readonly BitmapPage[] = []): void {
    if (this.failing) throw new Error('no space');
    this.persisted.push(pages.length);
  }
}

it('a write that fails leaves the sector with the base', async () => {
  const store = new FailingStore(SECTORS * 512);
  const disk = new TestDisk(
    new OverlayBlockBackend(new MemoryBlockBackend(pattern(SECTORS * 512)), { store }),
  );
  store.failing = true;
  expect((await disk.request(blk.VIRTIO_BLK_T_OUT, 0, new Uint8Array(512))).status).toBe(
    blk.VIRTIO_BLK_S_IOERR,
  );
  store.failing = false;
  expect(await disk.read(0)).toEqual(pattern(512));
});

it('a page of the bitmap is stored once, and again after a flush that failed', async () => {
  const store = new FailingStore(SECTORS * 512);
  const disk = new TestDisk(new OverlayBlockBackend(new MemoryBlockBackend(SECTORS * 512), { store }));
  await disk.write(0, pattern(512));
  store.failing = true;
  expect((await disk.request(blk.VIRTIO_BLK_T_FLUSH, 0)).status).toBe(blk.VIRTIO_BLK_S_IOERR);
  store.failing = false;
  await disk.flush();
  await disk.flush();
  expect(store.persisted).toEqual([1, 0]);
});

it('refuses a store for a disk of another size', () => {
  expect(
    () => new OverlayBlockBackend(new MemoryBlockBackend(1024), { store: new MemoryOverlayStore(512) }),
  ).toThrow(expect.objectContaining({ code: 'INVALID_SIZE' }));
});

describe('the bitmap', () => {
  const PAGE = BITMAP_PAGE_BYTES * 8;

  it('has runs as a set of numbers has them, across pages', () => {
    const ranges = fc.array(fc.record({ from: fc.nat(PAGE + 100), count: fc.integer({ min: 1, max: 40 }) }), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(ranges, fc.nat(PAGE + 100), (list, start) => {
        const bitmap = new SectorBitmap();
        const model = new Set<number>();
        for (const { from, count } of list) {
          bitmap.set(from, count);
          for (let at = from; at < from + count; at++) model.add(at);
        }
        expect(bitmap.count).toBe(model.size);
        const value = bitmap.has(start);
        expect(value).toBe(model.has(start));
        const end = start + 200;
        let expected = start;
        while (expected < end && model.has(expected) === value) expected++;
        expect(bitmap.endOfRun(start, end, value)).toBe(expected);
      }),
    );
  });

  it('gives changed pages as they were then, and takes them over again', () => {
    const bitmap = new SectorBitmap();
    bitmap.set(PAGE - 1, 2);
    const pages = bitmap.takeDirty();
    expect(pages.map(({ index }) => index).sort()).toEqual([0, 1]);
    expect(bitmap.takeDirty()).toEqual([]);
    bitmap.set(5, 1);
    const other = new SectorBitmap();
    for (const page of pages) other.load(page);
    expect([other.has(PAGE - 1), other.has(PAGE), other.has(5), other.count]).toEqual([true, true, false, 2]);
  });
});
