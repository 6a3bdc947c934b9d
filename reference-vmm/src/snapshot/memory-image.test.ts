import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestMemory } from '@vmm/vm-memory';
import {
  type MemoryImage,
  PIECE_BYTES,
  digestMemory,
  regionsOf,
  runs,
  layPages,
  pageParts,
  verifyMemory,
  wholeParts,
  writeMemory,
  writePages,
} from './memory-image.ts';
import { type PageSets, hasPage, noPages } from './pages.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const altered = expect.objectContaining({ code: 'INVALID_SNAPSHOT' }) as unknown;

/** Two regions, the first on shared memory, which the software hypervisor has. */
function memoryOf(): GuestMemory {
  return new GuestMemory([
    { guestAddress: 0x4000_0000, bytes: new Uint8Array(new SharedArrayBuffer(5 * MIB + 4096)) },
    { guestAddress: 0x8000_0000, bytes: new Uint8Array(3 * MIB) },
  ]);
}

describe('memory images', () => {
  let folder: string;
  let path: string;
  let file: FileHandle;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'memory-image-'));
    path = join(folder, 'memory.bin');
    file = await open(path, 'w+');
  });
  afterEach(async () => {
    await file.close();
    rmSync(folder, { recursive: true });
  });

  async function write(memory: GuestMemory): Promise<MemoryImage> {
    const present = await writeMemory(file, memory, { signal: never });
    const parts = wholeParts(regionsOf(memory));
    return { parts, digests: await digestMemory(file, parts, present, never) };
  }

  function filled(): GuestMemory {
    const memory = memoryOf();
    memory.writeUint32(0x4000_0000, 0x1234_5678);
    memory.writeUint32(0x4000_0000 + PIECE_BYTES + 0x3_0000, 1);
    memory.writeUint32(0x4000_0000 + 5 * MIB, 2);
    memory.writeUint32(0x8000_0000 + 3 * MIB - 4, 0xffff_ffff);
    return memory;
  }

  it('give memory back as it was, and leave holes for zeros', async () => {
    const memory = filled();
    const image = await write(memory);
    expect(image.digests.map((digest) => digest !== null)).toEqual([true, true, true, false, true]);
    expect(statSync(path).size).toBe(8 * MIB + 4096);
    expect(statSync(path).blocks * 512).toBeLessThan(MIB);
    const written = readFileSync(path);
    expect(Buffer.compare(written, Buffer.concat(memory.regions.map(({ bytes }) => bytes)))).toBe(0);
    await verifyMemory(file, image, never);
  });

  it.each([
    ['a bit', 5, 1],
    ['a hole', 4 * MIB + 100, 1],
    ['the last byte', 8 * MIB + 4095, 0],
  ])('%s that was altered is noticed', async (_, position, value) => {
    const image = await write(filled());
    await file.write(Uint8Array.of(value), 0, 1, position);
    await expect(verifyMemory(file, image, never)).rejects.toEqual(altered);
  });

  it('a file that was cut is noticed', async () => {
    const image = await write(filled());
    truncateSync(path, 8 * MIB);
    await expect(verifyMemory(file, image, never)).rejects.toEqual(altered);
  });

  it('an aborted write ends with the reason', async () => {
    const reason = new Error('enough');
    await expect(writeMemory(file, filled(), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  /** Pages of the first region by number, and of the second one. */
  function pagesOf(first: readonly number[], second: readonly number[]): PageSets {
    const pages = noPages(wholeParts(regionsOf(memoryOf())));
    for (const [region, numbers] of [first, second].entries())
      for (const page of numbers) pages[region]![page >>> 5]! |= 1 << (page & 31);
    return pages;
  }

  it('pages go into a file one behind the other, and back over another memory', async () => {
    const memory = memoryOf();
    for (const { bytes } of memory.regions)
      for (let at = 0; at < bytes.length; at += 4096) bytes[at + 1] = 1 + ((at / 4096) % 255);
    memory.fill(0x4000_0000 + 5 * 4096, 4096, 0);
    // More than a piece of them, one that is zero, and the last ones.
    const first = Array.from({ length: 700 }, (_, index) => index + (index > 300 ? 200 : 0));
    const pages = pagesOf([...first, 1280], [0, 767]);
    let told = 0;
    const present = await writePages(file, memory, pages, { signal: never, onBytes: (n) => (told += n) });
    expect(statSync(path).size).toBe(703 * 4096);
    expect(told).toBe(703 * 4096);
    const image = {
      parts: pageParts(pages),
      digests: await digestMemory(file, pageParts(pages), present, never),
    };
    await verifyMemory(file, image, never);
    const other = memoryOf();
    for (const { bytes } of other.regions) bytes.fill(0xee);
    const covered = pagesOf([1], [767]);
    for (const digests of [image.digests, undefined]) {
      await layPages(file, other, pages, covered, digests, never);
      for (const [region, { bytes }] of other.regions.entries()) {
        const source = memory.regions[region]!.bytes;
        for (let offset = 0; offset < bytes.length; offset += 4096) {
          const laid = hasPage(pages, { region, offset }) && !hasPage(covered, { region, offset });
          const expected = laid ? source.subarray(offset, offset + 4096) : new Uint8Array(4096).fill(0xee);
          if (Buffer.compare(bytes.subarray(offset, offset + 4096), expected) !== 0)
            throw new Error(`page at ${offset} of region ${region}`);
        }
      }
    }
    await file.write(Uint8Array.of(9), 0, 1, 700 * 4096);
    await expect(layPages(file, other, pages, covered, image.digests, never)).rejects.toEqual(altered);
  });

  it('pages are written in runs; small holes are written too', () => {
    const bytes = Buffer.alloc(64 * 4096);
    expect([...runs(bytes)]).toEqual([]);
    bytes[4096] = 1;
    bytes[5 * 4096 + 7] = 1;
    bytes[40 * 4096] = 1;
    bytes[64 * 4096 - 1] = 1;
    expect([...runs(bytes)]).toEqual([
      [4096, 6 * 4096],
      [40 * 4096, 41 * 4096],
      [63 * 4096, 64 * 4096],
    ]);
  });
});
