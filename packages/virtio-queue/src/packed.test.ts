import { GuestMemory } from '@vmm/vm-memory';
import { BASE, codeOf, makeMemory, makePackedRig, popChain } from '../test/support.ts';
import {
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_USED as USED,
  VIRTQ_DESC_F_WRITE as WRITE,
  createQueue,
} from './index.ts';
import { MockPackedDriver } from './mock/index.ts';

describe.each([false, true])('a packed ring on shared memory: %s', (shared) => {
  it('gives chains as the driver made them available, in order (§2.8.12)', () => {
    const { driver, queue } = makePackedRig({ shared });
    driver.add([{ readable: 'hello' }, { writable: 3 }, { writable: 4 }]);
    driver.add([{ readable: 'x' }]);
    expect(queue.pop()).toBeNull();
    driver.publish();
    const first = popChain(queue);
    const text = new Uint8Array(5);
    first.reader.read(text);
    expect(String.fromCharCode(...text)).toBe('hello');
    expect([first.readableCount, first.writableCount, first.writableBytes]).toEqual([1, 2, 7]);
    expect(popChain(queue).readableBytes).toBe(1);
    expect(queue.pop()).toBeNull();
  });

  it('writes one used descriptor for a chain, over its first, and skips the rest (§2.8.6)', () => {
    const { memory, driver, queue } = makePackedRig({ shared });
    const head = driver.send([{ readable: 'ab' }, { writable: 4 }, { writable: 4 }]);
    const next = driver.send([{ writable: 1 }]);
    const before = [1, 2].map((i) => driver.readDescriptor(i));
    const { address } = driver.readDescriptor(0);
    const chain = popChain(queue);
    expect(chain.head).toBe(head);
    chain.writer.write(Uint8Array.of(1, 2, 3, 4, 5));
    queue.addUsed(chain, 5);
    expect(driver.readDescriptor(0)).toEqual({
      address,
      length: 5,
      id: head,
      flags: AVAIL | USED | WRITE,
    });
    expect([1, 2].map((i) => driver.readDescriptor(i))).toEqual(before);
    queue.addUsed(popChain(queue), 0);
    expect(driver.readDescriptor(3)).toMatchObject({ length: 0, id: next, flags: AVAIL | USED });
    expect(driver.collect().map(({ written }) => [...written])).toEqual([[1, 2, 3, 4, 5], []]);
    expect(memory.readUint16(driver.config.deviceArea + 2)).toBe(0);
  });

  it('has chains used in any order, each over the next descriptor in the ring (§2.8.12)', () => {
    const { driver, queue } = makePackedRig({ shared, size: 8 });
    for (let i = 0; i < 4; i++) driver.add([{ readable: 'x' }, { writable: 1 }]);
    driver.publish();
    const chains = [0, 1, 2, 3].map(() => popChain(queue));
    expect(queue.pop()).toBeNull();
    const order = [2, 0, 3, 1];
    for (const i of order) {
      chains[i]!.writer.writeUint8(i);
      queue.addUsed(chains[i]!, 1);
    }
    expect([0, 2, 4, 6].map((at) => driver.readDescriptor(at).id)).toEqual(order.map((i) => chains[i]!.head));
    expect(driver.collect().map(({ written }) => written[0])).toEqual(order);
  });

  it('toggles the wrap counter at its end, whatever its size (§2.8.1, §2.8.10.1)', () => {
    for (const size of [1, 2, 3, 5, 7]) {
      const { driver, queue } = makePackedRig({ shared, size });
      for (let i = 0; i < 5 * size; i++) {
        driver.send([{ readable: [i] }]);
        const chain = popChain(queue);
        expect(chain.reader.readUint8()).toBe(i);
        expect(queue.pop()).toBeNull();
        queue.addUsed(chain, 0);
        expect(driver.collect()).toHaveLength(1);
        const wrap = Math.floor((i + 1) / size) % 2 === 0 ? 0x8000 : 0;
        expect(queue.save().nextAvail).toBe(((i + 1) % size) | wrap);
      }
    }
  });

  it('lets chains reach over its end', () => {
    const { driver, queue } = makePackedRig({ shared, size: 5 });
    for (let i = 0; i < 20; i++) {
      driver.send([{ readable: [i] }, { readable: [i + 1] }, { writable: 2 }]);
      const chain = popChain(queue);
      expect([chain.reader.readUint8(), chain.reader.readUint8()]).toEqual([i, i + 1]);
      chain.writer.writeUint16(i);
      queue.addUsed(chain, 2);
      expect(driver.collect().map(({ written }) => [...written])).toEqual([[i, 0]]);
    }
  });

  it('is full with a chain of its whole length, or with as many chains', () => {
    const { driver, queue } = makePackedRig({ shared, size: 6 });
    driver.send(Array.from({ length: 6 }, () => ({ writable: 1 })));
    const chain = popChain(queue);
    expect(chain.length).toBe(6);
    expect(queue.pop()).toBeNull();
    queue.addUsed(chain, 0);
    driver.collect();
    for (let i = 0; i < 6; i++) driver.send([{ writable: 1 }]);
    for (let i = 0; i < 6; i++) expect(popChain(queue).length).toBe(1);
    expect(queue.pop()).toBeNull();
  });

  it('reads every entry of an indirect table and of its flags WRITE alone (§2.8.7)', () => {
    const { memory, driver, queue } = makePackedRig({ shared, indirect: true });
    const head = driver.add([{ readable: 'ab' }, { readable: 'c' }, { writable: 3 }], 'indirect');
    const table = Number(driver.readDescriptor(0).address);
    memory.writeUint16(table + 14, 0xffff & ~WRITE);
    memory.writeUint16(table + 16 + 14, 4 | AVAIL);
    // In the descriptor of the table WRITE means nothing.
    driver.corruptChain(head, 0, { flags: 4 | WRITE });
    driver.publish();
    const chain = popChain(queue);
    expect([chain.head, chain.readableBytes, chain.writableBytes]).toEqual([head, 3, 3]);
    chain.writer.writeUint8(9);
    queue.addUsed(chain, 1);
    expect(driver.collect().map(({ written }) => [...written])).toEqual([[9]]);
    expect(driver.freeDescriptors).toBe(16);
  });

  it('marks written buffers, used descriptors and its event suppression dirty', () => {
    const { memory, driver, queue } = makePackedRig({ shared, size: 1024 });
    const writable = BASE + 0x1_2000;
    driver.send([{ address: writable, size: 0x1000, isWritable: true }]);
    const dirty = memory.enableDirtyTracking();
    const chain = popChain(queue);
    expect(dirty.isDirty(driver.config.descriptorArea)).toBe(false);
    queue.addUsed(chain, 0);
    expect(dirty.isDirty(writable)).toBe(true);
    expect(dirty.isDirty(writable + 0x1000)).toBe(false);
    expect(dirty.isDirty(driver.config.descriptorArea)).toBe(true);
    memory.takeDirty();
    queue.disableNotifications();
    expect(dirty.isDirty(driver.config.deviceArea)).toBe(true);
  });
});

describe('a chain of a packed ring', () => {
  it('is an object that is used again, so that steady traffic allocates nothing', () => {
    const { driver, queue } = makePackedRig({ size: 4 });
    const seen = new Set<object>();
    for (let i = 0; i < 9; i++) {
      driver.send([{ readable: 'x' }]);
      driver.send([{ readable: 'x' }, { writable: 1 }]);
      for (const chain of [popChain(queue), popChain(queue)]) {
        seen.add(chain).add(chain.reader).add(chain.writer);
        queue.addUsed(chain, 0);
      }
      driver.collect();
    }
    expect(seen.size).toBe(6);
  });

  it('may be of 2^32 bytes but no more, and its used length is one less', () => {
    const memory = makeMemory(0x20_0000);
    const run = (last: number) => {
      const driver = new MockPackedDriver(memory, { size: 32768 });
      const queue = createQueue(memory, driver.config);
      const buffer = { address: BASE + 0x10_0000, size: 0x2_0000, isWritable: true };
      driver.send([...Array.from({ length: 32767 }, () => buffer), { ...buffer, size: last }]);
      return { driver, queue };
    };
    const { driver, queue } = run(0x2_0000);
    const chain = popChain(queue);
    expect([chain.length, chain.writableBytes]).toEqual([32768, 2 ** 32]);
    queue.addUsed(chain, 2 ** 32);
    expect(driver.readDescriptor(0).length).toBe(2 ** 32 - 1);
    expect(codeOf(() => run(0x2_0001).queue.pop())).toBe('CHAIN_TOO_LARGE');
  });

  it('has two pieces where a descriptor reaches into the next region', () => {
    const memory = new GuestMemory([
      { guestAddress: BASE, bytes: new Uint8Array(0x1000) },
      { guestAddress: BASE + 0x1000, bytes: new Uint8Array(0x1000) },
    ]);
    const driver = new MockPackedDriver(memory);
    const queue = createQueue(memory, driver.config);
    driver.send([{ address: BASE + 0xffe, size: 4, isWritable: false }]);
    const chain = popChain(queue);
    expect([0, 1].map((i) => [chain.address(i), chain.size(i)])).toEqual([
      [BASE + 0xffe, 2],
      [BASE + 0x1000, 2],
    ]);
  });
});

describe('undoPop on a packed ring', () => {
  it('makes the chain the next one again, also over the end of the ring', () => {
    const { driver, queue } = makePackedRig({ size: 5 });
    for (let i = 0; i < 12; i++) {
      const heads = [driver.send([{ readable: 'ab' }, { writable: 1 }]), driver.send([{ readable: 'c' }])];
      const first = popChain(queue);
      first.reader.readUint8();
      queue.undoPop(first);
      const again = popChain(queue);
      expect([again.head, again.reader.remaining]).toEqual([heads[0], 2]);
      const second = popChain(queue);
      queue.undoPop(second);
      queue.undoPop(again);
      const chains = [popChain(queue), popChain(queue)];
      expect(chains.map(({ head }) => head)).toEqual(heads);
      expect(queue.pop()).toBeNull();
      for (const chain of chains.reverse()) queue.addUsed(chain, 0);
      expect(driver.collect()).toHaveLength(2);
    }
  });

  it('leaves what was used before in place', () => {
    const { driver, queue } = makePackedRig({ size: 4 });
    const [a, b, c] = ['a', 'b', 'c'].map((text) => driver.send([{ readable: text }]));
    const first = popChain(queue);
    queue.addUsed(popChain(queue), 0);
    const third = popChain(queue);
    queue.undoPop(third);
    expect(codeOf(() => queue.undoPop(first))).toBe('CHAIN_NOT_OUT');
    expect(popChain(queue).head).toBe(c);
    expect(driver.collect().map(({ head }) => head)).toEqual([b]);
    queue.addUsed(first, 0);
    expect(driver.collect().map(({ head }) => head)).toEqual([a]);
  });
});

describe('addUsed on a packed ring', () => {
  it('refuses a chain that is not out, one of another queue, and what is no number of bytes', () => {
    const { driver, queue } = makePackedRig();
    const other = makePackedRig();
    driver.send([{ writable: 4 }]);
    other.driver.send([{ writable: 4 }]);
    const chain = popChain(queue);
    for (const bad of [5, -1, 0.5, NaN]) {
      expect(codeOf(() => queue.addUsed(chain, bad))).toBe('INVALID_ARGUMENT');
    }
    expect(codeOf(() => queue.addUsed(popChain(other.queue), 0))).toBe('CHAIN_NOT_OUT');
    expect(driver.collect()).toEqual([]);
    queue.addUsed(chain, 4);
    expect(codeOf(() => queue.addUsed(chain, 0))).toBe('CHAIN_NOT_OUT');
    expect(driver.collect()).toHaveLength(1);
  });
});
