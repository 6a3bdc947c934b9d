import { GuestMemory, VmMemoryError } from '@vmm/vm-memory';
import fc from 'fast-check';
import {
  createQueue,
  VIRTQ_DESC_F_AVAIL,
  VIRTQ_DESC_F_USED,
  VIRTQ_DESC_F_WRITE,
  VirtioQueueError,
  type DescriptorChain,
  type Queue,
  type QueueConfig,
} from './index.ts';

const BASE = 0x8000_0000;
const RAM = 0x1000;
const GUARD = 64;
const SIZE = 8;
const DESCRIPTORS = 0;
const DRIVER = 0x100;
const DEVICE = 0x200;
const TABLE = 0x400;

/** Mostly plausible values, so that checks behind the first ones are reached too. */
const low = fc.oneof(
  { weight: 6, arbitrary: fc.nat(RAM + 64).map((offset) => BASE + offset) },
  { weight: 5, arbitrary: fc.nat(15).map((i) => BASE + TABLE + i * 16) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const high = fc.oneof(
  { weight: 20, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const length = fc.oneof(
  { weight: 4, arbitrary: fc.nat(200) },
  { weight: 5, arbitrary: fc.nat(12).map((i) => i * 16) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const flags = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0, 1, 2, 3, 4) },
  { weight: 1, arbitrary: fc.nat(0xffff) },
);
const next = fc.oneof({ weight: 8, arbitrary: fc.nat(SIZE - 1) }, { weight: 1, arbitrary: fc.nat(0xffff) });
const descriptor = fc.record({ low, high, length, flags, next });
/** A ring of chains with nothing wrong in them, or one of mostly plausible values. */
const ring = fc.oneof(
  { weight: 1, arbitrary: fc.constant(Array.from({ length: SIZE }, (_, i) => plain(i))) },
  { weight: 4, arbitrary: fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }) },
);
const head = fc.oneof({ weight: 20, arbitrary: fc.nat(SIZE - 1) }, { weight: 1, arbitrary: fc.nat(0xffff) });

const common = {
  table: fc.array(descriptor, { minLength: 12, maxLength: 12 }),
  noise: fc.array(fc.tuple(fc.nat(RAM - 1), fc.nat(255)), { maxLength: 20 }),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  inOrder: fc.boolean(),
  shared: fc.boolean(),
  /** How many chains the device keeps before it gives one back, which one, and whether it defers. */
  keep: fc.oneof(fc.nat(SIZE), fc.constant(SIZE)),
  pick: fc.nat(SIZE),
  defer: fc.boolean(),
};

const splitScenario = fc.record({
  ...common,
  descriptors: ring,
  heads: fc.array(head, { minLength: SIZE, maxLength: SIZE }),
  indices: fc.array(
    fc.oneof({ weight: 8, arbitrary: fc.nat(SIZE) }, { weight: 1, arbitrary: fc.nat(0xffff) }),
    { minLength: 1, maxLength: 6 },
  ),
});

/** AVAIL and USED of a packed ring's descriptor. */
const state = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_USED) },
  { weight: 1, arbitrary: fc.constantFrom(0, VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED) },
);

const packedScenario = fc.record({
  ...common,
  size: fc.oneof(
    { weight: 3, arbitrary: fc.constant(SIZE) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: SIZE }) },
  ),
  /** Rewrites of the whole ring: the same state for all descriptors, or one for each. */
  rounds: fc.array(
    fc.record({
      descriptors: ring,
      states: fc.oneof(
        state.map((each) => Array.from({ length: SIZE }, () => each)),
        fc.array(state, { minLength: SIZE, maxLength: SIZE }),
      ),
    }),
    { minLength: 1, maxLength: 4 },
  ),
});

interface Common {
  readonly table: readonly RawDescriptor[];
  readonly noise: readonly (readonly [number, number])[];
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
  readonly shared: boolean;
  readonly keep: number;
  readonly pick: number;
  readonly defer: boolean;
}

interface RawDescriptor {
  readonly low: number;
  readonly high: number;
  readonly length: number;
  readonly flags: number;
  readonly next: number;
}

/** A chain of one piece, the `i`th of the ring. */
function plain(i: number): RawDescriptor {
  return {
    low: BASE + 0x600 + 32 * i,
    high: 0,
    length: 32,
    flags: i % 2 === 0 ? 0 : VIRTQ_DESC_F_WRITE,
    next: i,
  };
}

/** What a device does with a chain: read all, write all. */
function serve(
  queue: Queue,
  memory: GuestMemory,
  allowed: Uint8Array,
  kept: DescriptorChain[],
  s: Common,
): number {
  const require = (condition: boolean, what: string) => {
    if (!condition) throw new Error(what);
  };
  let pops = 0;
  if (s.defer) queue.deferUsed();
  for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
    // A buffer may lie over the ring, so that the device itself makes chains available; still it ends.
    require(++pops <= 0x1_0000, 'pop() goes on and on');
    require(chain.length <= SIZE, 'more pieces than the queue has descriptors');
    require(chain.readableBytes + chain.writableBytes <= SIZE * RAM, 'more bytes than the pieces can have');
    for (let i = 0; i < chain.length; i++) {
      require(memory.contains(chain.address(i), chain.size(i)), 'a piece outside guest memory');
      if (chain.isWritable(i)) {
        const start = chain.address(i) - BASE;
        allowed.fill(1, start, start + chain.size(i));
      }
    }
    chain.reader.read(new Uint8Array(chain.readableBytes));
    chain.writer.fill(chain.writableBytes, 0xa5);
    kept.push(chain);
    if (kept.length > s.keep) {
      const [used] = kept.splice(s.pick % kept.length, 1);
      queue.addUsed(used!, used!.writableBytes);
    }
  }
  queue.publishUsed();
  return pops;
}

/** Writes a descriptor; `next` is the Buffer ID in a packed ring. */
function put(memory: GuestMemory, at: number, d: RawDescriptor, packed: boolean): void {
  memory.writeUint32(at, d.low);
  memory.writeUint32(at + 4, d.high);
  memory.writeUint32(at + 8, d.length);
  memory.writeUint16(at + 12, packed ? d.next : d.flags);
  memory.writeUint16(at + 14, packed ? d.flags : d.next);
}

/** Has a device serve a ring that `turns` rewrite, and checks each time what it must not do. */
function run(
  s: Common,
  config: Pick<QueueConfig, 'size' | 'packed'>,
  ringBytes: readonly (readonly [number, number])[],
  turns: readonly ((memory: GuestMemory) => void)[],
  count: (outcome: string) => void,
): void {
  const buffer = s.shared ? new SharedArrayBuffer(RAM + 2 * GUARD) : new ArrayBuffer(RAM + 2 * GUARD);
  const host = new Uint8Array(buffer);
  const memory = new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(buffer, GUARD, RAM) }]);
  s.table.forEach((d, i) => put(memory, BASE + TABLE + 16 * i, d, config.packed === true));
  const queue = createQueue(memory, {
    ...config,
    descriptorArea: BASE + DESCRIPTORS,
    driverArea: BASE + DRIVER,
    deviceArea: BASE + DEVICE,
    eventIdx: s.eventIdx,
    indirect: s.indirect,
    inOrder: s.inOrder,
  });
  const allowed = new Uint8Array(RAM);
  for (const [start, end] of ringBytes) allowed.fill(1, start, end);
  const kept: DescriptorChain[] = [];
  for (const turn of turns) {
    turn(memory);
    for (const [at, value] of s.noise) {
      if (allowed[at] === 0) memory.writeUint8(BASE + at, value);
    }
    const before = Uint8Array.from(host);
    try {
      queue.disableNotifications();
      const pops = serve(queue, memory, allowed, kept, s);
      count(pops > 0 ? 'served' : 'empty');
      queue.enableNotifications();
    } catch (error) {
      if (error instanceof VmMemoryError || !(error instanceof VirtioQueueError)) throw error;
      count(error.code);
      let again: unknown;
      try {
        queue.pop();
      } catch (second) {
        again = second;
      }
      expect(again).toBe(error);
    }
    queue.needsInterrupt();
    for (let i = 0; i < host.length; i++) {
      if (host[i] !== before[i] && allowed[i - GUARD] !== 1) throw new Error(`byte ${i} was written`);
    }
  }
}

function tally(): { readonly count: (outcome: string) => void; readonly outcomes: Map<string, number> } {
  const outcomes = new Map<string, number>();
  return { outcomes, count: (outcome) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1) };
}

const CHAIN_ERRORS = [
  'CHAIN_TOO_LONG',
  'READABLE_AFTER_WRITABLE',
  'BUFFER_OUT_OF_RANGE',
  'INDIRECT_NOT_NEGOTIATED',
  'INDIRECT_WITH_NEXT',
  'INDIRECT_TABLE_INVALID',
];

describe('a ring of random contents makes pop() end, throw only VirtioQueueError, and write nothing it must not', () => {
  it('when it is split', () => {
    const { count, outcomes } = tally();
    fc.assert(
      fc.property(splitScenario, (s) => {
        const first = (memory: GuestMemory) => {
          s.descriptors.forEach((d, i) => put(memory, BASE + DESCRIPTORS + 16 * i, d, false));
          s.heads.forEach((h, i) => memory.writeUint16(BASE + DRIVER + 4 + 2 * i, h));
        };
        const turns = s.indices.map((index, turn) => (memory: GuestMemory) => {
          if (turn === 0) first(memory);
          memory.writeUint16(BASE + DRIVER + 2, index);
        });
        run(s, { size: SIZE }, [[DEVICE, DEVICE + 6 + 8 * SIZE]], turns, count);
      }),
      { numRuns: 2500 },
    );
    // The scenarios reach all of these checks.
    const reached = ['served', 'empty', 'AVAIL_INDEX_TOO_FAR', 'HEAD_OUT_OF_RANGE', 'HEAD_IN_USE'];
    expect([...outcomes.keys()]).toEqual(
      expect.arrayContaining([...reached, 'NEXT_OUT_OF_RANGE', 'INDIRECT_NESTED', ...CHAIN_ERRORS]),
    );
  });

  it('when it is packed', () => {
    const { count, outcomes } = tally();
    fc.assert(
      fc.property(packedScenario, (s) => {
        const turns = s.rounds.map(({ descriptors, states }) => (memory: GuestMemory) => {
          descriptors.slice(0, s.size).forEach((d, i) => {
            const flags = (d.flags & ~(VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED)) | states[i]!;
            put(memory, BASE + DESCRIPTORS + 16 * i, { ...d, flags }, true);
          });
        });
        const ringBytes = [
          [DESCRIPTORS, DESCRIPTORS + 16 * s.size],
          [DEVICE, DEVICE + 4],
        ] as const;
        run(s, { size: s.size, packed: true }, ringBytes, turns, count);
      }),
      { numRuns: 2500 },
    );
    const reached = ['served', 'empty', 'RING_OVERRUN', 'CHAIN_TAIL_UNAVAILABLE', 'BUFFER_ID_OUT_OF_RANGE'];
    expect([...outcomes.keys()]).toEqual(
      expect.arrayContaining([...reached, 'BUFFER_ID_IN_USE', ...CHAIN_ERRORS]),
    );
  });
});
