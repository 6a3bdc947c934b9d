import { GuestMemory, VmMemoryError } from '@vmm/vm-memory';
import fc from 'fast-check';
import { createQueue, VirtioQueueError, type Queue } from './index.ts';

const BASE = 0x8000_0000;
const RAM = 0x1000;
const GUARD = 64;
const SIZE = 8;
const DESCRIPTORS = 0;
const AVAIL = 0x100;
const USED = 0x200;
const TABLE = 0x400;

/** Mostly plausible values, so that checks behind the first ones are reached too. */
const low = fc.oneof(
  { weight: 6, arbitrary: fc.nat(RAM + 64).map((offset) => BASE + offset) },
  { weight: 3, arbitrary: fc.nat(15).map((i) => BASE + TABLE + i * 16) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const high = fc.oneof(
  { weight: 20, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const length = fc.oneof(
  { weight: 4, arbitrary: fc.nat(200) },
  { weight: 3, arbitrary: fc.nat(12).map((i) => i * 16) },
  { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
);
const flags = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0, 1, 2, 3, 4) },
  { weight: 1, arbitrary: fc.nat(0xffff) },
);
const next = fc.oneof({ weight: 8, arbitrary: fc.nat(SIZE - 1) }, { weight: 1, arbitrary: fc.nat(0xffff) });
const descriptor = fc.record({ low, high, length, flags, next });
const head = fc.oneof({ weight: 20, arbitrary: fc.nat(SIZE - 1) }, { weight: 1, arbitrary: fc.nat(0xffff) });

const scenario = fc.record({
  descriptors: fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }),
  table: fc.array(descriptor, { minLength: 12, maxLength: 12 }),
  heads: fc.array(head, { minLength: SIZE, maxLength: SIZE }),
  indices: fc.array(
    fc.oneof({ weight: 8, arbitrary: fc.nat(SIZE) }, { weight: 1, arbitrary: fc.nat(0xffff) }),
    {
      minLength: 1,
      maxLength: 6,
    },
  ),
  noise: fc.array(fc.tuple(fc.nat(RAM - 1), fc.nat(255)), { maxLength: 20 }),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  shared: fc.boolean(),
  keep: fc.boolean(),
});

/** What a device does with a chain: read all, write all. */
function serve(queue: Queue, memory: GuestMemory, allowed: Uint8Array, keep: boolean): number {
  const require = (condition: boolean, what: string) => {
    if (!condition) throw new Error(what);
  };
  let pops = 0;
  for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
    // A buffer may lie over the available ring, so that the device itself moves the index; still it ends.
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
    if (!keep) queue.addUsed(chain, chain.writableBytes);
  }
  return pops;
}

describe('a ring of random contents', () => {
  it('makes pop() end, throw nothing but VirtioQueueError, and write nothing it must not', () => {
    const outcomes = new Map<string, number>();
    const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    fc.assert(
      fc.property(scenario, (s) => {
        const buffer = s.shared ? new SharedArrayBuffer(RAM + 2 * GUARD) : new ArrayBuffer(RAM + 2 * GUARD);
        const host = new Uint8Array(buffer);
        const memory = new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(buffer, GUARD, RAM) }]);
        const put = (
          at: number,
          d: { low: number; high: number; length: number; flags: number; next: number },
        ) => {
          memory.writeUint32(at, d.low);
          memory.writeUint32(at + 4, d.high);
          memory.writeUint32(at + 8, d.length);
          memory.writeUint16(at + 12, d.flags);
          memory.writeUint16(at + 14, d.next);
        };
        s.descriptors.forEach((d, i) => put(BASE + DESCRIPTORS + 16 * i, d));
        s.table.forEach((d, i) => put(BASE + TABLE + 16 * i, d));
        s.heads.forEach((h, i) => memory.writeUint16(BASE + AVAIL + 4 + 2 * i, h));
        const queue = createQueue(memory, {
          size: SIZE,
          descriptorArea: BASE + DESCRIPTORS,
          driverArea: BASE + AVAIL,
          deviceArea: BASE + USED,
          eventIdx: s.eventIdx,
          indirect: s.indirect,
        });
        const allowed = new Uint8Array(RAM);
        allowed.fill(1, USED, USED + 6 + 8 * SIZE);
        for (const index of s.indices) {
          memory.writeUint16(BASE + AVAIL + 2, index);
          for (const [at, value] of s.noise) {
            if (allowed[at] === 0) memory.writeUint8(BASE + at, value);
          }
          const before = Uint8Array.from(host);
          try {
            queue.disableNotifications();
            const pops = serve(queue, memory, allowed, s.keep);
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
      }),
      { numRuns: 1500 },
    );
    // The scenarios reach all of these checks.
    for (const outcome of [
      'served',
      'empty',
      'AVAIL_INDEX_TOO_FAR',
      'HEAD_OUT_OF_RANGE',
      'HEAD_IN_USE',
      'NEXT_OUT_OF_RANGE',
      'CHAIN_TOO_LONG',
      'READABLE_AFTER_WRITABLE',
      'BUFFER_OUT_OF_RANGE',
      'INDIRECT_NOT_NEGOTIATED',
      'INDIRECT_WITH_NEXT',
      'INDIRECT_NESTED',
      'INDIRECT_TABLE_INVALID',
    ]) {
      expect([outcome, (outcomes.get(outcome) ?? 0) > 0]).toEqual([outcome, true]);
    }
  });
});
