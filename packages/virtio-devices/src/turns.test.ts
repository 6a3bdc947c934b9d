import { GuestMemory } from '@vmm/vm-memory';
import { MockSplitDriver } from '@vmm/virtio-queue/mock';
import { SUBJECTS } from '../test/hostile-subjects.ts';
import { createDriver } from './mock/index.ts';
import type { MockVirtioDriver } from './mock/index.ts';
import { VIRTIO_BLK_T_OUT } from './block/constants.ts';
import { MAX_QUEUE_SIZE, PIECES_PER_TURN } from './drain.ts';

const RINGS = 0x8000_0000;
const MiB = 1024 * 1024;
/** What chains name. */
const BUFFERS = 0x9000_0000;
const TABLE = BUFFERS + 32 * MiB;
const BYTES = new Uint8Array(64 * MiB);
const RING_BYTES = new Uint8Array(MiB);
const DISK = new Uint8Array(16 * MiB);
const SIZES = ['its own', MAX_QUEUE_SIZE] as const;
/** Milliseconds for which a turn may keep the thread. */
const LIMIT = 50;
/** Turns that are looked at. */
const TURNS = 12;
const INDIRECT = 4;

interface Piece {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

const piece = (address: number, length: number, writable: boolean): Piece => ({ address, length, writable });

/** Fills a ring with chains that are all the same table. */
function fillRing(driver: MockVirtioDriver, queue: number, pieces: readonly Piece[]): void {
  const ring = driver.rings[queue]!;
  if (!(ring instanceof MockSplitDriver)) throw new TypeError('this is for split rings');
  pieces.forEach(({ address, length, writable }, i) => {
    const at = TABLE + 16 * i;
    driver.memory.writeUint32(at, address);
    driver.memory.writeUint32(at + 4, 0);
    driver.memory.writeUint32(at + 8, length);
    driver.memory.writeUint16(at + 12, (writable ? 2 : 0) | (i + 1 < pieces.length ? 1 : 0));
    driver.memory.writeUint16(at + 14, i + 1);
  });
  for (let i = 0; i < ring.config.size; i++) {
    ring.writeDescriptor(i, { address: TABLE, length: 16 * pieces.length, flags: INDIRECT });
    ring.writeAvailEntry(i, i);
  }
  ring.writeAvailIdx(ring.config.size);
}

interface Construction {
  readonly name: string;
  /** With dirty tracking. */
  readonly dirty: boolean;
  readonly pieces: (size: number) => Piece[];
  readonly contents?: (memory: GuestMemory) => void;
}

const repeat = (count: number, each: Piece): Piece[] => Array.from({ length: count }, () => each);

const CONSTRUCTIONS: readonly Construction[] = [
  { name: 'empty buffers', dirty: false, pieces: (size) => repeat(size, piece(BUFFERS, 0, false)) },
  { name: 'readable bytes', dirty: false, pieces: (size) => repeat(size, piece(BUFFERS, 1, false)) },
  { name: 'writable bytes', dirty: true, pieces: (size) => repeat(size, piece(BUFFERS, 1, true)) },
  {
    name: 'readable and writable bytes',
    dirty: false,
    pieces: (size) => [
      ...repeat(size / 2, piece(BUFFERS, 1, false)),
      ...repeat(size / 2, piece(BUFFERS, 1, true)),
    ],
  },
  {
    name: '4 GiB to read',
    dirty: false,
    pieces: (size) => repeat(Math.min(size, 64), piece(BUFFERS, 64 * MiB, false)),
  },
  {
    name: '4 GiB to write',
    dirty: true,
    pieces: (size) => repeat(Math.min(size, 64), piece(BUFFERS, 64 * MiB, true)),
  },
  { name: 'frames of 64 KiB', dirty: false, pieces: () => [piece(BUFFERS, 65572, false)] },
  {
    name: 'reads of 16 MiB',
    dirty: false,
    pieces: () => [
      piece(BUFFERS, 16, false),
      piece(BUFFERS + MiB, 254 * 65536, true),
      piece(BUFFERS, 1, true),
    ],
  },
  {
    name: 'writes of 16 MiB',
    dirty: false,
    contents: (memory) => memory.writeUint32(BUFFERS, VIRTIO_BLK_T_OUT),
    pieces: () => [
      piece(BUFFERS, 16, false),
      piece(BUFFERS + MiB, 254 * 65536, false),
      piece(BUFFERS, 1, true),
    ],
  },
];

/**
 * What the first ones cost is the compiler's work; a collection of garbage may come at any time, and other work of the
 * machine makes every core slower. A turn that does too much is too long in all of them.
 */
const ATTEMPTS = 25;

/** Pieces of one chain; empty buffers are none. */
function pieceCount({ pieces }: Construction, size: number): number {
  return pieces(size).filter(({ length }) => length > 0).length;
}

/** Milliseconds of CPU time that `task` took in this process. */
function cpuTime(task: () => void): number {
  const before = process.cpuUsage();
  task();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

describe.each(SUBJECTS)('the event loop with a full ring of $name', ({ name, make }) => {
  /** The longest turn. */
  const run = (
    queue: number,
    queueSize: number | undefined,
    construction: Construction,
    dirty: boolean,
  ): number => {
    const tasks: (() => void)[] = [];
    const { device, stir, wake } = make(queueSize, DISK);
    const memory = new GuestMemory([
      { guestAddress: RINGS, bytes: RING_BYTES.fill(0) },
      { guestAddress: BUFFERS, bytes: BYTES },
    ]);
    if (dirty) memory.enableDirtyTracking();
    const transportOptions = { defer: (task: () => void): void => void tasks.push(task) };
    const driver = createDriver(device, { queueSize: MAX_QUEUE_SIZE, memory, transportOptions }).start();
    memory.fill(BUFFERS, 64, 0);
    construction.contents?.(memory);
    wake?.(driver, queue);
    fillRing(driver, queue, construction.pieces(driver.rings[queue]!.config.size));
    stir();
    const ring = driver.rings[queue]!;
    if (!(ring instanceof MockSplitDriver)) throw new TypeError('this is for split rings');
    const times: number[] = [];
    const take = (turn: () => void): void => {
      const before = ring.usedIdx;
      times.push(cpuTime(turn));
      const chains = (ring.usedIdx - before) & 0xffff;
      const pieces = pieceCount(construction, ring.config.size);
      // The last chain may go beyond the budget, and one may be left from the turn before.
      expect(chains * pieces).toBeLessThanOrEqual(PIECES_PER_TURN + 2 * pieces);
    };
    take(() => driver.notify(queue));
    for (let turn = 0; turn < TURNS && tasks.length > 0; turn++) take(() => tasks.shift()!());
    times.push(cpuTime(() => (driver.status = 0)));
    return Math.max(...times);
  };

  const queues = make().device.queueSizes.map((_, queue) => queue);
  const cases = queues.flatMap((queue) => SIZES.map((size) => ({ queue, size })));
  it.each(cases)('goes on within 50 ms, queue $queue with $size descriptors', ({ queue, size }) => {
    for (const construction of CONSTRUCTIONS) {
      const longest: number[] = [];
      do {
        longest.push(run(queue, size === 'its own' ? undefined : size, construction, construction.dirty));
      } while (longest.length < ATTEMPTS && Math.min(...longest) >= LIMIT);
      if (process.env['TURN_FIGURES'] !== undefined) {
        process.stdout.write(`${name} ${queue} (${size}): ${construction.name} ${Math.min(...longest)} ms\n`);
      }
      expect(Math.min(...longest)).toBeLessThan(LIMIT);
    }
  });
});
