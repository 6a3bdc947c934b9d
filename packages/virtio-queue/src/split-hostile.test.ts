import { GuestMemory } from '@vmm/vm-memory';
import { BASE, codeOf, makeMemory, makeRig, popChain } from '../test/support.ts';
import {
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_WRITE as WRITE,
  createQueue,
  type VirtioQueueErrorCode,
} from './index.ts';
import { MockSplitDriver, type MockDescriptor } from './mock/index.ts';

const TABLE = BASE + 0x8000;
const BUFFER = BASE + 0x9000;

/** What popping a chain of these raw descriptors (and this indirect table) at head 0 throws. */
function popRaw(
  ring: readonly Partial<MockDescriptor>[],
  table: readonly Partial<MockDescriptor>[] = [],
  options: { readonly indirect?: boolean; readonly size?: number } = {},
): VirtioQueueErrorCode | undefined {
  const { memory, driver, queue } = makeRig({ indirect: true, size: 4, ...options });
  const full = { address: BUFFER, length: 16, flags: 0, next: 0 };
  ring.forEach((descriptor, i) => driver.writeDescriptor(i, { ...full, ...descriptor }));
  table.forEach((descriptor, i) => {
    const { address, length, flags, next } = { ...full, ...descriptor };
    memory.writeBigUint64(TABLE + 16 * i, BigInt(address));
    memory.writeUint32(TABLE + 16 * i + 8, length);
    memory.writeUint16(TABLE + 16 * i + 12, flags);
    memory.writeUint16(TABLE + 16 * i + 14, next);
  });
  driver.writeAvailEntry(0, 0);
  driver.writeAvailIdx(1);
  return codeOf(() => queue.pop());
}

const toTable = (length: number) => ({ address: TABLE, length, flags: INDIRECT });

describe('the available ring', () => {
  it('may not be more than the queue size ahead (§2.7.13)', () => {
    for (const [index, code] of [
      [4, undefined],
      [5, 'AVAIL_INDEX_TOO_FAR'],
      [0xffff, 'AVAIL_INDEX_TOO_FAR'],
      [0x8000, 'AVAIL_INDEX_TOO_FAR'],
    ] as const) {
      const { driver, queue } = makeRig({ size: 4 });
      driver.send([{ readable: 'x' }]);
      driver.writeAvailIdx(index);
      expect(codeOf(() => queue.pop())).toBe(code);
    }
  });

  it('may not go back (§2.7.6.1)', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'x' }]);
    driver.send([{ readable: 'x' }]);
    popChain(queue);
    popChain(queue);
    driver.writeAvailIdx(1);
    expect(codeOf(() => queue.pop())).toBe('AVAIL_INDEX_TOO_FAR');
  });

  it('may only hold heads below the queue size', () => {
    for (const head of [16, 17, 0x8000, 0xffff]) {
      const { driver, queue } = makeRig({ size: 16 });
      driver.send([{ readable: 'x' }]);
      driver.writeAvailEntry(0, head);
      expect(codeOf(() => queue.pop())).toBe('HEAD_OUT_OF_RANGE');
    }
  });

  it('may not hold a head whose chain is out', () => {
    const { driver, queue } = makeRig();
    const head = driver.send([{ readable: 'x' }]);
    driver.writeAvailEntry(1, head);
    driver.writeAvailIdx(2);
    popChain(queue);
    expect(codeOf(() => queue.pop())).toBe('HEAD_IN_USE');
  });
});

describe('a chain of the ring', () => {
  it('may be as long as the queue and no longer (§2.7.5.3.1)', () => {
    const chained = [
      { flags: NEXT, next: 1 },
      { flags: NEXT, next: 2 },
      { flags: NEXT, next: 3 },
    ];
    expect(popRaw([...chained, {}])).toBeUndefined();
    expect(popRaw([...chained, { flags: NEXT, next: 0 }])).toBe('CHAIN_TOO_LONG');
  });

  it('may not loop (§2.7.5.2)', () => {
    expect(popRaw([{ flags: NEXT, next: 0 }])).toBe('CHAIN_TOO_LONG');
    expect(
      popRaw([
        { flags: NEXT, next: 1 },
        { flags: NEXT, next: 2 },
        { flags: NEXT, next: 1 },
      ]),
    ).toBe('CHAIN_TOO_LONG');
    expect(popRaw([{ flags: NEXT, next: 0, length: 0 }])).toBe('CHAIN_TOO_LONG');
  });

  it('may not leave the table', () => {
    for (const next of [4, 0x8000, 0xffff]) expect(popRaw([{ flags: NEXT, next }])).toBe('NEXT_OUT_OF_RANGE');
    expect(popRaw([{ next: 0xffff }])).toBeUndefined();
  });

  it('may have no readable descriptor after a writable one (§2.7.4.2)', () => {
    expect(popRaw([{ flags: WRITE | NEXT, next: 1 }, {}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([{ flags: WRITE | NEXT, next: 1, length: 0 }, {}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([{ flags: NEXT, next: 1 }, { flags: WRITE }])).toBeUndefined();
  });

  it('may only have buffers in guest memory', () => {
    const end = BASE + 0x2_0000;
    expect(popRaw([{ address: end - 16 }])).toBeUndefined();
    const bad: readonly (number | bigint)[] = [
      0,
      BASE - 1,
      end - 15,
      end,
      2 ** 32 + BASE,
      2 ** 53 - 16,
      2n ** 53n,
      2n ** 53n + BigInt(BASE),
      2n ** 64n - 8n,
      2n ** 64n - 16n,
    ];
    for (const address of bad) {
      expect(popRaw([{ address }])).toBe('BUFFER_OUT_OF_RANGE');
      expect(popRaw([{ address, flags: WRITE }])).toBe('BUFFER_OUT_OF_RANGE');
    }
    expect(popRaw([{ length: 0xffff_ffff }])).toBe('BUFFER_OUT_OF_RANGE');
  });

  it('may only be written where guest memory can be', () => {
    const memory = new GuestMemory([
      { guestAddress: BASE, bytes: new Uint8Array(0x1_0000) },
      { guestAddress: BASE + 0x1_0000, bytes: new Uint8Array(0x1000), readOnly: true },
    ]);
    const pop = (address: number, isWritable: boolean) => {
      const driver = new MockSplitDriver(memory);
      driver.send([{ address, size: 32, isWritable }]);
      return codeOf(() => createQueue(memory, driver.config).pop());
    };
    expect(pop(BASE + 0x1_0000, false)).toBeUndefined();
    expect(pop(BASE + 0x1_0000, true)).toBe('BUFFER_READ_ONLY');
    expect(pop(BASE + 0xfff0, true)).toBe('BUFFER_READ_ONLY');
    expect(pop(BASE + 0xffe0, true)).toBeUndefined();
  });
});

describe('an indirect table', () => {
  it('is refused unless VIRTIO_F_INDIRECT_DESC was negotiated (§2.7.5.3.1)', () => {
    expect(popRaw([toTable(16)], [{}])).toBeUndefined();
    expect(popRaw([toTable(16)], [{}], { indirect: false })).toBe('INDIRECT_NOT_NEGOTIATED');
  });

  it('ends the chain: no NEXT beside INDIRECT (§2.7.5.3.1)', () => {
    expect(popRaw([{ ...toTable(16), flags: INDIRECT | NEXT, next: 1 }, {}], [{}])).toBe(
      'INDIRECT_WITH_NEXT',
    );
  });

  it('holds no table (§2.7.5.3.1)', () => {
    expect(popRaw([toTable(16)], [{ flags: INDIRECT, address: TABLE }])).toBe('INDIRECT_NESTED');
    expect(popRaw([toTable(32)], [{ flags: NEXT, next: 1 }, { flags: INDIRECT }])).toBe('INDIRECT_NESTED');
  });

  it('has a length that is a multiple of 16 and not zero', () => {
    for (const length of [0, 1, 15, 17, 0xffff_ffff]) {
      expect(popRaw([toTable(length)], [{}])).toBe('INDIRECT_TABLE_INVALID');
    }
  });

  it('lies in guest memory as a whole', () => {
    const bad = [0, BASE - 16, BASE + 0x1_fff0 + 1, 2n ** 53n, 2n ** 64n - 16n];
    for (const address of bad) expect(popRaw([{ ...toTable(16), address }])).toBe('INDIRECT_TABLE_INVALID');
    expect(popRaw([toTable(0xffff_fff0)], [{}])).toBe('INDIRECT_TABLE_INVALID');
  });

  it('is left by no NEXT', () => {
    expect(popRaw([toTable(32)], [{ flags: NEXT, next: 2 }, {}])).toBe('NEXT_OUT_OF_RANGE');
    expect(popRaw([toTable(32)], [{ flags: NEXT, next: 0xffff }, {}])).toBe('NEXT_OUT_OF_RANGE');
  });

  it('may be longer than the queue, but not the chain (§2.7.5.3.1)', () => {
    const long = Array.from({ length: 6 }, (_, i) => ({ flags: i < 5 ? NEXT : 0, next: i + 1 }));
    expect(popRaw([toTable(16 * 6)], [...long.slice(0, 3), {}, {}, {}])).toBeUndefined();
    expect(popRaw([toTable(16 * 6)], long)).toBe('CHAIN_TOO_LONG');
  });

  it('counts together with the direct descriptors before it', () => {
    const three = [{ flags: NEXT, next: 1 }, { flags: NEXT, next: 2 }, {}];
    expect(popRaw([{ flags: NEXT, next: 1 }, toTable(48)], three)).toBeUndefined();
    expect(popRaw([{ flags: NEXT, next: 1 }, { flags: NEXT, next: 2 }, toTable(48)], three)).toBe(
      'CHAIN_TOO_LONG',
    );
  });

  it('may not loop', () => {
    expect(
      popRaw(
        [toTable(32)],
        [
          { flags: NEXT, next: 1 },
          { flags: NEXT, next: 0 },
        ],
      ),
    ).toBe('CHAIN_TOO_LONG');
  });

  it('keeps the order of readable and writable with the direct part', () => {
    expect(popRaw([{ flags: NEXT | WRITE, next: 1 }, toTable(16)], [{}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([{ flags: NEXT | WRITE, next: 1 }, toTable(16)], [{ flags: WRITE }])).toBeUndefined();
  });
});

describe('a broken queue', () => {
  it('throws the same error for ever, and takes no more part in the ring', () => {
    const { memory, driver, queue } = makeRig();
    driver.send([{ writable: 1 }]);
    const out = popChain(queue);
    driver.send([{ readable: 'x' }]);
    driver.writeAvailEntry(1, 99);
    let first: unknown;
    try {
      queue.pop();
    } catch (error) {
      first = error;
    }
    expect(first).toMatchObject({ name: 'VirtioQueueError', code: 'HEAD_OUT_OF_RANGE' });
    driver.writeAvailEntry(1, 1);
    expect(() => queue.pop()).toThrow(first as Error);
    const before = Uint8Array.from(memory.slice(BASE, 0x2_0000));
    queue.addUsed(out, 1);
    queue.undoPop(out);
    queue.disableNotifications();
    expect(queue.enableNotifications()).toBe(false);
    expect(queue.needsInterrupt()).toBe(false);
    expect(memory.slice(BASE, 0x2_0000)).toEqual(before);
  });

  it('stays broken after an error in a chain', () => {
    const { driver, queue } = makeRig();
    const head = driver.send([{ readable: 'x' }]);
    const { address } = driver.readDescriptor(head);
    driver.corruptDescriptor(head, { address: 0 });
    expect(codeOf(() => queue.pop())).toBe('BUFFER_OUT_OF_RANGE');
    driver.corruptDescriptor(head, { address });
    expect(codeOf(() => queue.pop())).toBe('BUFFER_OUT_OF_RANGE');
  });

  it('is made visible to a device that only enables notifications', () => {
    const { driver, queue } = makeRig({ eventIdx: true });
    driver.writeAvailIdx(0x8000);
    expect(queue.enableNotifications()).toBe(true);
    expect(codeOf(() => queue.pop())).toBe('AVAIL_INDEX_TOO_FAR');
  });
});

describe('guest memory that changes under the device', () => {
  it('is read once for each field of a descriptor of the ring', () => {
    const reads = new Map<string, number>();
    class CountingMemory extends GuestMemory {
      override uint32View(address: number, length: number): Uint32Array {
        const words = super.uint32View(address, length);
        return new Proxy(words, {
          get(target, key) {
            const name = String(key);
            if (/^\d+$/.test(name)) reads.set(name, (reads.get(name) ?? 0) + 1);
            const value: unknown = Reflect.get(target, key);
            return value;
          },
        });
      }
    }
    const memory = new CountingMemory([{ guestAddress: BASE, bytes: new Uint8Array(0x1_0000) }]);
    const driver = new MockSplitDriver(memory, { size: 4, indirect: true });
    const queue = createQueue(memory, driver.config);
    driver.send([{ readable: 'x' }, { writable: 1 }, { writable: 1 }], 2);
    reads.clear();
    const chain = popChain(queue);
    chain.reader.readUint8();
    chain.writer.writeUint16(1);
    queue.addUsed(chain, 2);
    expect(reads.size).toBe(12);
    expect(new Set(reads.values())).toEqual(new Set([1]));
  });

  it('cannot make a checked chain reach outside, while another thread rewrites descriptors', async () => {
    const { Worker } = await import('node:worker_threads');
    const memory = makeMemory(0x1_0000, true);
    const { buffer } = memory.regions[0]!.bytes;
    const driver = new MockSplitDriver(memory, { size: 4, indirect: true });
    driver.writeDescriptor(0, { address: BUFFER, length: 16, flags: NEXT, next: 1 });
    driver.writeDescriptor(1, { address: TABLE, length: 16, flags: INDIRECT, next: 0 });
    memory.writeUint32(TABLE, BUFFER);
    memory.writeUint32(TABLE + 8, 16);
    const stop = new SharedArrayBuffer(4);
    // Lengths and addresses alternate between good and bad as fast as a thread can write them.
    const worker = new Worker(
      `const { workerData: { buffer, stop, words } } = require('node:worker_threads');
       const memory = new Uint32Array(buffer), flag = new Int32Array(stop);
       while (Atomics.load(flag, 0) === 0) {
         Atomics.notify(flag, 0);
         for (let i = 0; i < 1000; i++) for (const [at, good] of words) {
           memory[at] = 0xfffffff0;
           memory[at] = good;
         }
       }`,
      {
        eval: true,
        workerData: {
          buffer,
          stop,
          words: [
            [0, BUFFER],
            [2, 16],
            [6, 16],
            [(TABLE - BASE) / 4, BUFFER],
            [(TABLE - BASE) / 4 + 2, 16],
          ],
        },
      },
    );
    try {
      await new Promise((resolve) => worker.once('online', resolve));
      const outcomes = new Set<string>();
      for (let i = 0; i < 3000; i++) {
        const queue = createQueue(memory, driver.config);
        driver.writeAvailIdx(1);
        const code = codeOf(() => {
          const chain = popChain(queue);
          for (let piece = 0; piece < chain.length; piece++) {
            if (!memory.contains(chain.address(piece), chain.size(piece))) throw new Error('outside');
            if (chain.slice(piece).length !== chain.size(piece))
              throw new Error('not the size that was checked');
          }
        });
        outcomes.add(code ?? 'fine');
      }
      for (const outcome of outcomes) {
        expect(['fine', 'BUFFER_OUT_OF_RANGE', 'INDIRECT_TABLE_INVALID']).toContain(outcome);
      }
    } finally {
      Atomics.store(new Int32Array(stop), 0, 1);
      await worker.terminate();
    }
  });
});
