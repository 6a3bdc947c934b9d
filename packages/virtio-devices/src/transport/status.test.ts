import fc from 'fast-check';
import type { QueueConfig } from '@vmm/virtio-queue';
import { FeatureSet } from '../features.ts';
import { createDriver, DRIVER_COMBINATIONS, MockDevice } from '../mock/index.ts';
import type { CreateDriverOptions, MockVirtioDriver } from '../mock/index.ts';
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
  VIRTIO_F_VERSION_1,
  VIRTIO_STATUS_ACKNOWLEDGE as ACKNOWLEDGE,
  VIRTIO_STATUS_DEVICE_NEEDS_RESET as NEEDS_RESET,
  VIRTIO_STATUS_DRIVER as DRIVER,
  VIRTIO_STATUS_DRIVER_OK as DRIVER_OK,
  VIRTIO_STATUS_FAILED as FAILED,
  VIRTIO_STATUS_FEATURES_OK as FEATURES_OK,
} from '../virtio.ts';
const NO_POWER_OF_TWO: [string, Partial<QueueConfig>] = ['a size that is no power of two', { size: 3 }];

describe.each(DRIVER_COMBINATIONS)('over $transport with $ring rings', (how) => {
  const setUp = (options: CreateDriverOptions = {}): { device: MockDevice; driver: MockVirtioDriver } => {
    const device = new MockDevice();
    return { device, driver: createDriver(device, { ...how, ...options }) };
  };

  describe('the order of status bits, VIRTIO 1.3 §3.1.1', () => {
    it('takes them one after the other and activates the device at DRIVER_OK', () => {
      const { device, driver } = setUp();
      driver.start();
      expect(driver.status).toBe(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
      expect(device.take()).toEqual(['reset', 'activate']);
      expect(device.context?.queues.map((queue) => queue?.size)).toEqual([16, 16]);
      expect(driver.ignored).toEqual([]);
    });

    it.each([
      ['DRIVER before ACKNOWLEDGE', [DRIVER], 0],
      ['FEATURES_OK before DRIVER', [ACKNOWLEDGE, ACKNOWLEDGE | FEATURES_OK], ACKNOWLEDGE],
      ['DRIVER_OK before FEATURES_OK', [ACKNOWLEDGE, 3, 3 | DRIVER_OK], 3],
    ])('refuses %s', (_what, writes, expected) => {
      const { device, driver } = setUp();
      for (const value of writes) driver.status = value;
      expect(driver.status).toBe(expected);
      expect(driver.ignored).toHaveLength(1);
      expect(device.calls).not.toContain('activate');
    });

    it('ignores a write that clears a bit without a reset (§2.1.1)', () => {
      const { driver } = setUp();
      driver.start();
      driver.status = ACKNOWLEDGE;
      expect(driver.status).toBe(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    });

    it('ignores bits that the standard does not define', () => {
      const { driver } = setUp();
      driver.status = ACKNOWLEDGE | 0x30;
      expect(driver.status).toBe(ACKNOWLEDGE);
    });

    it('keeps FAILED until a reset, and takes nothing more', () => {
      const { device, driver } = setUp();
      driver.start();
      device.take();
      driver.status |= FAILED;
      driver.status |= DRIVER;
      driver.kick(0);
      expect(driver.status & FAILED).toBe(FAILED);
      expect(device.take()).toEqual([]);
      driver.status = 0;
      expect(driver.status).toBe(0);
      expect(device.take()).toEqual(['reset']);
    });

    it('goes no further once FAILED is set', () => {
      const { driver } = setUp();
      driver.status = ACKNOWLEDGE;
      driver.status |= FAILED;
      driver.status |= DRIVER;
      expect(driver.status).toBe(ACKNOWLEDGE | FAILED);
    });

    it('never reaches DRIVER_OK but through the order, whatever is written', () => {
      const value = fc.oneof(fc.constantFrom(0, 1, 3, 11, 15, 128), fc.nat(255));
      fc.assert(
        fc.property(fc.array(value, { maxLength: 30 }), (writes) => {
          const { device, driver } = setUp();
          for (const write of writes) {
            if ((driver.status & (DRIVER | FEATURES_OK)) === DRIVER)
              driver.writeFeatures(driver.readFeatures());
            driver.status = write;
            const { status } = driver;
            const implied = (bit: number, needed: number): boolean =>
              (status & bit) === 0 || (status & needed) === needed;
            expect(implied(DRIVER, ACKNOWLEDGE)).toBe(true);
            expect(implied(FEATURES_OK, DRIVER)).toBe(true);
            expect(implied(DRIVER_OK, FEATURES_OK)).toBe(true);
            if (write === 0) expect(status).toBe(0);
            expect(device.context !== undefined).toBe((status & DRIVER_OK) !== 0);
          }
        }),
      );
    });
  });

  describe('features, §2.2', () => {
    it('offers those of the device and those of the transport', () => {
      const { driver } = setUp();
      expect(driver.readFeatures()).toEqual(
        FeatureSet.of(
          0,
          5,
          VIRTIO_F_INDIRECT_DESC,
          VIRTIO_F_EVENT_IDX,
          VIRTIO_F_VERSION_1,
          VIRTIO_F_RING_RESET,
          ...(how.ring === 'packed' ? [VIRTIO_F_RING_PACKED] : []),
        ),
      );
    });

    it('refuses FEATURES_OK with a bit that was not offered, and takes another attempt', () => {
      const { driver } = setUp();
      driver.status = ACKNOWLEDGE;
      driver.status = ACKNOWLEDGE | DRIVER;
      driver.writeFeatures(FeatureSet.of(1, VIRTIO_F_VERSION_1));
      driver.status |= FEATURES_OK;
      expect(driver.status & FEATURES_OK).toBe(0);
      driver.writeFeatures(FeatureSet.of(0, VIRTIO_F_VERSION_1));
      driver.status |= FEATURES_OK;
      expect(driver.status & FEATURES_OK).toBe(FEATURES_OK);
      expect(driver.transport.core.negotiated).toEqual(FeatureSet.of(0, VIRTIO_F_VERSION_1));
    });

    it('refuses FEATURES_OK without VIRTIO_F_VERSION_1 (§6.1)', () => {
      const { driver } = setUp();
      driver.status = ACKNOWLEDGE;
      driver.status = ACKNOWLEDGE | DRIVER;
      driver.writeFeatures(FeatureSet.of(0));
      driver.status |= FEATURES_OK;
      expect(driver.status & FEATURES_OK).toBe(0);
    });

    it('refuses FEATURES_OK with a bit beyond 63', () => {
      const { driver } = setUp();
      driver.status = ACKNOWLEDGE;
      driver.status = ACKNOWLEDGE | DRIVER;
      driver.writeFeatures(driver.readFeatures());
      driver.writeFeatureWord(2, 1);
      driver.status |= FEATURES_OK;
      expect(driver.status & FEATURES_OK).toBe(0);
    });

    it('keeps what was negotiated after FEATURES_OK (§3.1.1)', () => {
      const { driver } = setUp();
      driver.start();
      const before = driver.transport.core.negotiated;
      driver.writeFeatures(FeatureSet.EMPTY);
      expect(driver.transport.core.negotiated).toEqual(before);
      expect(driver.ignored).toHaveLength(2);
    });
  });

  describe('activation', () => {
    it('refuses DRIVER_OK when the device throws, says why, and starts after a reset', () => {
      const { device, driver } = setUp();
      device.failing.add('activate');
      driver.start();
      expect(driver.status & DRIVER_OK).toBe(0);
      expect(driver.needsReset).toBe(true);
      // No notification before DRIVER_OK (§2.1.2).
      expect(driver.interrupt.take()).toBe(0);
      expect(driver.errors[0]).toMatchObject({
        code: 'ACTIVATION_FAILED',
        message: 'mock: DRIVER_OK refused: activate failed',
      });
      driver.status |= DRIVER_OK;
      expect(driver.status & DRIVER_OK).toBe(0);
      device.failing.clear();
      driver.start();
      expect(driver.status & DRIVER_OK).toBe(DRIVER_OK);
    });

    it.each<[string, Partial<QueueConfig>]>([
      ...(how.ring === 'split' ? [NO_POWER_OF_TWO] : []),
      ['a size of 0', { size: 0 }],
      ['a size above the maximum', { size: 64 }],
      ['a misaligned device area', { deviceArea: 0x8000_0002 }],
      ['an area outside of memory', { deviceArea: 0x1000 }],
      ['an address beyond 2^53', { deviceArea: 2 ** 63 }],
    ])('refuses DRIVER_OK with %s', (_what, changes) => {
      const { device, driver } = setUp({ queues: [0] });
      driver.negotiate();
      driver.setUpQueues();
      driver.enableQueue(1, changes);
      driver.status |= DRIVER_OK;
      expect(driver.status & (DRIVER_OK | NEEDS_RESET)).toBe(NEEDS_RESET);
      expect(driver.errors.map((error) => error.code)).toEqual(['ACTIVATION_FAILED']);
      expect(device.calls).not.toContain('activate');
    });

    it('leaves queues out that the driver did not enable', () => {
      const { device, driver } = setUp({ queues: [1] });
      driver.start();
      expect(device.context?.queues.map((queue) => queue !== undefined)).toEqual([false, true]);
      driver.notify(0);
      expect(device.calls).not.toContain('notify 0');
    });

    it('hands a notification from before DRIVER_OK to the device afterwards', () => {
      const { device, driver } = setUp();
      driver.negotiate();
      driver.setUpQueues();
      driver.rings[1]!.add([{ writable: 4 }]);
      driver.kick(1);
      expect(device.take()).toEqual(['reset']);
      driver.status |= DRIVER_OK;
      expect(device.take()).toEqual(['activate', 'notify 1']);
      expect(driver.rings[1]!.collect()).toHaveLength(1);
    });
  });

  describe('DEVICE_NEEDS_RESET, §2.1.2', () => {
    it('follows a broken ring: configuration interrupt, silence, and work after a reset', () => {
      const { device, driver } = setUp();
      driver.start();
      const ring = driver.rings[0]!;
      ring.corruptChain(ring.add([{ writable: 4 }]), 0, { address: 0x10 });
      driver.kick(0);
      expect(driver.needsReset).toBe(true);
      expect(driver.acknowledge()).toBe(2);
      expect(driver.errors[0]).toMatchObject({
        code: 'DRIVER_FAULT',
        cause: { code: 'BUFFER_OUT_OF_RANGE' },
      });
      device.take();
      driver.notify(0);
      driver.notify(1);
      expect(device.take()).toEqual([]);
      driver.start();
      driver.rings[0]!.add([{ writable: 4 }]);
      driver.kick(0);
      expect(driver.rings[0]!.collect()).toHaveLength(1);
    });

    it.each(['notify', 'configRead', 'configWrite'])('follows a device that throws in %s', (method) => {
      const { device, driver } = setUp();
      driver.start();
      device.failing.add(method);
      if (method === 'notify') driver.notify(0);
      if (method === 'configRead') expect(driver.readConfig(0, 4)).toBe(0);
      if (method === 'configWrite') driver.writeConfig(0, 4, 1);
      expect(driver.needsReset).toBe(true);
      expect(driver.acknowledge()).toBe(2);
      expect(driver.errors.map((error) => [error.code, (error.cause as Error).message])).toEqual([
        ['DEVICE_FAULT', `${method} failed`],
      ]);
    });

    it('follows a device that says so itself, once', () => {
      const { device, driver } = setUp();
      driver.start();
      const { interrupt } = device.context!;
      interrupt.needsReset('out of luck');
      interrupt.needsReset('again');
      interrupt.queue(0);
      expect(driver.acknowledge()).toBe(2);
      expect(driver.errors.map((error) => error.message)).toEqual(['mock: out of luck']);
      expect(driver.transport.statistics.needsResets).toBe(1);
    });

    it('silences what an earlier activation left behind', () => {
      const { device, driver } = setUp();
      driver.start();
      const old = device.context!;
      const queue = old.queues[0]!;
      driver.rings[0]!.send([{ writable: 4 }]);
      const chain = queue.pop()!;
      driver.start();
      driver.interrupt.take();
      queue.addUsed(chain, 4);
      old.interrupt.queue(0);
      old.interrupt.needsReset('late');
      expect(queue.pop()).toBeNull();
      expect(old.queues[0]).toBeUndefined();
      expect(driver.interrupt.take()).toBe(0);
      expect(driver.needsReset).toBe(false);
      expect(driver.rings[0]!.collect()).toEqual([]);
    });
  });
});
