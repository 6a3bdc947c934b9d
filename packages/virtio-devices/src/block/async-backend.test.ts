import { pattern, TestDisk } from '../../test/block/test-disk.ts';
import { createBlockBackend, type BlockSource } from './async-backend.ts';
import * as blk from './constants.ts';
import { OverlayBlockBackend } from './overlay-backend.ts';

const SIZE = 64 * 512;

/** A source over an array that takes a turn of the event loop for everything. */
function slowSource(changes: Partial<BlockSource> = {}): BlockSource & { readonly bytes: Uint8Array } {
  const bytes = pattern(SIZE);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return {
    bytes,
    sizeBytes: SIZE,
    description: 'slow source',
    read: async (offset, length) => {
      await turn();
      return bytes.slice(offset, offset + length);
    },
    write: async (offset, data) => {
      await turn();
      bytes.set(data, offset);
    },
    ...changes,
  };
}

it('reads and writes by calls of the source', async () => {
  const source = slowSource();
  const disk = new TestDisk(createBlockBackend(source));
  expect(await disk.read(3, 2)).toEqual(pattern(SIZE).slice(1536, 2560));
  await disk.write(1, new Uint8Array(1024).fill(9));
  expect(source.bytes.slice(512, 1536)).toEqual(new Uint8Array(1024).fill(9));
  await disk.flush();
});

it('is read-only without write(), and an overlay makes it writable', async () => {
  const { read } = slowSource();
  const base = createBlockBackend({ sizeBytes: SIZE, read });
  expect(base.readOnly).toBe(true);
  const disk = new TestDisk(new OverlayBlockBackend(base));
  await disk.write(2, new Uint8Array(512).fill(7));
  const expected = pattern(SIZE).slice(0, 4 * 512);
  expected.fill(7, 1024, 1536);
  expect(await disk.read(0, 4)).toEqual(expected);
});

it.each([
  ['rejects', (): Promise<Uint8Array> => Promise.reject(new Error('gone')), 'gone'],
  [
    'throws',
    (): Uint8Array => {
      throw new Error('gone');
    },
    'gone',
  ],
  ['answers too little', (): Uint8Array => new Uint8Array(100), '100 bytes instead of 512'],
  ['answers too much', (): Uint8Array => new Uint8Array(1000), '1000 bytes instead of 512'],
])('a read that %s gives IOERR, and only that one', async (_what, read, message) => {
  const good = slowSource();
  const disk = new TestDisk(
    createBlockBackend({
      ...good,
      read: (offset, length, signal) => (offset === 0 ? read() : good.read(offset, length, signal)),
    }),
  );
  disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
  disk.add(blk.VIRTIO_BLK_T_IN, 1, undefined, 512);
  disk.kick();
  const answers = await disk.answers(2);
  expect(answers.map(({ status }) => status).sort()).toEqual([-1, 0]);
  expect(disk.errors[0]).toContain(message);
});

it('a reset aborts reads that are under way, and their bytes go nowhere', async () => {
  const signals: AbortSignal[] = [];
  let answer: (bytes: Uint8Array) => void = () => undefined;
  const disk = new TestDisk(
    createBlockBackend(
      slowSource({
        read: (_offset, _length, signal) => {
          signals.push(signal);
          return new Promise((resolve) => (answer = resolve));
        },
      }),
    ),
  );
  disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
  disk.kick();
  await Promise.resolve();
  disk.driver.start();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
  const before = disk.driver.memory.regions[0]!.bytes.slice();
  answer(new Uint8Array(512).fill(0xff));
  await new Promise((resolve) => setImmediate(resolve));
  expect(Buffer.compare(disk.driver.memory.regions[0]!.bytes, before)).toBe(0);
});

it('has no more than `concurrency` calls at a time', async () => {
  let running = 0;
  let most = 0;
  const good = slowSource();
  const disk = new TestDisk(
    createBlockBackend({
      ...good,
      concurrency: 2,
      read: async (offset, length, signal) => {
        most = Math.max(most, ++running);
        const bytes = await good.read(offset, length, signal);
        running--;
        return bytes;
      },
    }),
  );
  for (let sector = 0; sector < 5; sector++) disk.add(blk.VIRTIO_BLK_T_IN, sector, undefined, 512);
  disk.kick();
  const answers = await disk.answers(5);
  expect(answers.every(({ status }) => status === 0)).toBe(true);
  expect(most).toBe(2);
});

it.each([
  [{ sizeBytes: 100 }, 'INVALID_SIZE'],
  [{ sizeBytes: 0 }, 'INVALID_SIZE'],
  [{ concurrency: 0 }, 'INVALID_OPTION'],
])('refuses %o', (changes, code) => {
  expect(() => createBlockBackend(slowSource(changes))).toThrow(expect.objectContaining({ code }));
});
