import { jest } from '@jest/globals';
import { GuestMemory } from '@vmm/vm-memory';
import { BASE, codeOf, makeMemory, makePackedRig, popChain } from '../test/support.ts';
import {
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_INDIRECT as INDIRECT,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_USED as USED,
  VIRTQ_DESC_F_WRITE as WRITE,
  createQueue,
  type VirtioQueueErrorCode,
} from './index.ts';
import { MockPackedDriver, type MockDescriptor } from './mock/index.ts';

const TABLE = BASE + 0x8000;
const BUFFER = BASE + 0x9000;

/** What popping these raw descriptors, available but for their own `flags`, from the start of a ring throws. */
function popRaw(
  ring: readonly Partial<MockDescriptor>[],
  table: readonly Partial<MockDescriptor>[] = [],
  options: { readonly indirect?: boolean; readonly size?: number } = {},
): VirtioQueueErrorCode | undefined {
  const { memory, driver, queue } = makePackedRig({ indirect: true, size: 4, ...options });
  const full = { address: BUFFER, length: 16, flags: 0, id: 0 };
  ring.forEach((each, i) => {
    const descriptor = { ...full, ...each };
    driver.writeDescriptor(i, { ...descriptor, flags: descriptor.flags ^ AVAIL });
  });
  table.forEach((each, i) => {
    const { address, length, flags, id } = { ...full, ...each };
    memory.writeBigUint64(TABLE + 16 * i, BigInt(address));
    memory.writeUint32(TABLE + 16 * i + 8, length);
    memory.writeUint16(TABLE + 16 * i + 12, id);
    memory.writeUint16(TABLE + 16 * i + 14, flags);
  });
  return codeOf(() => popChain(queue));
}

const toTable = (length: number) => ({ address: TABLE, length, flags: INDIRECT });

describe('a list in a packed ring', () => {
  it('may be as long as the queue and no longer (§2.8.17)', () => {
    const next = { flags: NEXT };
    expect(popRaw([next, next, next, {}])).toBeUndefined();
    expect(popRaw([next, next, next, next])).toBe('CHAIN_TOO_LONG');
    expect(popRaw([next], [], { size: 1 })).toBe('CHAIN_TOO_LONG');
    expect(popRaw([next, next, next, { flags: NEXT, length: 0 }])).toBe('CHAIN_TOO_LONG');
  });

  it('has no descriptor that is not available (§2.8.17)', () => {
    for (const state of [AVAIL, AVAIL | USED, USED]) {
      expect(popRaw([{ flags: NEXT }, { flags: state }])).toBe('CHAIN_TAIL_UNAVAILABLE');
      expect(popRaw([{ flags: NEXT }, { flags: NEXT }, { flags: state }])).toBe('CHAIN_TAIL_UNAVAILABLE');
    }
  });

  it('has the flags of the next round behind the end of the ring (§2.8.1)', () => {
    for (const [state, code] of [
      [USED, undefined],
      [AVAIL, 'CHAIN_TAIL_UNAVAILABLE'],
      [0, 'CHAIN_TAIL_UNAVAILABLE'],
    ] as const) {
      const { driver, queue } = makePackedRig({ size: 3 });
      driver.send([{ readable: 'x' }]);
      driver.send([{ readable: 'x' }]);
      queue.addUsed(popChain(queue), 0);
      queue.addUsed(popChain(queue), 0);
      driver.writeDescriptor(2, { address: BUFFER, length: 1, flags: AVAIL | NEXT });
      driver.writeDescriptor(0, { address: BUFFER, length: 1, flags: state, id: 1 });
      expect(codeOf(() => popChain(queue))).toBe(code);
    }
  });

  it('has no readable descriptor after a writable one (§2.8.17)', () => {
    expect(popRaw([{ flags: WRITE | NEXT }, {}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([{ flags: WRITE | NEXT, length: 0 }, {}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([{ flags: NEXT }, { flags: WRITE }])).toBeUndefined();
  });

  it('has a Buffer ID below the queue size, in its last descriptor (§2.8.6)', () => {
    expect(popRaw([{ id: 3 }])).toBeUndefined();
    expect(popRaw([{ flags: NEXT, id: 0xffff }, { id: 3 }])).toBeUndefined();
    for (const id of [4, 0x8000, 0xffff]) {
      expect(popRaw([{ id }])).toBe('BUFFER_ID_OUT_OF_RANGE');
      expect(popRaw([{ flags: NEXT, id: 0 }, { id }])).toBe('BUFFER_ID_OUT_OF_RANGE');
      expect(popRaw([{ ...toTable(16), id }], [{}])).toBe('BUFFER_ID_OUT_OF_RANGE');
    }
  });

  it('has no Buffer ID of a chain that is out', () => {
    const { driver, queue } = makePackedRig();
    const head = driver.add([{ readable: 'x' }]);
    const other = driver.add([{ readable: 'x' }]);
    driver.corruptChain(other, 0, { id: head });
    driver.publish();
    popChain(queue);
    expect(codeOf(() => queue.pop())).toBe('BUFFER_ID_IN_USE');
  });

  it('takes no place of chains that are out (§2.8.17)', () => {
    const { driver, queue } = makePackedRig({ size: 4 });
    for (let i = 0; i < 3; i++) driver.send([{ readable: 'x' }]);
    for (let i = 0; i < 3; i++) popChain(queue);
    driver.writeDescriptor(3, { address: BUFFER, length: 1, flags: AVAIL | NEXT, id: 0 });
    driver.writeDescriptor(0, { address: BUFFER, length: 1, flags: USED, id: 0 });
    expect(codeOf(() => queue.pop())).toBe('RING_OVERRUN');

    const full = makePackedRig({ size: 4 });
    for (let i = 0; i < 4; i++) full.driver.send([{ readable: 'x' }]);
    for (let i = 0; i < 4; i++) popChain(full.queue);
    full.driver.writeFlags(0, USED);
    expect(codeOf(() => full.queue.pop())).toBe('RING_OVERRUN');
  });

  it('may only have buffers in guest memory', () => {
    const end = BASE + 0x2_0000;
    expect(popRaw([{ address: end - 16 }])).toBeUndefined();
    const bad = [0, BASE - 1, end - 15, end, 2 ** 32 + BASE, 2 ** 53 - 16, 2n ** 53n, 2n ** 64n - 8n];
    for (const address of bad) {
      expect(popRaw([{ address }])).toBe('BUFFER_OUT_OF_RANGE');
      expect(popRaw([{ address, flags: WRITE }])).toBe('BUFFER_OUT_OF_RANGE');
      expect(popRaw([{ flags: NEXT }, { address, flags: WRITE }])).toBe('BUFFER_OUT_OF_RANGE');
    }
    expect(popRaw([{ length: 0xffff_ffff }])).toBe('BUFFER_OUT_OF_RANGE');
  });

  it('may only be written where guest memory can be', () => {
    const memory = new GuestMemory([
      { guestAddress: BASE, bytes: new Uint8Array(0x1_0000) },
      { guestAddress: BASE + 0x1_0000, bytes: new Uint8Array(0x1000), readOnly: true },
    ]);
    const driver = new MockPackedDriver(memory);
    driver.send([{ address: BASE + 0xfff0, size: 32, isWritable: true }]);
    expect(codeOf(() => createQueue(memory, driver.config).pop())).toBe('BUFFER_READ_ONLY');
  });
});

describe('an indirect table of a packed ring', () => {
  it('is refused unless VIRTIO_F_INDIRECT_DESC was negotiated (§2.8.19)', () => {
    expect(popRaw([toTable(16)], [{}])).toBeUndefined();
    expect(popRaw([toTable(16)], [{}], { indirect: false })).toBe('INDIRECT_NOT_NEGOTIATED');
  });

  it('is no part of a list (§2.8.19)', () => {
    expect(popRaw([{ ...toTable(16), flags: INDIRECT | NEXT }, {}], [{}])).toBe('INDIRECT_WITH_NEXT');
    expect(popRaw([{ flags: NEXT }, toTable(16)], [{}])).toBe('INDIRECT_WITH_NEXT');
  });

  it('has a length that is a multiple of 16 and not zero, and lies in guest memory as a whole', () => {
    for (const length of [0, 1, 15, 17, 0xffff_ffff, 0xffff_fff0]) {
      expect(popRaw([toTable(length)], [{}])).toBe('INDIRECT_TABLE_INVALID');
    }
    for (const address of [0, BASE - 16, BASE + 0x1_fff1, 2n ** 53n, 2n ** 64n - 16n]) {
      expect(popRaw([{ ...toTable(16), address }])).toBe('INDIRECT_TABLE_INVALID');
    }
  });

  it('has no more entries than the queue', () => {
    expect(popRaw([toTable(64)], [{}, {}, {}, {}])).toBeUndefined();
    expect(popRaw([toTable(80)], [{}, {}, {}, {}, {}])).toBe('CHAIN_TOO_LONG');
  });

  it('holds no table: INDIRECT and NEXT mean nothing there (§2.8.7)', () => {
    expect(popRaw([toTable(16)], [{ flags: INDIRECT | NEXT, id: 0xffff }])).toBeUndefined();
    expect(popRaw([toTable(16)], [{ flags: INDIRECT, address: 0 }])).toBe('BUFFER_OUT_OF_RANGE');
  });

  it('has its readable buffers before the writable ones', () => {
    expect(popRaw([toTable(32)], [{ flags: WRITE }, {}])).toBe('READABLE_AFTER_WRITABLE');
    expect(popRaw([toTable(32)], [{}, { flags: WRITE }])).toBeUndefined();
  });
});

describe('a broken packed queue', () => {
  it('throws the same error for ever, and takes no more part in the ring', () => {
    const { memory, driver, queue } = makePackedRig({ inOrder: true });
    const outs = [driver.send([{ writable: 1 }]), driver.send([{ writable: 1 }])].map(() => popChain(queue));
    queue.addUsed(outs[1]!, 1);
    const head = driver.send([{ readable: 'x' }]);
    driver.corruptChain(head, 0, { address: 8 });
    let first: unknown;
    try {
      queue.pop();
    } catch (error) {
      first = error;
    }
    expect(first).toMatchObject({ name: 'VirtioQueueError', code: 'BUFFER_OUT_OF_RANGE' });
    driver.corruptChain(head, 0, { address: BUFFER });
    expect(() => queue.pop()).toThrow(first as Error);
    const before = Uint8Array.from(memory.slice(BASE, 0x2_0000));
    queue.addUsed(outs[0]!, 1);
    queue.undoPop(outs[0]!);
    queue.deferUsed();
    queue.publishUsed();
    queue.disableNotifications();
    expect(queue.enableNotifications()).toBe(false);
    expect(queue.needsInterrupt()).toBe(false);
    expect(memory.slice(BASE, 0x2_0000)).toEqual(before);
  });
});

describe('guest memory that changes under the device', () => {
  it('is read once for each word of a descriptor of the ring', () => {
    const reads = new Map<string, number>();
    const count = (index: unknown) => reads.set(String(index), (reads.get(String(index)) ?? 0) + 1);
    const targets = new WeakMap<object, Int32Array>();
    const Real = Int32Array;
    const makeCounting = (...parameters: ConstructorParameters<typeof Int32Array>) => {
      const words = new Real(...parameters);
      const proxy = new Proxy(words, {
        get(target, key) {
          if (typeof key === 'string' && /^\d+$/.test(key)) count(key);
          const value: unknown = Reflect.get(target, key);
          return value;
        },
        set: (target, key, value) => Reflect.set(target, key, value),
      });
      targets.set(proxy, words);
      return proxy;
    };
    const { load, store } = Atomics;
    // The types of both functions have one overload for BigInt arrays only, which would be the one that is checked.
    const countingLoad = (words: Int32Array, index: number) => {
      if (targets.has(words)) count(index);
      return load(targets.get(words) ?? words, index);
    };
    const countingStore = (words: Int32Array, index: number, value: number) =>
      store(targets.get(words) ?? words, index, value);
    const spies = [
      jest.spyOn(globalThis, 'Int32Array').mockImplementation(makeCounting),
      jest.spyOn(Atomics, 'load').mockImplementation(countingLoad as never),
      jest.spyOn(Atomics, 'store').mockImplementation(countingStore as never),
    ];
    try {
      const { driver, queue } = makePackedRig({ size: 8, indirect: true });
      driver.send([{ readable: 'x' }, { writable: 1 }, { writable: 1 }]);
      driver.send([{ readable: 'x' }, { writable: 1 }], 'indirect');
      reads.clear();
      for (const chain of [popChain(queue), popChain(queue)]) {
        chain.reader.readUint8();
        chain.writer.writeUint8(1);
        queue.addUsed(chain, 1);
      }
      expect(driver.collect()).toHaveLength(2);
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
    expect(reads.size).toBe(16);
    expect(new Set(reads.values())).toEqual(new Set([1]));
  });

  it('cannot make a checked chain reach outside, while another thread rewrites descriptors', async () => {
    const { Worker } = await import('node:worker_threads');
    const memory = makeMemory(0x1_0000, true);
    const { buffer } = memory.regions[0]!.bytes;
    const driver = new MockPackedDriver(memory, { size: 4, indirect: true });
    driver.writeDescriptor(0, { address: BUFFER, length: 16, flags: AVAIL | NEXT });
    driver.writeDescriptor(1, { address: BUFFER, length: 16, flags: AVAIL, id: 2 });
    driver.writeDescriptor(2, { address: TABLE, length: 16, flags: AVAIL | INDIRECT, id: 1 });
    memory.writeUint32(TABLE, BUFFER);
    memory.writeUint32(TABLE + 8, 16);
    const stop = new SharedArrayBuffer(4);
    // Words alternate between good and bad as fast as a thread can write them.
    const worker = new Worker(
      `const { workerData: { buffer, stop, words } } = require('node:worker_threads');
       const memory = new Uint32Array(buffer), flag = new Int32Array(stop);
       while (Atomics.load(flag, 0) === 0) {
         for (let i = 0; i < 1000; i++) for (const [at, good, bad] of words) {
           memory[at] = bad;
           memory[at] = good;
         }
       }`,
      {
        eval: true,
        workerData: {
          buffer,
          stop,
          words: [
            [0, BUFFER, 0xffff_fff0],
            [6, 16, 0xffff_fff0],
            [7, 2 | (AVAIL << 16), 0xffff | ((NEXT | AVAIL) << 16)],
            [10, 16, 0xffff_fff0],
            [(TABLE - BASE) / 4, BUFFER, 0xffff_fff0],
            [(TABLE - BASE) / 4 + 2, 16, 0xffff_fff0],
          ],
        },
      },
    );
    try {
      await new Promise((resolve) => worker.once('online', resolve));
      for (let i = 0; i < 3000; i++) {
        const queue = createQueue(memory, driver.config);
        const code = codeOf(() => {
          for (const chain of [queue.pop(), queue.pop()]) {
            if (chain === null) continue;
            for (let piece = 0; piece < chain.length; piece++) {
              if (!memory.contains(chain.address(piece), chain.size(piece))) throw new Error('outside');
              if (chain.slice(piece).length !== chain.size(piece)) throw new Error('not what was checked');
            }
          }
        });
        expect([
          undefined,
          'BUFFER_OUT_OF_RANGE',
          'BUFFER_ID_OUT_OF_RANGE',
          'INDIRECT_TABLE_INVALID',
          'INDIRECT_WITH_NEXT',
        ]).toContain(code);
      }
    } finally {
      Atomics.store(new Int32Array(stop), 0, 1);
      await worker.terminate();
    }
  });
});
