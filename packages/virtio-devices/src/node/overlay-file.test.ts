import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pattern, ranges, TestDisk } from '../../test/block/test-disk.ts';
import * as blk from '../block/constants.ts';
import { MemoryBlockBackend } from '../block/memory-backend.ts';
import { OverlayBlockBackend } from '../block/overlay-backend.ts';
import { FileBlockBackend } from './file-backend.ts';
import type { FileBlockIo } from './open-file-io.ts';
import { OverlayFile } from './overlay-file.ts';

const SECTORS = 1000;
const sizeBytes = SECTORS * 512;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'overlay-file-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

let number = 0;
const newPath = (): string => join(folder, `overlay-${number++}`);

function open(path: string, io: FileBlockIo = 'auto'): { overlay: OverlayBlockBackend; disk: TestDisk } {
  const base = new MemoryBlockBackend(pattern(sizeBytes), { readOnly: true });
  const overlay = new OverlayBlockBackend(base, { store: OverlayFile.open(path, { sizeBytes, io }) });
  return { overlay, disk: new TestDisk(overlay) };
}

describe.each<FileBlockIo>(['auto', 'io_uring', 'portable'])('with io %s', (io) => {
  it('what was written is there when the overlay is opened again', async () => {
    const path = newPath();
    const first = open(path, io);
    await first.disk.write(7, new Uint8Array(1024).fill(0xab));
    await first.overlay.close();
    const second = open(path, io);
    expect(second.overlay.writtenBytes).toBe(1024);
    const expected = pattern(sizeBytes).slice(6 * 512, 10 * 512);
    expected.fill(0xab, 512, 1536);
    expect(await second.disk.read(6, 4)).toEqual(expected);
    await second.overlay.close();
  });

  it('what a crash leaves at any time is what the last flush left, or a later write', async () => {
    const write = fc.record({
      sector: fc.nat(SECTORS - 21),
      count: fc.integer({ min: 1, max: 20 }),
      seed: fc.nat(255),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(write, { minLength: 1, maxLength: 6 }),
        fc.nat(5),
        async (writes, flushAfter) => {
          const path = newPath();
          const { overlay, disk } = open(path, io);
          const flushed = pattern(sizeBytes);
          let latest = flushed.slice();
          for (const [i, { sector, count, seed }] of writes.entries()) {
            const data = pattern(count * 512, seed);
            await disk.write(sector, data);
            latest = latest.slice();
            latest.set(data, sector * 512);
            if (i === flushAfter % writes.length) {
              await disk.flush();
              flushed.set(latest);
            }
          }
          const crashed = `${path}-crashed`;
          copyFileSync(path, crashed);
          await overlay.close();
          const after = open(crashed, io);
          for (let sector = 0; sector < SECTORS; sector += 50) {
            const data = await after.disk.read(sector, 50);
            for (let at = 0; at < 50 * 512; at += 512) {
              const found = Buffer.from(data.subarray(at, at + 512));
              const from = sector * 512 + at;
              const isFlushed = found.equals(flushed.subarray(from, from + 512));
              const isLatest = found.equals(latest.subarray(from, from + 512));
              const isBetween = writes.some(
                ({ sector: first, count, seed }) =>
                  from >= first * 512 &&
                  from < (first + count) * 512 &&
                  found.equals(
                    pattern(count * 512, seed).subarray(from - first * 512, from - first * 512 + 512),
                  ),
              );
              expect(isFlushed || isLatest || isBetween).toBe(true);
            }
          }
          await after.overlay.close();
          rmSync(path);
          rmSync(crashed);
        },
      ),
      { numRuns: 10 },
    );
  });
});

it('takes room only for what was written, and zeroes cost none', async () => {
  const path = newPath();
  const { overlay, disk } = open(path);
  await disk.write(0, pattern(512));
  expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([100, 800, 1]))).status).toBe(0);
  await disk.flush();
  expect((await disk.read(100, 64)).every((byte) => byte === 0)).toBe(true);
  expect(statSync(path).blocks * 512).toBeLessThan(64 * 1024);
  await overlay.close();
});

it('leaves the file of the base as it is', async () => {
  const path = join(folder, 'base.img');
  writeFileSync(path, pattern(sizeBytes));
  const sum = (): string => createHash('sha256').update(readFileSync(path)).digest('hex');
  const before = sum();
  const overlay = new OverlayBlockBackend(new FileBlockBackend(path, { readOnly: true }), {
    store: OverlayFile.open(newPath(), { sizeBytes }),
  });
  const disk = new TestDisk(overlay);
  for (let sector = 0; sector < SECTORS; sector += 3)
    await disk.write(sector, new Uint8Array(512).fill(sector));
  await disk.flush();
  await overlay.close();
  expect(sum()).toBe(before);
});

it('is used once at a time', async () => {
  const path = newPath();
  const { overlay } = open(path);
  expect(() => open(path)).toThrow(expect.objectContaining({ code: 'LOCKED' }));
  await overlay.close();
});

describe('refuses', () => {
  it.each<[string, (path: string) => void | Promise<void>, string]>([
    ['a file that is something else', (path) => writeFileSync(path, new Uint8Array(8192)), 'NOT_AN_OVERLAY'],
    ['an empty file', (path) => writeFileSync(path, ''), 'NOT_AN_OVERLAY'],
    [
      'an overlay for another size',
      (path) => OverlayFile.open(path, { sizeBytes: 512 }).close(),
      'INVALID_SIZE',
    ],
    [
      'another version',
      async (path): Promise<void> => {
        await OverlayFile.open(path, { sizeBytes }).close();
        const bytes = readFileSync(path);
        bytes[8] = 2;
        writeFileSync(path, bytes);
      },
      'NOT_AN_OVERLAY',
    ],
    [
      'a file that was cut within its bitmap',
      async (path): Promise<void> => {
        await OverlayFile.open(path, { sizeBytes }).close();
        truncateSync(path, 4096 + 512);
      },
      'NOT_AN_OVERLAY',
    ],
  ])('%s', async (_what, make, code) => {
    const path = newPath();
    await make(path);
    expect(() => open(path)).toThrow(expect.objectContaining({ code }));
  });
});
