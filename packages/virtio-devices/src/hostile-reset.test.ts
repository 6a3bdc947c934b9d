import { brokenChains } from '@vmm/virtio-queue/mock';
import { Battle } from '../test/battle.ts';
import { HELD_SUBJECTS, SUBJECTS, type HeldSubject } from '../test/hostile-subjects.ts';
import { DRIVER_COMBINATIONS } from './mock/index.ts';

const REQUESTS = 2;
/** Past the end of every device's configuration space. */
const BEYOND_CONFIG = 256;
const WIDTHS = [1, 2, 4] as const;
const VALUES = [0, 1, 0x7f, 0xffff_ffff];
/** Values of the status register: each step, and steps without those before them. */
const STATUS = [0, 1, 3, 11, 15, 4, 8, 128];
const LIVE = 15;
/** Registers do not depend on the format of the rings. */
const TRANSPORTS = [
  { transport: 'mmio', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
] as const;

describe.each(HELD_SUBJECTS)('$name whose backend has not answered', ({ make }) => {
  describe.each(DRIVER_COMBINATIONS)('over $transport with $ring rings', (how) => {
    const hold = async (): Promise<{ battle: Battle; subject: HeldSubject }> => {
      const subject = make();
      const battle = new Battle(() => subject, how);
      const { driver } = battle;
      driver.start();
      await subject.prepare?.(driver, () => battle.settle());
      for (let i = 0; i < REQUESTS; i++) subject.hold(driver);
      driver.rings[subject.queue]!.publish();
      driver.notify(subject.queue);
      await battle.settle();
      expect(subject.held()).toBeGreaterThan(0);
      driver.interrupt.take();
      return { battle, subject };
    };
    // From here on the buffers are the driver's again.
    const ends = [
      { name: 'a reset', end: ({ driver }: Battle) => void (driver.status = 0) },
      {
        name: 'the reset of the queue',
        end: ({ driver }: Battle, subject: HeldSubject) =>
          driver.resetQueue(subject.answerQueue ?? subject.queue),
      },
    ];

    it.each(ends)('writes and says nothing more after $name', async ({ end }) => {
      const { battle, subject } = await hold();
      const { driver } = battle;
      end(battle, subject);
      await battle.settle();
      driver.interrupt.take();
      const before = battle.snapshot();
      subject.release();
      await battle.settle();
      expect(Buffer.compare(battle.snapshot(), before)).toBe(0);
      expect(driver.interrupt.take()).toBe(0);
      expect(await battle.worksAfterReset()).toBe(true);
    });

    it('says nothing more after FAILED', async () => {
      const { battle, subject } = await hold();
      const { driver } = battle;
      driver.status |= 128;
      subject.release();
      await battle.settle();
      expect(driver.interrupt.take()).toBe(0);
      expect(await battle.worksAfterReset()).toBe(true);
    });

    it('gets over a malformed chain behind what waits', async () => {
      const { battle, subject } = await hold();
      const { driver } = battle;
      const ring = driver.rings[subject.queue]!;
      brokenChains({ packed: how.ring === 'packed', indirect: true })[0]!.add(ring);
      ring.publish();
      driver.notify(subject.queue);
      await battle.settle();
      subject.release();
      await battle.settle();
      expect(driver.needsReset).toBe(true);
      expect(driver.errors).toHaveLength(1);
      expect(await battle.worksAfterReset()).toBe(true);
    });

    it('takes no more than it can hold in a storm of resets, and works when they are answered', async () => {
      const { battle, subject } = await hold();
      const { driver } = battle;
      for (let i = 0; i < 40; i++) {
        driver.start();
        await subject.prepare?.(driver, () => battle.settle());
        for (let n = 0; n < REQUESTS; n++) subject.hold(driver);
        driver.rings[subject.queue]!.publish();
        driver.notify(subject.queue);
      }
      await battle.settle();
      expect(subject.held()).toBeLessThanOrEqual(subject.mayHold);
      driver.status = 0;
      driver.interrupt.take();
      const before = battle.snapshot();
      subject.release();
      await battle.settle();
      expect(Buffer.compare(battle.snapshot(), before)).toBe(0);
      expect(driver.interrupt.take()).toBe(0);
      expect(driver.errors).toEqual([]);
      expect(await battle.worksAfterReset()).toBe(true);
    });
  });
});

describe.each(SUBJECTS)('$name with a hostile driver', ({ make }) => {
  describe.each(TRANSPORTS)('over $transport with $ring rings', (how) => {
    it('answers every read of the configuration space, and nothing behind its end', () => {
      const { driver, subject } = new Battle(make, how);
      if (subject.device.configRead === undefined) return;
      driver.start();
      for (let offset = 0; offset < BEYOND_CONFIG; offset++) {
        for (const width of WIDTHS) {
          const value = driver.readConfig(offset, width);
          expect(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * width)).toBe(true);
          if (offset >= BEYOND_CONFIG / 2) expect(value).toBe(0);
        }
      }
      expect(driver.errors).toEqual([]);
    });

    it('takes every write to the configuration space, before a driver and with one', async () => {
      const battle = new Battle(make, how);
      const { driver, subject } = battle;
      if (subject.device.configRead === undefined) return;
      for (const start of [false, true]) {
        if (start) driver.start();
        for (let offset = 0; offset < BEYOND_CONFIG; offset++) {
          for (const width of WIDTHS) {
            for (const value of VALUES) driver.writeConfig(offset, width, value >>> (32 - 8 * width));
          }
        }
        await battle.settle();
        expect(driver.needsReset).toBe(false);
      }
      expect(await battle.worksAfterReset()).toBe(true);
    });

    it('is live after the steps of §3.1.1 only, in whatever order the status is written', async () => {
      const battle = new Battle(make, how);
      const { driver, subject } = battle;
      for (const first of STATUS) {
        for (const second of STATUS) {
          for (const third of STATUS) {
            driver.status = 0;
            const offered = driver.readFeatures();
            driver.writeFeatures(offered);
            for (const value of [first, second, third]) {
              driver.status = value;
              driver.notify(subject.queue);
              driver.resetQueue(subject.queue);
              const { status } = driver;
              // Each bit implies those before it, unless the driver or the device gave up.
              for (const bit of [2, 8, 4]) {
                const before = bit === 2 ? 1 : bit === 8 ? 2 : 8;
                if ((status & bit) !== 0) expect(status & before).toBe(before);
              }
              expect(status & 0x30).toBe(0);
            }
          }
        }
        expect(await battle.worksAfterReset()).toBe(true);
        expect(driver.status & LIVE).toBe(LIVE);
      }
    });

    it('puts off no more than one task a queue in a storm of notifications', async () => {
      const battle = new Battle(make, how);
      const { driver, subject } = battle;
      driver.start();
      const queues = driver.rings.length;
      for (let i = 0; i < 500; i++) {
        for (let queue = 0; queue <= queues; queue++) driver.notify(queue);
        driver.notify(0xffff);
        if (i % 100 === 0) subject.stir();
        expect(battle.tasks).toBeLessThanOrEqual(queues);
      }
      await battle.settle();
      expect(driver.errors).toEqual([]);
      expect(await battle.worksAfterReset()).toBe(true);
    });
  });
});
