import { makePackedRig, popChain, type Rig } from '../test/support.ts';
import {
  RING_EVENT_FLAGS_DESC as DESC,
  RING_EVENT_FLAGS_DISABLE as DISABLE,
  RING_EVENT_FLAGS_ENABLE as ENABLE,
  createQueue,
  restoreQueue,
} from './index.ts';
import type { MockPackedDriver } from './mock/index.ts';

const WRAP = 0x8000;

/** Has the device use `count` chains of `descriptors` each, and answers whether it wants to interrupt. */
function use({ driver, queue }: Rig<MockPackedDriver>, count: number, descriptors = 1): boolean {
  for (let i = 0; i < count; i++) {
    driver.send(Array.from({ length: descriptors }, () => ({ writable: 1 })));
    queue.addUsed(popChain(queue), 0);
    driver.collect();
  }
  return queue.needsInterrupt();
}

describe('interrupts without EVENT_IDX (§2.8.10)', () => {
  it('are wanted for what was used since the last question, unless the driver disables them', () => {
    const rig = makePackedRig();
    expect(rig.queue.needsInterrupt()).toBe(false);
    expect(use(rig, 1)).toBe(true);
    expect(rig.queue.needsInterrupt()).toBe(false);
    rig.driver.suppressInterrupts(true);
    expect(use(rig, 3)).toBe(false);
    rig.driver.suppressInterrupts(false);
    expect(rig.queue.needsInterrupt()).toBe(false);
    expect(use(rig, 2)).toBe(true);
  });

  it('are not lost to flags that mean nothing without the feature, or nothing at all', () => {
    const rig = makePackedRig();
    for (const flags of [DESC, 3, 0xfffc | DESC, 0xfffc]) {
      rig.driver.writeDriverEvent(7 | WRAP, flags);
      expect(use(rig, 1)).toBe(true);
    }
    rig.driver.writeDriverEvent(7 | WRAP, 0xfffc | DISABLE);
    expect(use(rig, 1)).toBe(false);
  });
});

describe('interrupts with EVENT_IDX (§2.8.10)', () => {
  it('come when the descriptor that the driver named is used, and only once', () => {
    const rig = makePackedRig({ eventIdx: true, size: 8 });
    rig.driver.setUsedEvent();
    expect(use(rig, 1)).toBe(true);
    expect(use(rig, 2)).toBe(false);
    rig.driver.setUsedEvent(5 | WRAP);
    expect(use(rig, 2)).toBe(false);
    expect(use(rig, 1)).toBe(true);
    expect(use(rig, 1)).toBe(false);
  });

  it('heed the wrap counter', () => {
    const rig = makePackedRig({ eventIdx: true, size: 8 });
    rig.driver.setUsedEvent(2);
    expect(use(rig, 8)).toBe(false);
    expect(use(rig, 2)).toBe(false);
    expect(use(rig, 1)).toBe(true);
    rig.driver.setUsedEvent(4 | WRAP);
    expect(use(rig, 9)).toBe(false);
    expect(use(rig, 1)).toBe(true);
  });

  it('come when a chain over the descriptor is used, wherever in the chain it is', () => {
    for (let named = 0; named < 3; named++) {
      const rig = makePackedRig({ eventIdx: true, size: 8 });
      rig.driver.setUsedEvent((3 + named) | WRAP);
      expect(use(rig, 1, 3)).toBe(false);
      expect(use(rig, 1, 3)).toBe(true);
    }
  });

  it('come when the device did not ask for a whole turn of the ring', () => {
    const rig = makePackedRig({ eventIdx: true, size: 4 });
    rig.driver.setUsedEvent(0 | WRAP);
    expect(use(rig, 8)).toBe(true);
    expect(use(rig, 7)).toBe(true);
  });

  it('come once in two turns for a driver that never moves the event', () => {
    const rig = makePackedRig({ eventIdx: true, size: 5 });
    rig.driver.setUsedEvent();
    const wanted = Array.from({ length: 40 }, () => use(rig, 1));
    expect(wanted.flatMap((each, i) => (each ? [i] : []))).toEqual([0, 10, 20, 30]);
  });

  it('are not lost to an event outside the ring', () => {
    const rig = makePackedRig({ eventIdx: true, size: 8 });
    for (const event of [8, 8 | WRAP, 0x7fff, 0xffff]) {
      rig.driver.setUsedEvent(event);
      expect(use(rig, 1)).toBe(true);
    }
  });

  it('follow ENABLE and DISABLE too', () => {
    const rig = makePackedRig({ eventIdx: true });
    rig.driver.suppressInterrupts(true);
    expect(use(rig, 3)).toBe(false);
    rig.driver.suppressInterrupts(false);
    expect(use(rig, 1)).toBe(true);
  });
});

describe('notifications without EVENT_IDX (§2.8.10)', () => {
  it('are disabled and enabled by flags', () => {
    const { driver, queue } = makePackedRig();
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
    queue.disableNotifications();
    expect(driver.deviceEvent.flags).toBe(DISABLE);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(false);
    popChain(queue);
    popChain(queue);
    expect(queue.enableNotifications()).toBe(false);
    expect(driver.deviceEvent.flags).toBe(ENABLE);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
  });

  it('are asked for before the ring is looked at again, so that none is lost', () => {
    const { driver, queue } = makePackedRig();
    queue.disableNotifications();
    expect(queue.pop()).toBeNull();
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(false);
    expect(queue.enableNotifications()).toBe(true);
    popChain(queue);
    expect(queue.enableNotifications()).toBe(false);
  });

  it('are wanted from the start, whatever the driver left in the device area', () => {
    const { memory, driver } = makePackedRig();
    memory.writeUint16(driver.config.deviceArea + 2, DISABLE);
    createQueue(memory, driver.config);
    driver.add([{ readable: 'x' }]);
    expect(driver.publish()).toBe(true);
  });
});

describe('notifications with EVENT_IDX (§2.8.10)', () => {
  it('are asked for at the next descriptor, with its wrap counter', () => {
    const { driver, queue } = makePackedRig({ eventIdx: true, size: 3 });
    for (let i = 0; i < 12; i++) {
      expect(queue.enableNotifications()).toBe(false);
      expect(driver.deviceEvent).toEqual({
        flags: DESC,
        offset: i % 3,
        wrap: Math.floor(i / 3) % 2 === 0,
      });
      driver.add([{ readable: 'x' }]);
      expect(driver.publish()).toBe(true);
      queue.disableNotifications();
      queue.addUsed(popChain(queue), 0);
      driver.collect();
      driver.add([{ readable: 'x' }]);
      expect(driver.publish()).toBe(false);
      expect(queue.enableNotifications()).toBe(true);
      const chain = popChain(queue);
      queue.undoPop(chain);
      queue.addUsed(popChain(queue), 0);
      driver.collect();
      i++;
    }
  });

  it('write the structure and nothing else', () => {
    const { memory, driver, queue } = makePackedRig({ eventIdx: true, size: 8 });
    for (let i = 0; i < 3; i++) {
      driver.send([{ readable: 'x' }]);
      popChain(queue);
    }
    const { descriptorArea, deviceArea } = driver.config;
    const before = Uint8Array.from(memory.slice(descriptorArea, 0x400));
    queue.enableNotifications();
    before.set([3, 0x80, DESC, 0], deviceArea - descriptorArea);
    expect(memory.slice(descriptorArea, 0x400)).toEqual(before);
  });
});

describe('a restored packed queue', () => {
  it.each([false, true])(
    'goes on where the saved one stopped, and interrupts once to be sure',
    (eventIdx) => {
      for (let turns = 0; turns < 9; turns++) {
        const { memory, driver, queue } = makePackedRig({ eventIdx, indirect: true, size: 3 });
        for (let i = 0; i < turns; i++) {
          driver.send([{ readable: [i] }, { writable: 1 }], i % 2 === 0 ? 'indirect' : 'direct');
          queue.addUsed(popChain(queue), 0);
          driver.collect();
        }
        queue.disableNotifications();
        driver.send([{ readable: [99] }], 'indirect');
        const restored = restoreQueue(memory, JSON.parse(JSON.stringify(queue.save())));
        expect(restored.needsInterrupt()).toBe(true);
        expect(restored.needsInterrupt()).toBe(false);
        const chain = popChain(restored);
        expect(chain.reader.readUint8()).toBe(99);
        restored.addUsed(chain, 0);
        expect(driver.collect()).toHaveLength(1);
        expect(restored.enableNotifications()).toBe(false);
        driver.add([{ readable: 'x' }]);
        expect(driver.publish()).toBe(true);
      }
    },
  );
});
