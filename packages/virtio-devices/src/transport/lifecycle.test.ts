import { GuestMemory } from '@vmm/vm-memory';
import type { QueueConfig } from '@vmm/virtio-queue';
import { FeatureSet } from '../features.ts';
import { createDriver, DRIVER_COMBINATIONS, MockDevice, MockPciDriver } from '../mock/index.ts';
import type { CreateDriverOptions, MockVirtioDriver } from '../mock/index.ts';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_RESET } from '../virtio.ts';

/** What a driver does with a ring's memory before it uses it again. */
function clear(
  memory: GuestMemory,
  { size, descriptorArea, driverArea, deviceArea, packed }: QueueConfig,
): void {
  memory.fill(descriptorArea, 16 * size, 0);
  memory.fill(driverArea, packed === true ? 4 : 6 + 2 * size, 0);
  memory.fill(deviceArea, packed === true ? 4 : 6 + 8 * size, 0);
}

describe.each(DRIVER_COMBINATIONS)('over $transport with $ring rings', (how) => {
  const setUp = (options: CreateDriverOptions = {}): { device: MockDevice; driver: MockVirtioDriver } => {
    const device = new MockDevice();
    return { device, driver: createDriver(device, { ...how, ...options }) };
  };
  const use = (driver: MockVirtioDriver): number => {
    driver.rings[0]!.add([{ writable: 1 }]);
    driver.kick(0);
    return driver.rings[0]!.collect().length;
  };

  describe('interrupts', () => {
    it('say what they are for', () => {
      const { device, driver } = setUp();
      driver.start();
      device.context!.interrupt.queue(0);
      expect(driver.acknowledge()).toBe(1);
      device.context!.interrupt.config();
      device.context!.interrupt.queue(1);
      expect(driver.acknowledge()).toBe(3);
      expect(driver.acknowledge()).toBe(0);
      expect(driver.interrupt.take()).toBe(3);
    });

    it('stay away when the driver suppresses them (§2.7.7, §2.8.10)', () => {
      const { driver } = setUp({ without: FeatureSet.of(VIRTIO_F_EVENT_IDX) });
      driver.start();
      driver.rings[0]!.suppressInterrupts(true);
      expect(use(driver)).toBe(1);
      expect(driver.interrupt.take()).toBe(0);
    });

    it('of a configuration change come with another generation (§2.5.1)', () => {
      class Plain extends MockDevice {
        override configGeneration = undefined as unknown as number;
      }
      const device = new Plain();
      const driver = createDriver(device, how).start();
      const before = driver.readConfigGeneration();
      device.context!.interrupt.config();
      expect(driver.readConfigGeneration()).not.toBe(before);
    });

    it('leave the generation to a device that counts itself', () => {
      const { device, driver } = setUp();
      driver.start();
      device.context!.interrupt.config();
      expect(driver.readConfigGeneration()).toBe(7);
      device.configGeneration = 8;
      expect(driver.readConfigGeneration()).toBe(8);
    });
  });

  it('leaves work to itself at a reset that was made to take long', () => {
    class Busy extends MockDevice {
      turns = 0;

      override notify(queueIndex: number): void {
        this.turns++;
        const { user, system } = process.cpuUsage();
        // As long as a budget of work may take.
        for (let now = process.cpuUsage(); now.user + now.system < user + system + 5000;) {
          now = process.cpuUsage();
        }
        this.context?.renotify(queueIndex);
      }
    }
    const device = new Busy();
    const driver = createDriver(device, { ...how, transportOptions: { defer: () => undefined } }).start();
    driver.notify(0);
    driver.notify(1);
    device.turns = 0;
    driver.status = 0;
    expect(device.turns).toBeGreaterThan(0);
    // 10 ms and what was begun in them; process time runs no faster than twice on two cores.
    expect(device.turns).toBeLessThan(10);
  });

  describe('the configuration space', () => {
    it('is read and, once there is a driver, written in any width', () => {
      const { device, driver } = setUp();
      expect([driver.readConfig(1, 1), driver.readConfig(2, 2)]).toEqual([2, 0x0403]);
      expect(driver.readConfig(4, 4)).toBe(0x0807_0605);
      device.take();
      driver.writeConfig(4, 2, 9);
      expect(device.take()).toEqual([]);
      driver.start();
      driver.writeConfig(4, 2, 9);
      expect(device.take()).toContain('configWrite 4 2 9');
    });
  });

  describe('notifications', () => {
    it('reach the device, unless there is no such queue', () => {
      const { device, driver } = setUp();
      driver.start();
      device.take();
      driver.notify(1);
      expect(device.take()).toEqual(['notify 1']);
    });

    it('are wanted for the first buffer only until the device has looked (§2.7.10, §2.8.10)', () => {
      const { driver } = setUp();
      driver.start();
      const ring = driver.rings[0]!;
      ring.add([{ writable: 1 }]);
      expect(ring.publish()).toBe(true);
      ring.add([{ writable: 1 }]);
      expect(ring.publish()).toBe(false);
      driver.notify(0);
      expect(ring.collect()).toHaveLength(2);
      ring.add([{ writable: 1 }]);
      expect(ring.publish()).toBe(true);
    });

    it('leave the rest of a busy queue to a later turn', () => {
      const tasks: (() => void)[] = [];
      const { device, driver } = setUp({ transportOptions: { defer: (task) => tasks.push(task) } });
      driver.start();
      const ring = driver.rings[0]!;
      const refill = device.context!.queues[0]!;
      let used = 0;
      // A driver that adds a buffer for each that is used would keep the loop busy for ever.
      const addUsed = refill.addUsed.bind(refill);
      refill.addUsed = (chain, written): void => {
        addUsed(chain, written);
        used += ring.collect().length;
        ring.send([{ writable: 1 }]);
      };
      ring.add([{ writable: 1 }]);
      driver.kick(0);
      expect(tasks).toHaveLength(1);
      expect(used).toBe(16);
      tasks[0]!();
      expect(used).toBe(32);
      driver.status = 0;
      tasks[1]!();
      expect(device.calls.at(-1)).toBe('reset');
    });
  });

  describe('queue reset, §2.6.1', () => {
    it('stops one queue and takes it back with another set-up', () => {
      const { device, driver } = setUp();
      driver.start();
      device.take();
      driver.resetQueue(0);
      expect(driver.isEnabled(0)).toBe(false);
      expect(driver.isEnabled(1)).toBe(true);
      expect(device.take()).toEqual(['queueReset 0']);
      driver.notify(0);
      expect(device.take()).toEqual([]);
      clear(driver.memory, driver.rings[0]!.config);
      driver.enableQueue(0);
      expect(driver.isEnabled(0)).toBe(true);
      expect(use(driver)).toBe(1);
      expect(driver.acknowledge()).toBe(1);
    });

    it('leaves what was in flight behind', () => {
      const { device, driver } = setUp();
      driver.start();
      driver.rings[0]!.send([{ writable: 4 }]);
      const queue = device.context!.queues[0]!;
      const chain = queue.pop()!;
      driver.resetQueue(0);
      clear(driver.memory, driver.rings[0]!.config);
      driver.enableQueue(0);
      queue.addUsed(chain, 4);
      expect(driver.rings[0]!.collect()).toEqual([]);
      expect(driver.needsReset).toBe(false);
    });

    it('is not possible for a queue that comes back broken', () => {
      const { driver } = setUp();
      driver.start();
      driver.resetQueue(0);
      driver.enableQueue(0, { deviceArea: 0x1000 });
      expect(driver.needsReset).toBe(true);
      driver.start();
      expect(use(driver)).toBe(1);
    });

    it('needs the feature', () => {
      const { driver } = setUp({ without: FeatureSet.of(VIRTIO_F_RING_RESET) });
      driver.start();
      driver.resetQueue(0);
      driver.enableQueue(0);
      expect(driver.isEnabled(0)).toBe(false);
    });
  });

  describe('a reset of the machine', () => {
    it('is one of the device', () => {
      const { device, driver } = setUp();
      driver.start();
      driver.transport.reset();
      expect(driver.transport.core.status).toBe(0);
      expect(device.calls.at(-1)).toBe('reset');
    });
  });

  describe('state', () => {
    it('goes on where it was saved, buffers in the rings included', async () => {
      const { driver } = setUp();
      driver.start();
      const ring = driver.rings[0]!;
      for (let i = 0; i < 20; i++) expect(use(driver)).toBe(1);
      driver.acknowledge();
      await driver.transport.pause();
      ring.send([{ writable: 1 }]);
      const state: unknown = structuredClone(driver.transport.save());

      const device = new MockDevice();
      const other = createDriver(device, { ...how, memory: driver.memory });
      other.transport.restore(state);
      expect(other.status).toBe(15);
      expect(ring.collect()).toEqual([]);
      other.transport.resume();
      expect(device.take()).toEqual([
        'restore {"version":1,"answer":42}',
        'activate',
        'resume',
        'notify 0',
        'notify 1',
      ]);
      expect(ring.collect()).toHaveLength(1);
      expect(other.acknowledge() & 1).toBe(1);
    });

    it('holds notifications back while paused', async () => {
      const { device, driver } = setUp();
      driver.start();
      await driver.transport.pause();
      device.take();
      driver.rings[0]!.add([{ writable: 1 }]);
      driver.kick(0);
      expect(device.take()).toEqual([]);
      driver.transport.resume();
      expect(driver.rings[0]!.collect()).toHaveLength(1);
    });

    it('is saved only when paused and restored only after a reset', async () => {
      const { driver } = setUp();
      const wrong = expect.objectContaining({ code: 'WRONG_STATE' }) as Error;
      expect(() => driver.transport.save()).toThrow(wrong);
      await driver.transport.pause();
      const state = driver.transport.save();
      driver.status = 1;
      expect(() => driver.transport.restore(state)).toThrow(wrong);
    });

    it('tells a restored driver again of a configuration change', async () => {
      const { device, driver } = setUp();
      driver.start();
      device.context!.interrupt.config();
      await driver.transport.pause();
      const other = createDriver(new MockDevice(), { ...how, memory: driver.memory });
      other.transport.restore(driver.transport.save());
      other.transport.resume();
      expect(other.interrupt.take()).toBeGreaterThan(0);
      expect(other.acknowledge() & 2).toBe(2);
    });

    it('is refused when it is of another device or damaged, and the transport stays usable', async () => {
      const { driver } = setUp();
      driver.start();
      await driver.transport.pause();
      const state = driver.transport.save() as { readonly core: { readonly queues: readonly object[] } };
      const { core } = state;
      const [first, second] = core.queues;
      const damaged: unknown[] = [
        null,
        [],
        { ...state, version: 2 },
        { ...state, transport: how.transport === 'pci' ? 'mmio' : 'pci' },
        ...(how.transport === 'mmio'
          ? [
              { ...state, queueSel: -1 },
              { ...state, interruptStatus: 4 },
            ]
          : [
              { ...state, isr: 4 },
              { ...state, common: null },
              { ...state, common: { configVector: 0x1_0000 } },
              { ...state, function: null },
              { ...state, function: { version: 1, config: new Uint8Array(256), msix: null } },
            ]),
        { ...state, core: null },
        { ...state, core: { ...core, deviceType: 1 } },
        { ...state, core: { ...core, status: 256 } },
        { ...state, core: { ...core, driverLow: 0xffff_ffff } },
        { ...state, core: { ...core, configGeneration: -1 } },
        { ...state, core: { ...core, queues: [first] } },
        { ...state, core: { ...core, queues: [{ ...first, ring: null }, second] } },
        { ...state, core: { ...core, queues: [{ ...first, size: 0 }, second] } },
        { ...state, core: { ...core, queues: [{ ...first, ready: 1 }, second] } },
      ];
      for (const bad of damaged) {
        const other = createDriver(new MockDevice(), { ...how, memory: driver.memory });
        expect(() => other.transport.restore(bad)).toThrow(
          expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
        );
        expect(other.transport.core.status).toBe(0);
        if (other instanceof MockPciDriver) other.probe();
        expect(other.start().status).toBe(15);
        expect(use(other)).toBe(1);
      }
    });
  });
});
