import { GuestMemory } from '@vmm/vm-memory';
import { createQueue } from '@vmm/virtio-queue';
import { MockSplitDriver } from '@vmm/virtio-queue/mock';
import { GuardedQueue } from './guarded-queue.ts';

function setUp(): { driver: MockSplitDriver; queue: GuardedQueue; faults: unknown[] } {
  const memory = new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(65536) }]);
  const driver = new MockSplitDriver(memory);
  const faults: unknown[] = [];
  const queue = new GuardedQueue(createQueue(memory, driver.config), 3, (index, cause) =>
    faults.push([index, cause]),
  );
  return { driver, queue, faults };
}

describe('a guarded queue', () => {
  it('reports what pop() meets once, and is empty from then on', () => {
    const { driver, queue, faults } = setUp();
    driver.send([{ writable: 1 }]);
    driver.writeAvailEntry(0, 500);
    expect(queue.pop()).toBeNull();
    driver.writeAvailEntry(0, 0);
    expect(queue.pop()).toBeNull();
    expect(queue.closed).toBe(true);
    expect(faults).toEqual([[3, expect.objectContaining({ code: 'HEAD_OUT_OF_RANGE' })]]);
  });

  it('reports a chain that is given back twice', () => {
    const { driver, queue, faults } = setUp();
    driver.send([{ writable: 1 }]);
    const chain = queue.pop()!;
    queue.addUsed(chain, 0);
    queue.addUsed(chain, 0);
    queue.undoPop(chain);
    expect(faults).toEqual([[3, expect.objectContaining({ code: 'CHAIN_NOT_OUT' })]]);
    expect(driver.collect()).toHaveLength(1);
  });

  it('swallows everything once it is closed', () => {
    const { driver, queue, faults } = setUp();
    driver.send([{ writable: 1 }]);
    const chain = queue.pop()!;
    queue.close();
    queue.addUsed(chain, 1);
    queue.undoPop(chain);
    queue.disableNotifications();
    expect(queue.enableNotifications()).toBe(false);
    expect(queue.needsInterrupt()).toBe(false);
    expect(() => queue.save()).toThrow('queue 3 is closed');
    expect(faults).toEqual([]);
    expect(driver.collect()).toEqual([]);
  });
});
