import fc from 'fast-check';
import { MockSplitDriver } from '@vmm/virtio-queue/mock';
import { Battle, BASE, QUEUE_SIZE, REGION } from '../test/battle.ts';
import { SUBJECTS } from '../test/hostile-subjects.ts';
import { DRIVER_COMBINATIONS } from './mock/index.ts';

/** Sequences of each kind, device, transport and ring. */
const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 12);

type Combination = (typeof DRIVER_COMBINATIONS)[number];

/** Any descriptor: often near to sense, so that the walk goes on. */
const descriptor = fc.record({
  address: fc.oneof(
    fc.integer({ min: BASE, max: BASE + REGION + 4096 }).map(BigInt),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  ),
  length: fc.oneof(fc.constantFrom(0, 1, 8, 12, 16, 17, 44, 513, 4096), fc.nat(0xffff_ffff)),
  // With AVAIL, on a packed ring, of the first lap or of the second.
  flags: fc.oneof(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0x80, max: 0x87 }), fc.nat(0xffff)),
  next: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
  id: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
});

const attack = fc.record({
  queue: fc.nat(7),
  descriptors: fc.array(descriptor, { minLength: QUEUE_SIZE, maxLength: QUEUE_SIZE }),
  heads: fc.array(fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)), {
    minLength: QUEUE_SIZE,
    maxLength: QUEUE_SIZE,
  }),
  idx: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
  /** The driver's part of interrupt suppression. */
  suppression: fc.nat(0xffff_ffff),
  /** Bytes at the start of the buffers: requests and control messages. */
  contents: fc.uint8Array({ minLength: 64, maxLength: 64 }),
  stir: fc.boolean(),
});

const registers = fc.oneof(
  fc.record({
    do: fc.constant('status' as const),
    value: fc.oneof(fc.constantFrom(0, 1, 3, 11, 15, 15, 128), fc.nat(255)),
  }),
  fc.record({
    do: fc.constant('features' as const),
    select: fc.nat(2),
    value: fc.oneof(fc.constant(undefined), fc.nat(0xffff_ffff)),
  }),
  fc.record({
    do: fc.constant('enable' as const),
    queue: fc.nat(7),
    changes: fc.record(
      {
        size: fc.oneof(fc.nat(9), fc.nat(0xffff)),
        descriptorArea: fc.oneof(fc.integer({ min: BASE, max: BASE + REGION }), fc.nat(0xffff_ffff)),
        driverArea: fc.oneof(fc.integer({ min: BASE, max: BASE + REGION }), fc.nat(0xffff_ffff)),
        deviceArea: fc.maxSafeNat(),
      },
      { requiredKeys: [] },
    ),
  }),
  fc.record({ do: fc.constantFrom('reset' as const, 'notify' as const), queue: fc.nat(7) }),
  fc.record({
    do: fc.constantFrom('read' as const, 'write' as const),
    offset: fc.oneof(fc.nat(64), fc.nat(0xeff)),
    length: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
    value: fc.oneof(fc.nat(16), fc.nat(0xffff_ffff)),
  }),
  fc.record({ do: fc.constantFrom('request' as const, 'stir' as const, 'turn' as const, 'start' as const) }),
);

type RegisterAction = typeof registers extends fc.Arbitrary<infer T> ? T : never;

async function perform(battle: Battle, action: RegisterAction): Promise<void> {
  const { driver, subject } = battle;
  switch (action.do) {
    case 'status':
      driver.status = action.value;
      return;
    case 'features': {
      const offered = driver.readFeatures();
      driver.writeFeatureWord(
        action.select,
        action.value ?? (action.select === 0 ? offered.low : offered.high),
      );
      return;
    }
    case 'enable': {
      driver.enableQueue(action.queue % driver.rings.length, action.changes);
      return;
    }
    case 'reset':
      driver.resetQueue(action.queue);
      return;
    case 'notify':
      driver.notify(action.queue);
      return;
    case 'read':
      if (subject.device.configRead !== undefined) driver.readConfig(action.offset, action.length);
      return;
    case 'write':
      if (subject.device.configRead !== undefined) {
        driver.writeConfig(action.offset, action.length, action.value);
      }
      return;
    case 'request':
      if (driver.rings[subject.queue]!.freeDescriptors < 3) return;
      subject.request(driver);
      driver.rings[subject.queue]!.publish();
      driver.notify(subject.queue);
      return;
    case 'stir':
      subject.stir();
      return;
    case 'turn':
      await battle.settle();
      return;
    case 'start':
      driver.start();
  }
}

describe.each(SUBJECTS)('$name with a hostile driver', ({ make }) => {
  describe.each(DRIVER_COMBINATIONS)('over $transport with $ring rings', (how: Combination) => {
    it('never throws at garbage in its rings, answers or needs a reset, and works after it', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(attack, { minLength: 1, maxLength: 6 }), async (attacks) => {
          const battle = new Battle(make, how);
          const { driver, subject } = battle;
          driver.start();
          for (const { queue, descriptors, heads, idx, suppression, contents, stir } of attacks) {
            const index = queue % driver.rings.length;
            const ring = driver.rings[index]!;
            for (let at = BASE; at < BASE + REGION; at += 8192) driver.memory.write(at + 2048, contents);
            descriptors.forEach((each, at) => ring.writeDescriptor(at, each));
            driver.memory.writeUint32(ring.config.driverArea, suppression);
            if (ring instanceof MockSplitDriver) {
              heads.forEach((head, at) => ring.writeAvailEntry(at, head));
              ring.writeAvailIdx(idx);
            }
            if (stir) subject.stir();
            driver.notify(index);
            await battle.settle();
          }
          expect(driver.errors).toHaveLength(driver.needsReset ? 1 : 0);
          expect(await battle.worksAfterReset()).toBe(true);
        }),
        { numRuns: RUNS },
      );
    });

    it('never throws at registers written in any order, and works after a reset', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(registers, { minLength: 1, maxLength: 40 }), async (actions) => {
          const battle = new Battle(make, how);
          battle.driver.start();
          for (const action of actions) await perform(battle, action);
          await battle.settle();
          expect(await battle.worksAfterReset()).toBe(true);
        }),
        { numRuns: RUNS },
      );
    });

    it('survives a storm of resets with requests in flight, and interrupts for none of them', async () => {
      const battle = new Battle(make, how);
      const { driver, subject } = battle;
      for (let i = 0; i < 60; i++) {
        driver.start();
        if (i % 3 !== 0) subject.stir();
        for (let n = 0; n < 2; n++) subject.request(driver);
        driver.kick(subject.queue);
        if (i % 4 === 0) await Promise.resolve();
        driver.status = 0;
        driver.interrupt.take();
        if (i % 5 === 0) await battle.settle();
        expect(driver.interrupt.take()).toBe(0);
      }
      await battle.settle();
      expect(driver.interrupt.take()).toBe(0);
      expect(driver.errors).toEqual([]);
      expect(await battle.worksAfterReset()).toBe(true);
    });
  });
});
