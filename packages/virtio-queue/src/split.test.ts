import { GuestMemory } from '@vmm/vm-memory';
import { BASE, codeOf, makeMemory, makeRig, popChain } from '../test/support.ts';
import { createQueue, restoreQueue } from './index.ts';
import { MockSplitDriver } from './mock/index.ts';

describe.each([
  ['an ArrayBuffer', false],
  ['a SharedArrayBuffer', true],
])('a split queue on %s', (_name, shared) => {
  it('gives a chain to the device and its answer to the driver', () => {
    const { driver, queue } = makeRig({ shared });
    const head = driver.send([{ readable: 'hello' }, { writable: 8 }]);
    const chain = popChain(queue);
    expect(chain.head).toBe(head);
    const request = new Uint8Array(5);
    chain.reader.read(request);
    chain.writer.write(request);
    queue.addUsed(chain, 5);
    expect(queue.pop()).toBeNull();
    expect(driver.collect()).toEqual([{ head, length: 5, written: Uint8Array.from(request) }]);
  });

  it('describes a chain by its pieces', () => {
    const { memory, driver, queue } = makeRig({ shared });
    driver.send([{ readable: [1, 2] }, { readable: [3] }, { writable: 4 }]);
    const chain = popChain(queue);
    expect([chain.length, chain.readableCount, chain.writableCount]).toEqual([3, 2, 1]);
    expect([chain.readableBytes, chain.writableBytes]).toEqual([3, 4]);
    expect([0, 1, 2].map((i) => chain.isWritable(i))).toEqual([false, false, true]);
    expect([0, 1, 2].map((i) => chain.size(i))).toEqual([2, 1, 4]);
    expect([...chain.slice(0), ...chain.slice(1)]).toEqual([1, 2, 3]);
    expect(memory.readUint8(chain.address(1))).toBe(3);
    chain.slice(2)[0] = 9;
    expect(memory.readUint8(chain.address(2))).toBe(9);
    expect(chain.region(2).bytes[chain.offset(2)]).toBe(9);
    for (const bad of [-1, 3, NaN]) expect(codeOf(() => chain.slice(bad))).toBe('INVALID_ARGUMENT');
  });

  it('follows an indirect table, alone or after direct descriptors (§2.7.5.3.2)', () => {
    const { driver, queue } = makeRig({ shared, indirect: true });
    const buffers = [{ readable: 'a' }, { readable: 'bc' }, { writable: 2 }, { writable: 1 }];
    for (const layout of ['direct', 'indirect', 1, 3] as const) {
      driver.send(buffers, layout);
      const chain = popChain(queue);
      expect([chain.readableCount, chain.writableCount]).toEqual([2, 2]);
      expect([...chain.reader.take(), ...chain.reader.take()]).toEqual([97, 98, 99]);
      chain.writer.write(Uint8Array.of(1, 2, 3));
      queue.addUsed(chain, 3);
      expect(driver.collect().map(({ written }) => [...written])).toEqual([[1, 2, 3]]);
    }
    expect(driver.freeDescriptors).toBe(16);
  });

  it('ignores VIRTQ_DESC_F_WRITE in the descriptor of a table (§2.7.5.3.2)', () => {
    const { driver, queue } = makeRig({ shared, indirect: true });
    const head = driver.send([{ readable: 'x' }], 'indirect');
    driver.corruptDescriptor(head, { flags: 4 | 2 });
    expect(popChain(queue).readableBytes).toBe(1);
  });

  it('reads an indirect table at any address', () => {
    const { memory, driver, queue } = makeRig({ shared, indirect: true });
    const head = driver.send([{ readable: 'xy' }], 'indirect');
    const table = new Uint8Array(16);
    memory.read(Number(driver.readDescriptor(head).address), table);
    memory.write(BASE + 0x1_ff01, table);
    driver.corruptDescriptor(head, { address: BASE + 0x1_ff01 });
    expect([...popChain(queue).slice(0)]).toEqual([120, 121]);
  });

  it('has up to its size of chains out, used in any order', () => {
    const { driver, queue } = makeRig({ shared, size: 4 });
    for (let i = 0; i < 4; i++) driver.add([{ writable: 1 }]);
    driver.publish();
    const chains = [0, 1, 2, 3].map(() => popChain(queue));
    expect(queue.pop()).toBeNull();
    for (const i of [2, 0, 3, 1]) {
      chains[i]!.writer.writeUint8(i);
      queue.addUsed(chains[i]!, 1);
    }
    expect(driver.collect().map(({ written }) => written[0])).toEqual([2, 0, 3, 1]);
  });

  it('wraps its indices at 2^16', () => {
    const memory = makeMemory(undefined, shared);
    const driver = new MockSplitDriver(memory, { size: 8, firstIndex: 0xfffd });
    const { config } = driver;
    const queue = restoreQueue(memory, {
      version: 1,
      format: 'split',
      config,
      nextAvail: 0xfffd,
      nextUsed: 0xfffd,
    });
    for (let i = 0; i < 8; i++) {
      driver.send([{ readable: [i] }]);
      const chain = popChain(queue);
      expect(chain.reader.readUint8()).toBe(i);
      queue.addUsed(chain, 0);
      expect(driver.collect()).toHaveLength(1);
    }
    expect(driver.usedIdx).toBe(5);
    expect(queue.save()).toMatchObject({ nextAvail: 5, nextUsed: 5 });
  });

  it('marks written buffers and the used ring dirty', () => {
    const { memory, driver, queue } = makeRig({ shared, size: 1024 });
    const [readable, writable] = [BASE + 0x1_0000, BASE + 0x1_2000];
    driver.send([
      { address: readable, size: 16, isWritable: false },
      { address: writable, size: 0x1000, isWritable: true },
    ]);
    const dirty = memory.enableDirtyTracking();
    const chain = popChain(queue);
    expect(dirty.isDirty(writable)).toBe(false);
    queue.addUsed(chain, 0);
    expect(dirty.isDirty(writable)).toBe(true);
    expect(dirty.isDirty(writable + 0x1000)).toBe(false);
    expect(dirty.isDirty(readable)).toBe(false);
    expect(dirty.isDirty(driver.config.deviceArea)).toBe(true);
    expect(dirty.isDirty(driver.config.descriptorArea)).toBe(false);
    memory.takeDirty();
    queue.disableNotifications();
    expect(dirty.isDirty(driver.config.deviceArea)).toBe(true);
  });

  it('marks all of a chain dirty whose buffers adjoin, overlap, repeat and go back', () => {
    const { memory, driver, queue } = makeRig({ shared, size: 16 });
    const at = BASE + 0x1_0000;
    const ranges = [
      [0x0000, 0x1000],
      [0x1000, 0x1000],
      [0x1800, 0x0100],
      [0x6000, 0x0001],
      [0x6000, 0x0001],
      [0x4000, 0x1000],
      [0x4ff0, 0x0020],
    ] as const;
    driver.send(ranges.map(([offset, size]) => ({ address: at + offset, size, isWritable: true })));
    const dirty = memory.enableDirtyTracking();
    queue.addUsed(popChain(queue), 0);
    const marked = Array.from({ length: 8 }, (_, page) => page).filter((page) =>
      dirty.isDirty(at + page * 0x1000),
    );
    expect(marked).toEqual([0, 1, 4, 5, 6]);
  });
});

describe('a chain', () => {
  it('is the same object for the same head, so that steady traffic allocates nothing', () => {
    const { driver, queue } = makeRig({ size: 1 });
    const seen = new Set<object>();
    for (let i = 0; i < 3; i++) {
      driver.send([{ readable: 'x' }]);
      const chain = popChain(queue);
      seen.add(chain).add(chain.reader).add(chain.writer);
      queue.addUsed(chain, 0);
      driver.collect();
    }
    expect(seen.size).toBe(3);
  });

  it('is empty once it was used', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'x' }, { writable: 1 }]);
    const chain = popChain(queue);
    const { writer } = chain;
    queue.addUsed(chain, 0);
    expect([chain.length, chain.readableBytes, chain.writableBytes]).toEqual([0, 0, 0]);
    expect(codeOf(() => writer.writeUint8(1))).toBe('CHAIN_TOO_SHORT');
  });

  it('may hold empty descriptors, which make no piece and whose address means nothing (§2.7.5)', () => {
    const { driver, queue } = makeRig();
    const nowhere = { address: 0x1234, size: 0 };
    driver.send([
      { ...nowhere, isWritable: false },
      { readable: 'x' },
      { ...nowhere, isWritable: true },
      { writable: 3 },
    ]);
    driver.send([{ ...nowhere, isWritable: true }]);
    const chain = popChain(queue);
    expect([chain.readableCount, chain.writableCount]).toEqual([1, 1]);
    expect(popChain(queue).length).toBe(0);
  });

  it('has two pieces where a descriptor reaches into the next region', () => {
    const memory = new GuestMemory([
      { guestAddress: BASE, bytes: new Uint8Array(0x1000) },
      { guestAddress: BASE + 0x1000, bytes: new Uint8Array(0x1000) },
    ]);
    const driver = new MockSplitDriver(memory);
    const queue = createQueue(memory, driver.config);
    memory.write(BASE + 0xffe, Uint8Array.of(1, 2, 3, 4));
    driver.send([
      { address: BASE + 0xffe, size: 4, isWritable: false },
      { address: BASE + 0xfff, size: 4, isWritable: true },
    ]);
    const chain = popChain(queue);
    expect([0, 1, 2, 3].map((i) => [chain.address(i), chain.size(i), chain.isWritable(i)])).toEqual([
      [BASE + 0xffe, 2, false],
      [BASE + 0x1000, 2, false],
      [BASE + 0xfff, 1, true],
      [BASE + 0x1000, 3, true],
    ]);
    expect(chain.reader.readUint32()).toBe(0x04030201);
    chain.writer.writeUint32(0x08070605);
    expect(memory.readUint32(BASE + 0xfff)).toBe(0x08070605);
  });

  it('may be of 2^32 bytes but no more, and its used length is one less (§2.7.5.2, §2.7.8.2)', () => {
    const memory = makeMemory(0x20_0000);
    const driver = new MockSplitDriver(memory, { size: 32768 });
    const queue = createQueue(memory, driver.config);
    const buffer = { address: BASE + 0x10_0000, size: 0x2_0000, isWritable: true };
    const head = driver.send(Array.from({ length: 32768 }, () => buffer));
    const chain = popChain(queue);
    expect([chain.length, chain.writableBytes]).toEqual([32768, 2 ** 32]);
    queue.addUsed(chain, 2 ** 32);
    expect(memory.readUint32(driver.config.deviceArea + 8)).toBe(2 ** 32 - 1);

    driver.corruptDescriptor(head, { length: 0x2_0001 });
    driver.writeAvailEntry(1, head);
    driver.writeAvailIdx(2);
    expect(codeOf(() => queue.pop())).toBe('CHAIN_TOO_LARGE');
  });
});

describe('addUsed', () => {
  it('refuses more bytes than the chain has room for, and what is no number of bytes', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'x' }, { writable: 4 }]);
    const chain = popChain(queue);
    for (const bad of [5, -1, 0.5, NaN]) {
      expect(codeOf(() => queue.addUsed(chain, bad))).toBe('INVALID_ARGUMENT');
    }
    expect(driver.usedIdx).toBe(0);
    queue.addUsed(chain, 4);
    expect(driver.usedIdx).toBe(1);
  });

  it('refuses a chain that is not out, and one of another queue', () => {
    const { driver, queue } = makeRig();
    const other = makeRig();
    driver.send([{ readable: 'x' }]);
    other.driver.send([{ readable: 'x' }]);
    const chain = popChain(queue);
    const foreign = popChain(other.queue);
    expect(foreign.head).toBe(chain.head);
    expect(codeOf(() => queue.addUsed(foreign, 0))).toBe('CHAIN_NOT_OUT');
    queue.addUsed(chain, 0);
    expect(codeOf(() => queue.addUsed(chain, 0))).toBe('CHAIN_NOT_OUT');
    expect(driver.usedIdx).toBe(1);
  });
});

describe('undoPop', () => {
  it('makes the chain the next one again', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'ab' }]);
    driver.send([{ readable: 'c' }]);
    const first = popChain(queue);
    first.reader.readUint8();
    queue.undoPop(first);
    const again = popChain(queue);
    expect(again).toBe(first);
    expect(again.reader.remaining).toBe(2);
    const second = popChain(queue);
    queue.undoPop(second);
    queue.undoPop(again);
    expect([popChain(queue).head, popChain(queue).head]).toEqual([first.head, second.head]);
    expect(queue.pop()).toBeNull();
  });

  it('refuses a chain that was not popped last, or is not out', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'a' }]);
    driver.send([{ readable: 'b' }]);
    const first = popChain(queue);
    const second = popChain(queue);
    expect(codeOf(() => queue.undoPop(first))).toBe('CHAIN_NOT_OUT');
    queue.undoPop(second);
    expect(codeOf(() => queue.undoPop(second))).toBe('CHAIN_NOT_OUT');
    queue.addUsed(first, 0);
    expect(codeOf(() => queue.undoPop(first))).toBe('CHAIN_NOT_OUT');
  });

  it('is not fooled by what the driver writes to the available ring meanwhile', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'a' }]);
    driver.send([{ readable: 'b' }]);
    const first = popChain(queue);
    const second = popChain(queue);
    driver.writeAvailEntry(1, first.head);
    expect(codeOf(() => queue.undoPop(first))).toBe('CHAIN_NOT_OUT');
    queue.undoPop(second);
    expect(codeOf(() => queue.pop())).toBe('HEAD_IN_USE');
  });
});
