import { makeRig, popChain, type Rig } from '../test/support.ts';
import { restoreQueue } from './index.ts';

/** Adds `count` chains, lets the device use them, and answers whether it wants to interrupt. */
function use({ driver, queue }: Rig, count: number): boolean {
  for (let i = 0; i < count; i++) driver.add([{ writable: 1 }]);
  driver.publish();
  for (let i = 0; i < count; i++) queue.addUsed(popChain(queue), 0);
  driver.collect();
  return queue.needsInterrupt();
}

/** A fast way to have the same chain made available and used again and again. */
function useRaw({ driver, queue }: Rig): () => void {
  const head = driver.add([{ writable: 1 }]);
  for (let i = 0; i < driver.config.size; i++) driver.writeAvailEntry(i, head);
  let index = 0;
  return () => {
    index = (index + 1) & 0xffff;
    driver.writeAvailIdx(index);
    queue.addUsed(popChain(queue), 0);
  };
}

describe('interrupts without EVENT_IDX (§2.7.7)', () => {
  it('are wanted for what was used since the last question, unless the driver suppresses them', () => {
    const rig = makeRig();
    expect(rig.queue.needsInterrupt()).toBe(false);
    expect(use(rig, 1)).toBe(true);
    expect(rig.queue.needsInterrupt()).toBe(false);
    rig.driver.suppressInterrupts(true);
    expect(use(rig, 3)).toBe(false);
    rig.driver.suppressInterrupts(false);
    expect(rig.queue.needsInterrupt()).toBe(false);
    expect(use(rig, 2)).toBe(true);
  });

  it('ignore used_event', () => {
    const rig = makeRig();
    rig.driver.setUsedEvent(0x7000);
    expect(use(rig, 1)).toBe(true);
  });
});

describe('interrupts with EVENT_IDX (§2.7.7.2)', () => {
  it('are wanted when the used index passes used_event, and only once', () => {
    const rig = makeRig({ eventIdx: true });
    expect(use(rig, 1)).toBe(true);
    expect(use(rig, 5)).toBe(false);
    rig.driver.setUsedEvent(8);
    expect(use(rig, 2)).toBe(false);
    expect(use(rig, 1)).toBe(true);
    expect(use(rig, 4)).toBe(false);
    rig.driver.setUsedEvent();
    expect(use(rig, 4)).toBe(true);
    expect(rig.queue.needsInterrupt()).toBe(false);
  });

  it('ignore the flags', () => {
    const rig = makeRig({ eventIdx: true });
    rig.driver.suppressInterrupts(true);
    expect(use(rig, 1)).toBe(true);
  });

  it('come once in 65536 buffers for a driver that never moves used_event', () => {
    const rig = makeRig({ eventIdx: true });
    const turn = useRaw(rig);
    let interrupts = 0;
    for (let i = 0; i < 65536 + 1; i++) {
      turn();
      if (rig.queue.needsInterrupt()) interrupts++;
    }
    expect(interrupts).toBe(2);
  });

  it('are wanted when the device did not ask for a whole turn of the index', () => {
    const rig = makeRig({ eventIdx: true });
    const turn = useRaw(rig);
    turn();
    expect(rig.queue.needsInterrupt()).toBe(true);
    for (let i = 0; i < 65536; i++) turn();
    expect(rig.queue.needsInterrupt()).toBe(true);
    expect(rig.queue.needsInterrupt()).toBe(false);
  });
});

describe('notifications without EVENT_IDX (§2.7.10)', () => {
  it('are suppressed by VIRTQ_USED_F_NO_NOTIFY', () => {
    const { driver, queue } = makeRig();
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
    queue.disableNotifications();
    expect(driver.usedFlags).toBe(1);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(false);
    popChain(queue);
    popChain(queue);
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.usedFlags).toBe(0);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
  });

  it('are asked for before the ring is looked at again, so that none is lost', () => {
    const { driver, queue } = makeRig();
    queue.disableNotifications();
    expect(queue.pop()).toBeNull();
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(false);
    expect(queue.enableNotifications()).toBe(true);
    popChain(queue);
    expect(queue.enableNotifications()).toBe(false);
  });
});

describe('notifications with EVENT_IDX (§2.7.10)', () => {
  it('are asked for by avail_event, and the flags stay 0 (§2.7.10.1)', () => {
    const { driver, queue } = makeRig({ eventIdx: true });
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
    queue.disableNotifications();
    popChain(queue);
    expect(driver.usedFlags).toBe(0);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(false);
    expect(queue.enableNotifications()).toBe(true);
    popChain(queue);
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.availEvent).toBe(2);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
  });

  it('write the place after the ring and nothing else', () => {
    const { memory, driver, queue } = makeRig({ eventIdx: true, size: 8 });
    for (let i = 0; i < 3; i++) {
      driver.send([{ readable: 'x' }]);
      popChain(queue);
    }
    const before = Uint8Array.from(memory.slice(driver.config.descriptorArea, 0x400));
    queue.enableNotifications();
    before[driver.config.deviceArea - driver.config.descriptorArea + 4 + 8 * 8] = 3;
    expect(memory.slice(driver.config.descriptorArea, 0x400)).toEqual(before);
  });
});

describe('a restored queue', () => {
  it('goes on where the saved one stopped, and interrupts once to be sure', () => {
    const { memory, driver, queue } = makeRig({ eventIdx: true, indirect: true });
    for (let i = 0; i < 3; i++) {
      driver.send([{ readable: [i] }], 'indirect');
      queue.addUsed(popChain(queue), 0);
    }
    driver.send([{ readable: [3] }], 'indirect');
    const state: unknown = JSON.parse(JSON.stringify(queue.save()));
    const restored = restoreQueue(memory, state);
    expect(restored.needsInterrupt()).toBe(true);
    expect(restored.needsInterrupt()).toBe(false);
    const chain = popChain(restored);
    expect(chain.reader.readUint8()).toBe(3);
    restored.addUsed(chain, 0);
    expect(driver.collect()).toHaveLength(4);
    expect(restored.save()).toMatchObject({ nextAvail: 4, nextUsed: 4 });
  });
});
