import { GuestMemory } from '@vmm/vm-memory';
import { createSplitQueue } from './index.ts';
import { MockSplitDriver } from './mock/index.ts';

function setUp(options: { eventIdx?: boolean; indirect?: boolean; size?: number } = {}) {
  const memory = new GuestMemory([{ guestAddress: 0x4000_0000, bytes: new Uint8Array(0x10000) }]);
  const driver = new MockSplitDriver(memory, options);
  return { memory, driver, queue: createSplitQueue(memory, driver.config) };
}

describe('a split queue', () => {
  it('gives a chain to the device and its answer to the driver', () => {
    const { driver, queue } = setUp();
    const head = driver.send([{ readable: 'hello' }, { writable: 8 }]);
    const chain = queue.pop()!;
    expect(chain.head).toBe(head);
    const request = new Uint8Array(5);
    chain.reader.read(request);
    chain.writer.write(request);
    queue.addUsed(chain, 5);
    expect(queue.pop()).toBeNull();
    expect(driver.collect()).toEqual([{ head, length: 5, written: Uint8Array.from(request) }]);
  });
});
