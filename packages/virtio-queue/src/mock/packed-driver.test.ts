import { BASE, codeOf, makeMemory, makePackedRig, popChain } from '../../test/support.ts';
import {
  VIRTQ_DESC_F_AVAIL as AVAIL,
  VIRTQ_DESC_F_NEXT as NEXT,
  VIRTQ_DESC_F_USED as USED,
} from '../index.ts';
import { createMockDriver, MockPackedDriver, MockSplitDriver } from './index.ts';

describe('the mock driver of a packed ring', () => {
  it('is made by name, as that of a split ring is', () => {
    const memory = makeMemory();
    expect(createMockDriver(memory, { packed: true })).toBeInstanceOf(MockPackedDriver);
    expect(createMockDriver(memory)).toBeInstanceOf(MockSplitDriver);
    expect(createMockDriver(memory, { packed: true, inOrder: true }).config).toMatchObject({
      packed: true,
      inOrder: true,
    });
  });

  it('lays out a ring with the alignments of §2.8.10.1 and zeroes', () => {
    const memory = makeMemory();
    memory.fill(BASE, 0x2_0000, 0xff);
    for (const size of [1, 3, 16, 255]) {
      const { config, deviceEvent } = new MockPackedDriver(memory, { size });
      expect([config.descriptorArea % 16, config.driverArea % 4, config.deviceArea % 4]).toEqual([0, 0, 0]);
      expect(config.driverArea).toBeGreaterThanOrEqual(config.descriptorArea + 16 * size);
      expect(config.deviceArea).toBeGreaterThanOrEqual(config.driverArea + 4);
      expect(deviceEvent).toEqual({ flags: 0, offset: 0, wrap: false });
      expect(memory.slice(config.descriptorArea, 16 * size).every((byte) => byte === 0)).toBe(true);
    }
  });

  it('makes the first descriptor of a list available last (§2.8.6)', () => {
    const { driver, queue } = makePackedRig({ size: 4 });
    const head = driver.add([{ readable: 'x' }, { readable: 'y' }]);
    expect([driver.readDescriptor(0).flags, driver.readDescriptor(1).flags]).toEqual([0, AVAIL]);
    expect(queue.pop()).toBeNull();
    expect(driver.publish()).toBe(true);
    expect(driver.publish()).toBe(false);
    expect(driver.readDescriptor(0).flags).toBe(AVAIL | NEXT);
    expect(driver.readDescriptor(1).id).toBe(head);
    expect(driver.descriptorIndex(head, 1)).toBe(1);
  });

  it('does not take a Buffer ID for a place in the ring', () => {
    const { driver } = makePackedRig({ size: 4 });
    expect(driver.descriptorIndex(driver.send([{ readable: 'x' }]), 0)).toBe(0);
    expect(driver.readDescriptor(0).id).toBe(3);
  });

  it('takes descriptors, Buffer IDs and memory back when the device has used a chain', () => {
    const { driver, queue } = makePackedRig({ size: 5, indirect: true });
    for (let i = 0; i < 2000; i++) {
      driver.send(
        [{ readable: new Uint8Array(100) }, { writable: 1000 }],
        i % 2 === 0 ? 'direct' : 'indirect',
      );
      queue.addUsed(popChain(queue), 0);
      expect(driver.collect()).toHaveLength(1);
    }
    expect([driver.freeDescriptors, driver.pendingChains]).toEqual([5, 0]);
    expect(() => driver.add([1, 2, 3, 4, 5, 6].map(() => ({ writable: 1 })))).toThrow(RangeError);
    expect(() => driver.add([])).toThrow(RangeError);
    expect(() => driver.add([{ readable: 'x' }, { writable: 1 }], 1)).toThrow(/§2.8.19/);
  });

  it('understands a batch of which the device uses only the last (§2.8.8)', () => {
    const { memory, driver } = makePackedRig({ size: 4, inOrder: true });
    const heads = [1, 2].map((size) => driver.send([{ writable: size }]));
    const at = driver.config.descriptorArea;
    memory.writeUint32(at + 8, 1);
    memory.writeUint16(at + 12, heads[1]!);
    memory.writeUint16(at + 14, AVAIL | USED);
    expect(driver.collect().map(({ head, length }) => [head, length])).toEqual([
      [heads[0], 1],
      [heads[1], 1],
    ]);
    expect(driver.freeDescriptors).toBe(4);
  });

  it('complains about a used descriptor that names no pending chain', () => {
    const { memory, driver, queue } = makePackedRig({ size: 4 });
    driver.send([{ writable: 1 }]);
    queue.addUsed(popChain(queue), 0);
    memory.writeUint16(driver.config.descriptorArea + 12, 0);
    expect(() => driver.collect()).toThrow(/chain 0 was used but not pending/);
  });

  it('corrupts what is published and what is not, and leaves it so', () => {
    const { driver, queue } = makePackedRig({ size: 4 });
    const head = driver.add([{ readable: 'x' }]);
    driver.corruptChain(head, 0, { address: 2n ** 64n - 1n, flags: 0xffff, id: 7 });
    expect(queue.pop()).toBeNull();
    expect(driver.readDescriptor(0)).toMatchObject({ address: 2n ** 64n - 1n, id: 7, flags: 0 });
    driver.publish();
    expect(driver.readDescriptor(0).flags).toBe(0xffff & ~USED);
    driver.corruptDescriptor(0, { flags: USED });
    expect(driver.readDescriptor(0)).toMatchObject({ id: 7, flags: USED });
    expect(codeOf(() => queue.pop())).toBeUndefined();
  });
});
