import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { GuestMemory } from '@vmm/vm-memory';
import fc from 'fast-check';
import { pattern as bytes, ranges, TestDisk } from '../../test/block/test-disk.ts';
import { VirtioBlock } from '../block/block.ts';
import * as blk from '../block/constants.ts';
import { MockMmioDriver } from '../mock/index.ts';
import { FileBlockBackend } from './file-backend.ts';
import type { FileBlockIo } from './open-file-io.ts';

const EVERY_IO: readonly FileBlockIo[] = ['auto', 'io_uring', 'threads', 'portable'];

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'file-backend-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

function image(content: Uint8Array, name = 'disk.img'): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const pattern = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i ^ (i >> 8)) & 0xff);

describe('opening an image', () => {
  it('takes a file of whole sectors', () => {
    using backend = new FileBlockBackend(image(new Uint8Array(1536)));
    expect([backend.sizeBytes, backend.readOnly]).toEqual([1536, false]);
  });

  it.each([
    ['is missing', 'NOT_FOUND', 'does not exist', (): string => join(directory, 'missing.img')],
    ['is below a file', 'NOT_FOUND', 'does not exist', (): string => join(image(new Uint8Array(512)), 'x')],
    ['is a directory', 'NOT_A_FILE', 'is a directory', (): string => directory],
    ['is empty', 'INVALID_SIZE', 'is empty', (): string => image(new Uint8Array(0), 'empty.img')],
    [
      'ends within a sector',
      'INVALID_SIZE',
      'has 1000 bytes',
      (): string => image(new Uint8Array(1000), 'odd.img'),
    ],
    ['is a character device', 'NOT_A_FILE', 'no regular file', (): string => '/dev/null'],
    [
      'is a FIFO, without waiting for its other end',
      'NOT_A_FILE',
      'no regular file',
      (): string => {
        const path = join(directory, 'fifo');
        execFileSync('mkfifo', [path]);
        return path;
      },
    ],
  ])('refuses one that %s', (_what, code, text, path) => {
    const at = path();
    let caught: unknown;
    try {
      new FileBlockBackend(at);
    } catch (error) {
      caught = error;
    }
    expect(caught).toMatchObject({ code, message: expect.stringContaining(text) as string });
    expect((caught as Error).message).toContain(at);
  });

  it('read-only takes no writes', () => {
    using backend = new FileBlockBackend(image(new Uint8Array(512)), { readOnly: true });
    expect(new VirtioBlock({ backend }).readOnly).toBe(true);
  });
});

describe.each([
  ['private', (): Uint8Array => new Uint8Array(512 * 1024)],
  ['shared', (): Uint8Array => new Uint8Array(new SharedArrayBuffer(512 * 1024))],
])('with %s guest memory', (kind, allocate) => {
  it.each(EVERY_IO)(
    'any split of any request by io %s leaves the file as the same writes to an array do',
    async (io) => {
      const sectors = 40;
      const request = fc.record({
        write: fc.boolean(),
        sector: fc.nat(sectors + 2),
        count: fc.integer({ min: 0, max: 8 }),
        cuts: fc.array(fc.nat(4096), { maxLength: 5 }),
        seed: fc.nat(255),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(request, { maxLength: 12 }), async (requests) => {
          const model = pattern(sectors * 512);
          const path = image(model, `disk-${io}-${kind}.img`);
          using backend = new FileBlockBackend(path, { io });
          expect(backend.io).toBe(io === 'auto' ? backend.io : io);
          const disk = new TestDisk(backend, {
            memory: new GuestMemory([{ guestAddress: 0x4000_0000, bytes: allocate() }]),
          });
          const ring = disk.driver.rings[0]!;
          for (const { write, sector, count, cuts, seed } of requests) {
            const size = count * 512;
            const inside = (sector + count) * 512 <= model.length;
            const borders = [0, ...cuts.map((cut) => Math.min(cut, size)).sort((a, b) => a - b), size];
            const parts = borders
              .slice(1)
              .map((end, at) => ({ from: borders[at]!, size: end - borders[at]! }));
            const head = new Uint8Array(16);
            head[0] = write ? 1 : 0;
            head[8] = sector;
            const data = new Uint8Array(size).map((_, i) => i + seed);
            ring.add([
              { readable: head },
              ...parts
                .filter((part) => part.size > 0)
                .map((part) =>
                  write
                    ? { readable: data.subarray(part.from, part.from + part.size) }
                    : { writable: part.size },
                ),
              { writable: 1 },
            ]);
            disk.kick();
            let used = ring.collect();
            while (used.length === 0) {
              await new Promise((resolve) => setImmediate(resolve));
              used = ring.collect();
            }
            const { written } = used[0]!;
            if (inside && write) model.set(data, sector * 512);
            if (inside && !write) {
              const expected = model.subarray(sector * 512, sector * 512 + size);
              expect(Buffer.compare(written.subarray(0, size), expected)).toBe(0);
              expect(written[size]).toBe(0);
            } else if (write) expect([...written]).toEqual([inside ? 0 : 1]);
          }
          expect(Buffer.compare(readFileSync(path), model)).toBe(0);
        }),
        { numRuns: 25 },
      );
    },
  );
});

describe.each(EVERY_IO.filter((io) => io !== 'portable'))('discard and write zeroes by io %s', (io) => {
  it('zero the range, and give its storage back if they may', async () => {
    const path = image(bytes(256 * 1024), `zeroes-${io}.img`);
    const blocks = (): number => statSync(path).blocks;
    using backend = new FileBlockBackend(path, { io });
    const disk = new TestDisk(backend);
    const before = blocks();
    expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([0, 64, 0]))).status).toBe(0);
    expect(
      readFileSync(path)
        .subarray(0, 64 * 512)
        .every((byte) => byte === 0),
    ).toBe(true);
    expect(blocks()).toBe(before);
    expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([0, 64, 1]))).status).toBe(0);
    expect((await disk.request(blk.VIRTIO_BLK_T_DISCARD, 0, ranges([128, 64, 0]))).status).toBe(0);
    expect(blocks()).toBeLessThan(before);
    const after = readFileSync(path);
    expect(after.length).toBe(256 * 1024);
    expect(
      Buffer.compare(after.subarray(64 * 512, 128 * 512), bytes(256 * 1024).subarray(64 * 512, 128 * 512)),
    ).toBe(0);
    expect(after.subarray(128 * 512, 192 * 512).every((byte) => byte === 0)).toBe(true);
  });

  it('many requests at a time are all answered, each with its own data', async () => {
    const path = image(bytes(512 * 1024), `many-${io}.img`);
    using backend = new FileBlockBackend(path, { io });
    const disk = new TestDisk(backend, { queueSize: 256 }, { queueSize: 256 });
    const content = bytes(512 * 1024);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 80; i++) disk.add(blk.VIRTIO_BLK_T_IN, i * 4, undefined, 2048);
      disk.kick();
      const answers = await disk.answers(80);
      const found = answers.map(({ status, data }) => status === 0 && data.length === 2048);
      expect(found.every(Boolean)).toBe(true);
      const all = new Set(answers.map(({ data }) => Buffer.from(data).toString('latin1')));
      for (let i = 0; i < 80; i++) {
        expect(all.has(Buffer.from(content.subarray(i * 2048, (i + 1) * 2048)).toString('latin1'))).toBe(
          true,
        );
      }
    }
  });
});

it('is sparse on a file system without fallocate modes: zeroes are written instead', async () => {
  const path = `/dev/shm/vmm-zeroes-${process.pid}.img`;
  writeFileSync(path, bytes(64 * 1024));
  try {
    using backend = new FileBlockBackend(path);
    const disk = new TestDisk(backend);
    expect((await disk.request(blk.VIRTIO_BLK_T_WRITE_ZEROES, 0, ranges([1, 100, 0]))).status).toBe(0);
    const after = readFileSync(path);
    expect(after.subarray(512, 101 * 512).every((byte) => byte === 0)).toBe(true);
    expect(Buffer.compare(after.subarray(101 * 512), bytes(64 * 1024).subarray(101 * 512))).toBe(0);
  } finally {
    rmSync(path);
  }
});

it('what the page cache has lost is read all the same', async () => {
  const content = bytes(512 * 1024);
  const path = image(content, 'uncached.img');
  using backend = new FileBlockBackend(path);
  const disk = new TestDisk(backend);
  // Drops the file's pages where the file system is not memory itself.
  execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
  for (let sector = 0; sector < 1024; sector += 256) {
    const expected = content.subarray(sector * 512, (sector + 64) * 512);
    expect(Buffer.compare(await disk.read(sector, 64), expected)).toBe(0);
  }
});

describe('locks', () => {
  it('a file that is written has one user, one that is read any number', () => {
    const path = image(new Uint8Array(512), 'locked.img');
    const refused = expect.objectContaining({ code: 'LOCKED' });
    {
      using writer = new FileBlockBackend(path);
      expect(() => new FileBlockBackend(path)).toThrow(refused);
      expect(() => new FileBlockBackend(path, { readOnly: true })).toThrow(refused);
      using unlocked = new FileBlockBackend(path, { lock: false });
      expect([writer.sizeBytes, unlocked.sizeBytes]).toEqual([512, 512]);
    }
    using reader = new FileBlockBackend(path, { readOnly: true });
    using other = new FileBlockBackend(path, { readOnly: true });
    expect([reader.readOnly, other.readOnly]).toEqual([true, true]);
    expect(() => new FileBlockBackend(path)).toThrow(refused);
  });
});

it('refuses an unknown way of input and output', () => {
  expect(() => new FileBlockBackend(image(new Uint8Array(512)), { io: 'fast' as FileBlockIo })).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }),
  );
});

describe('durability', () => {
  it('a flush that arrives while one runs waits for another, and several share it', async () => {
    const backend = new FileBlockBackend(image(new Uint8Array(512)));
    const order: string[] = [];
    const first = backend.flush().then(() => order.push('first'));
    const second = backend.flush().then(() => order.push('second'));
    const third = backend.flush();
    expect(backend.flush()).toBe(third);
    await Promise.all([first, second, third]);
    expect(order).toEqual(['first', 'second']);
    await backend.close();
  });

  it('what was written is in the file when the request is answered', async () => {
    const path = image(new Uint8Array(1024));
    using backend = new FileBlockBackend(path);
    const driver = new MockMmioDriver(new VirtioBlock({ backend })).start();
    const head = new Uint8Array(16);
    head[0] = 1;
    head[8] = 1;
    driver.rings[0]!.add([{ readable: head }, { readable: pattern(512) }, { writable: 1 }]);
    driver.kick(0);
    while (driver.rings[0]!.collect().length === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(new Uint8Array(readFileSync(path).subarray(512))).toEqual(pattern(512));
  });

  it('close() waits for a flush that runs; afterwards everything fails', async () => {
    const backend = new FileBlockBackend(image(new Uint8Array(512)));
    let flushed = false;
    void backend.flush().then(() => (flushed = true));
    await backend.close();
    await backend.close();
    expect(flushed).toBe(true);
    await expect(backend.flush()).rejects.toMatchObject({ code: 'WRONG_STATE' });
  });
});

it.each(EVERY_IO)(
  'a file that is cut while in use gives IOERR, and the host hears why: io %s',
  async (io) => {
    const path = image(new Uint8Array(4096), `cut-${io}.img`);
    using backend = new FileBlockBackend(path, { io });
    const disk = new TestDisk(backend);
    truncateSync(path, 1024);
    disk.add(blk.VIRTIO_BLK_T_IN, 4, undefined, 512);
    disk.kick();
    await disk.answers(1);
    expect(disk.device.statistics.errors).toBe(1);
    expect(disk.errors[0]).toContain('was cut while in use');
  },
);

it('releases the file when it refuses it', () => {
  const before = openSync(image(new Uint8Array(512)), 'r');
  closeSync(before);
  for (let i = 0; i < 5; i++)
    expect(() => new FileBlockBackend(image(new Uint8Array(100), 'odd.img'))).toThrow();
  const after = openSync(image(new Uint8Array(512)), 'r');
  closeSync(after);
  expect(after).toBe(before);
  mkdirSync(join(directory, 'sub'));
});
