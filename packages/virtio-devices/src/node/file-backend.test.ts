import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { GuestMemory } from '@vmm/vm-memory';
import fc from 'fast-check';
import { VirtioBlock } from '../block/block.ts';
import { MockMmioDriver } from '../mock/index.ts';
import { FileBlockBackend } from './file-backend.ts';

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
])('with %s guest memory', (_kind, allocate) => {
  it('any split of any request leaves the file as the same writes to an array do', () => {
    const sectors = 40;
    const request = fc.record({
      write: fc.boolean(),
      sector: fc.nat(sectors + 2),
      count: fc.integer({ min: 0, max: 8 }),
      cuts: fc.array(fc.nat(4096), { maxLength: 5 }),
      seed: fc.nat(255),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 12 }), (requests) => {
        const model = pattern(sectors * 512);
        const path = image(model);
        using backend = new FileBlockBackend(path);
        const driver = new MockMmioDriver(new VirtioBlock({ backend }), {
          memory: new GuestMemory([{ guestAddress: 0x4000_0000, bytes: allocate() }]),
        }).start();
        const ring = driver.rings[0]!;
        for (const { write, sector, count, cuts, seed } of requests) {
          const size = count * 512;
          const inside = (sector + count) * 512 <= model.length;
          const borders = [0, ...cuts.map((cut) => Math.min(cut, size)).sort((a, b) => a - b), size];
          const parts = borders.slice(1).map((end, at) => ({ from: borders[at]!, size: end - borders[at]! }));
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
          driver.kick(0);
          const [used] = ring.collect();
          if (inside && write) model.set(data, sector * 512);
          if (inside && !write) {
            expect(
              Buffer.compare(
                used!.written.subarray(0, size),
                model.subarray(sector * 512, sector * 512 + size),
              ),
            ).toBe(0);
            expect(used!.written[size]).toBe(0);
          } else if (write) expect([...used!.written]).toEqual([inside ? 0 : 1]);
        }
        expect(Buffer.compare(readFileSync(path), model)).toBe(0);
      }),
      { numRuns: 40 },
    );
  });
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

  it('what was written is in the file when the request is answered', () => {
    const path = image(new Uint8Array(1024));
    using backend = new FileBlockBackend(path);
    const driver = new MockMmioDriver(new VirtioBlock({ backend })).start();
    const head = new Uint8Array(16);
    head[0] = 1;
    head[8] = 1;
    driver.rings[0]!.add([{ readable: head }, { readable: pattern(512) }, { writable: 1 }]);
    driver.kick(0);
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

it('a file that is cut while in use gives IOERR, and the host hears why', () => {
  const path = image(new Uint8Array(4096));
  using backend = new FileBlockBackend(path);
  const errors: string[] = [];
  const device = new VirtioBlock({ backend, onError: (error) => errors.push(error.message) });
  const driver = new MockMmioDriver(device).start();
  truncateSync(path, 1024);
  const head = new Uint8Array(16);
  head[8] = 4;
  driver.rings[0]!.add([{ readable: head }, { writable: 512 }, { writable: 1 }]);
  const { address } = driver.rings[0]!.readDescriptor(2);
  driver.kick(0);
  expect(driver.memory.readUint8(Number(address))).toBe(1);
  expect(errors[0]).toContain('was cut while in use');
});

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
