import { BASE, makeMemory, makeRig, popChain } from '../../test/support.ts';
import { MockSplitDriver } from './index.ts';

describe('the mock driver', () => {
  it('lays out a ring with the alignments of §2.7 and cleared flags and indices', () => {
    const memory = makeMemory();
    memory.fill(BASE, 0x2_0000, 0xff);
    for (const size of [1, 2, 16, 256]) {
      const { config, usedFlags, usedIdx, availIdx, availEvent } = new MockSplitDriver(memory, { size });
      expect([config.descriptorArea % 16, config.driverArea % 2, config.deviceArea % 4]).toEqual([0, 0, 0]);
      expect(config.driverArea).toBeGreaterThanOrEqual(config.descriptorArea + 16 * size);
      expect(config.deviceArea).toBeGreaterThanOrEqual(config.driverArea + 6 + 2 * size);
      expect([usedFlags, usedIdx, availIdx, availEvent]).toEqual([0, 0, 0, 0]);
    }
  });

  it('keeps inside the range that it was given', () => {
    const memory = makeMemory();
    const driver = new MockSplitDriver(memory, { size: 4, base: BASE + 0x1000, end: BASE + 0x1200 });
    driver.send([{ readable: new Uint8Array(256).fill(1) }]);
    expect(() => driver.add([{ readable: new Uint8Array(256) }])).toThrow(RangeError);
    expect(memory.slice(BASE, 0x1000).every((byte) => byte === 0)).toBe(true);
    expect(memory.slice(BASE + 0x1200, 0x1000).every((byte) => byte === 0)).toBe(true);
    expect(() => new MockSplitDriver(memory, { base: BASE + 8 })).toThrow(RangeError);
    expect(() => new MockSplitDriver(memory, { base: BASE + 0x1000, end: BASE + 0x1010 })).toThrow(
      RangeError,
    );
  });

  it('shows the device nothing before it publishes', () => {
    const { driver, queue } = makeRig();
    driver.add([{ readable: 'x' }]);
    expect(queue.pop()).toBeNull();
    expect(driver.publish()).toBe(true);
    expect(driver.publish()).toBe(false);
    expect(queue.pop()).not.toBeNull();
  });

  it('takes descriptors and memory back when the device has used a chain', () => {
    const { driver, queue } = makeRig({ size: 4, indirect: true });
    for (let i = 0; i < 2000; i++) {
      driver.send(
        [{ readable: new Uint8Array(100) }, { writable: 1000 }],
        i % 2 === 0 ? 'direct' : 'indirect',
      );
      expect(driver.pendingChains).toBe(1);
      queue.addUsed(popChain(queue), 0);
      driver.collect();
    }
    expect([driver.freeDescriptors, driver.pendingChains]).toEqual([4, 0]);
    expect(() => driver.add([1, 2, 3, 4, 5].map(() => ({ writable: 1 })))).toThrow(RangeError);
    expect(() => driver.add([])).toThrow(RangeError);
  });

  it('gives what was written, as far as it was written', () => {
    const { driver, queue } = makeRig();
    driver.send([{ readable: 'x' }, { writable: 2 }, { writable: 2 }]);
    const chain = popChain(queue);
    chain.writer.write(Uint8Array.of(1, 2, 3, 4));
    queue.addUsed(chain, 3);
    expect(driver.collect().map(({ length, written }) => [length, ...written])).toEqual([[3, 1, 2, 3]]);
  });

  it('complains about a used element that names no pending chain', () => {
    const { memory, driver, queue } = makeRig();
    driver.send([{ writable: 1 }]);
    queue.addUsed(popChain(queue), 0);
    memory.writeUint32(driver.config.deviceArea + 4, 7);
    expect(() => driver.collect()).toThrow(/chain 7 was used but not pending/);
  });

  it('corrupts single fields of a descriptor', () => {
    const { driver } = makeRig();
    const head = driver.send([{ readable: 'x' }]);
    const before = driver.readDescriptor(head);
    driver.corruptDescriptor(head, { next: 0x1234, address: 2n ** 64n - 1n });
    expect(driver.readDescriptor(head)).toEqual({ ...before, next: 0x1234, address: 2n ** 64n - 1n });
  });
});
