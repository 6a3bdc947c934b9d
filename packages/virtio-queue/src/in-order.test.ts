import { codeOf, makeAnyRig, popChain, type Rig } from '../test/support.ts';
import type { DescriptorChain } from './index.ts';
import type { MockDriver } from './mock/index.ts';

/** Sends `count` chains with room for one byte and pops them. */
function popMany({ driver, queue }: Rig<MockDriver>, count: number): DescriptorChain[] {
  for (let i = 0; i < count; i++) driver.add([{ readable: [i] }, { writable: 1 }]);
  driver.publish();
  return Array.from({ length: count }, () => popChain(queue));
}

/** The first byte written of each chain that the driver gets. */
const collect = ({ driver }: Rig<MockDriver>) => driver.collect().map(({ written }) => written[0]);

describe.each([false, true])('VIRTIO_F_IN_ORDER, packed: %s (§2.7.9, §2.8.8)', (packed) => {
  const make = (eventIdx = false) => makeAnyRig({ packed, inOrder: true, size: 8, eventIdx });

  function use({ queue }: Rig<MockDriver>, chain: DescriptorChain, value: number): void {
    chain.writer.writeUint8(value);
    queue.addUsed(chain, 1);
  }

  it('keeps a chain until all before it are used, and then gives all in order', () => {
    const rig = make();
    const chains = popMany(rig, 4);
    use(rig, chains[2]!, 2);
    use(rig, chains[1]!, 1);
    expect(collect(rig)).toEqual([]);
    use(rig, chains[0]!, 0);
    expect(collect(rig)).toEqual([0, 1, 2]);
    use(rig, chains[3]!, 3);
    expect(collect(rig)).toEqual([3]);
  });

  it('keeps its order while the ring turns', () => {
    const rig = make();
    for (let round = 0; round < 30; round++) {
      const chains = popMany(rig, 3);
      for (const i of [
        [2, 0, 1],
        [1, 2, 0],
        [0, 2, 1],
      ][round % 3]!)
        use(rig, chains[i]!, i);
      expect(collect(rig)).toEqual([0, 1, 2]);
    }
  });

  it('wants an interrupt for what the driver can see, not for what is kept', () => {
    const rig = make();
    const chains = popMany(rig, 2);
    use(rig, chains[1]!, 1);
    expect(rig.queue.needsInterrupt()).toBe(false);
    use(rig, chains[0]!, 0);
    expect(rig.queue.needsInterrupt()).toBe(true);
    expect(rig.queue.needsInterrupt()).toBe(false);
  });

  it('counts what becomes visible at once against the event index', () => {
    const rig = make(true);
    const { driver, queue } = rig;
    const chains = popMany(rig, 4);
    driver.setUsedEvent(packed ? 4 | 0x8000 : 2);
    use(rig, chains[2]!, 2);
    use(rig, chains[1]!, 1);
    expect(queue.needsInterrupt()).toBe(false);
    use(rig, chains[0]!, 0);
    expect(queue.needsInterrupt()).toBe(true);
    use(rig, chains[3]!, 3);
    expect(queue.needsInterrupt()).toBe(false);
  });

  it('has a chain that is kept neither used nor undone again', () => {
    const rig = make();
    const chains = popMany(rig, 3);
    use(rig, chains[2]!, 2);
    expect(codeOf(() => rig.queue.addUsed(chains[2]!, 0))).toBe('CHAIN_NOT_OUT');
    expect(codeOf(() => rig.queue.undoPop(chains[2]!))).toBe('CHAIN_NOT_OUT');
    expect(codeOf(() => rig.queue.undoPop(chains[1]!))).toBe('CHAIN_NOT_OUT');
    expect([chains[2]!.length, collect(rig)]).toEqual([0, []]);
  });

  it('has a chain undone and popped again in its place', () => {
    const rig = make();
    const { queue } = rig;
    const chains = popMany(rig, 3);
    queue.undoPop(chains[2]!);
    use(rig, chains[1]!, 1);
    use(rig, popChain(queue), 2);
    expect(collect(rig)).toEqual([]);
    use(rig, chains[0]!, 0);
    expect(collect(rig)).toEqual([0, 1, 2]);
  });

  it('is saved only when nothing is kept', () => {
    const rig = make();
    const { queue } = rig;
    const chains = popMany(rig, 2);
    use(rig, chains[1]!, 1);
    expect(codeOf(() => queue.save())).toBe('CHAINS_OUT');
    use(rig, chains[0]!, 0);
    expect(queue.save().config).toMatchObject({ inOrder: true, packed });
  });

  it('takes no head for a new chain while that is kept', () => {
    const rig = make();
    const { driver, queue } = rig;
    const chains = popMany(rig, 2);
    const { head } = chains[1]!;
    use(rig, chains[1]!, 1);
    const third = driver.add([{ readable: 'x' }]);
    if (packed) {
      driver.corruptChain(third, 0, { id: head });
      driver.publish();
    } else {
      driver.publish();
      driver.memory.writeUint16(driver.config.driverArea + 4 + 2 * 2, head);
    }
    expect(codeOf(() => queue.pop())).toBe(packed ? 'BUFFER_ID_IN_USE' : 'HEAD_IN_USE');
  });
});

describe.each([false, true])('deferred used chains, packed: %s', (packed) => {
  it.each([false, true])('are visible all at once, IN_ORDER: %s', (inOrder) => {
    const rig = makeAnyRig({ packed, inOrder, size: 8 });
    const { queue } = rig;
    for (let round = 0; round < 20; round++) {
      const chains = popMany(rig, 3);
      queue.deferUsed();
      for (const i of [1, 0, 2]) {
        chains[i]!.writer.writeUint8(i);
        queue.addUsed(chains[i]!, 1);
        expect(rig.driver.collect()).toEqual([]);
      }
      expect(queue.needsInterrupt()).toBe(false);
      expect(codeOf(() => queue.save())).toBe('CHAINS_OUT');
      queue.publishUsed();
      expect(queue.needsInterrupt()).toBe(true);
      expect(collect(rig)).toEqual(inOrder ? [0, 1, 2] : [1, 0, 2]);
      const [last] = popMany(rig, 1);
      queue.addUsed(last!, 0);
      expect(rig.driver.collect()).toHaveLength(1);
      expect(queue.needsInterrupt()).toBe(true);
    }
  });

  it('are nothing when there are none', () => {
    const { driver, queue } = makeAnyRig({ packed });
    queue.publishUsed();
    queue.deferUsed();
    queue.publishUsed();
    expect(queue.needsInterrupt()).toBe(false);
    expect(driver.collect()).toEqual([]);
    expect(queue.save().nextUsed).toBe(packed ? 0x8000 : 0);
  });
});
