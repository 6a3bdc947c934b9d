import fc from 'fast-check';
import { MockDoorbellRegistry } from '@vmm/vm-device/mock';
import type { DoorbellRegistry } from '@vmm/vm-device';
import { FeatureSet } from '../features.ts';
import { MockDevice, MockMmioDriver } from '../mock/index.ts';
import type { MockMmioDriverOptions } from '../mock/index.ts';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_RESET } from '../virtio.ts';
import * as mmio from './mmio-registers.ts';
import { VirtioMmioTransport } from './mmio.ts';

function setUp(options?: MockMmioDriverOptions): { device: MockDevice; driver: MockMmioDriver } {
  const device = new MockDevice();
  return { device, driver: new MockMmioDriver(device, options) };
}

describe('registers, VIRTIO 1.3 §4.2.2', () => {
  it.each([
    ['MagicValue', 0x000, 0x7472_6976],
    ['Version', 0x004, 2],
    ['DeviceID', 0x008, 42],
    ['VendorID', 0x00c, 0x4d4d_5654],
    ['QueueSizeMax of queue 0', 0x034, 16],
    ['InterruptStatus', 0x060, 0],
    ['Status', 0x070, 0],
    ['SHMLenLow of no region', 0x0b0, 0xffff_ffff],
    ['SHMLenHigh of no region', 0x0b4, 0xffff_ffff],
    ['ConfigGeneration', 0x0fc, 7],
    ['a register that can only be written', 0x030, 0],
    ['an offset that is no register', 0x0f0, 0],
  ])('%s', (_name, offset, value) => {
    expect(setUp().driver.read(offset)).toBe(value);
  });

  it('shows a maximum of 0 for a queue that does not exist, and ignores writes to it', () => {
    const { driver } = setUp();
    driver.negotiate();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 2);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_SIZE_MAX)).toBe(0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_READY, 1);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(0);
    expect(driver.ignored).toHaveLength(1);
  });

  it('answers registers only to aligned accesses of 32 bits (§4.2.2.2)', () => {
    const { driver } = setUp();
    expect(driver.transport.read(0, 1)).toBe(0);
    expect(driver.transport.read(2, 2)).toBe(0);
    expect(driver.transport.read(2, 4)).toBe(0);
    driver.transport.write(0x70, 1, 1);
    expect(driver.status).toBe(0);
    expect(driver.ignored).toHaveLength(3);
  });

  it('passes the configuration space through in any width', () => {
    const { device, driver } = setUp();
    expect(driver.transport.read(0x101, 1)).toBe(2);
    expect(driver.transport.read(0x102, 2)).toBe(0x0403);
    expect(driver.transport.read(0x104, 4)).toBe(0x0807_0605);
    device.take();
    driver.transport.write(0x104, 2, 9);
    expect(device.take()).toEqual([]);
    driver.start();
    driver.transport.write(0x104, 2, 9);
    expect(device.take()).toContain('configWrite 4 2 9');
  });

  it('takes no queue set-up before FEATURES_OK or while the queue is enabled', () => {
    const { driver } = setUp();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_READY, 1);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(0);
    driver.negotiate();
    driver.setUpQueues();
    const [slot] = driver.transport.core.slots;
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SIZE, 4);
    expect(slot!.size).toBe(16);
    expect(driver.ignored).toHaveLength(2);
  });

  it('puts every register back at reset', () => {
    const { device, driver } = setUp();
    driver.start();
    device.context!.interrupt.queue(0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 1);
    driver.status = 0;
    expect(driver.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS)).toBe(0);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_SIZE_MAX)).toBe(16);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(0);
    expect(driver.transport.core.negotiated).toEqual(FeatureSet.EMPTY);
  });
});

describe('interrupts', () => {
  it('set their bit and give one edge each; acknowledging clears only what is named (§4.2.2)', () => {
    const shadow: number[] = [];
    const { device, driver } = setUp({ transport: { interruptStatus: { set: (v) => shadow.push(v) } } });
    driver.start();
    device.context!.interrupt.queue(0);
    device.context!.interrupt.config();
    expect(driver.interrupt.take()).toBe(2);
    expect(driver.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS)).toBe(3);
    driver.write(mmio.VIRTIO_MMIO_INTERRUPT_ACK, 1);
    expect(driver.read(mmio.VIRTIO_MMIO_INTERRUPT_STATUS)).toBe(2);
    driver.write(mmio.VIRTIO_MMIO_INTERRUPT_ACK, 2);
    expect(shadow).toEqual([1, 3, 2, 0]);
  });

  it('give an edge although the last one was not acknowledged', () => {
    const { device, driver } = setUp();
    driver.start();
    device.context!.interrupt.queue(0);
    device.context!.interrupt.queue(0);
    expect(driver.interrupt.take()).toBe(2);
  });

  it('stay away when the driver suppresses them (§2.7.7)', () => {
    const { driver } = setUp({ without: FeatureSet.of(VIRTIO_F_EVENT_IDX) });
    driver.start();
    const ring = driver.rings[0]!;
    ring.suppressInterrupts(true);
    ring.add([{ writable: 1 }]);
    driver.kick(0);
    expect(ring.collect()).toHaveLength(1);
    expect(driver.interrupt.take()).toBe(0);
  });
});

describe('notifications', () => {
  it('reach the device by QueueNotify', () => {
    const { device, driver } = setUp();
    driver.start();
    device.take();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    expect(device.take()).toEqual(['notify 1']);
    expect(driver.ignored).toEqual(['mock: a queue notified that does not exist']);
  });

  it('ring a doorbell for each enabled queue from DRIVER_OK to the reset', () => {
    const doorbells = new MockDoorbellRegistry();
    const { device, driver } = setUp({ transport: { doorbells, address: 0x4003_0000 } });
    driver.negotiate();
    driver.setUpQueues();
    expect(doorbells.size).toBe(0);
    driver.start();
    device.take();
    expect(doorbells.store(0x4003_0050, 4, 1)).toBe(true);
    expect(doorbells.store(0x4003_0050, 4, 2)).toBe(false);
    expect(device.take()).toEqual(['notify 1']);
    driver.status = 0;
    expect(doorbells.size).toBe(0);
  });

  it('come through the bus when a doorbell is refused', () => {
    const doorbells: DoorbellRegistry = {
      createDoorbell: () => {
        throw new Error('no more doorbells');
      },
    };
    const { device, driver } = setUp({ transport: { doorbells, address: 0 } });
    driver.start();
    device.take();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    expect(device.take()).toEqual(['notify 0']);
    expect(driver.needsReset).toBe(false);
  });

  it('need an address for doorbells', () => {
    expect(() => setUp({ transport: { doorbells: new MockDoorbellRegistry() } })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  });

  it('leave the rest of a busy queue to a later turn', async () => {
    const tasks: (() => void)[] = [];
    const { device, driver } = setUp({ transport: { defer: (task) => tasks.push(task) } });
    driver.start();
    const ring = driver.rings[0]!;
    const refill = device.context!.queues[0]!;
    // A driver that adds a buffer for each that is used would keep the loop busy for ever.
    const addUsed = refill.addUsed.bind(refill);
    refill.addUsed = (chain, written): void => {
      addUsed(chain, written);
      ring.collect();
      ring.send([{ writable: 1 }]);
    };
    ring.add([{ writable: 1 }]);
    driver.kick(0);
    expect(tasks).toHaveLength(1);
    expect(ring.usedIdx).toBe(16);
    tasks[0]!();
    expect(ring.usedIdx).toBe(32);
    driver.status = 0;
    tasks[1]!();
    expect(device.calls.at(-1)).toBe('reset');
    await Promise.resolve();
  });
});

describe('queue reset, §2.6.1', () => {
  it('stops one queue and takes it back with another set-up', () => {
    const { device, driver } = setUp();
    driver.start();
    device.take();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_RESET, 1);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_RESET)).toBe(0);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(0);
    expect(device.take()).toEqual(['queueReset 0']);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    expect(device.take()).toEqual([]);
    const { driverArea, deviceArea, size } = driver.rings[0]!.config;
    driver.memory.fill(driverArea, 6 + 2 * size, 0);
    driver.memory.fill(deviceArea, 6 + 8 * size, 0);
    driver.enableQueue(0);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(1);
    driver.rings[0]!.add([{ writable: 1 }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()).toHaveLength(1);
  });

  it('is not possible for a queue that comes back broken', () => {
    const { driver } = setUp();
    driver.start();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_RESET, 1);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SIZE, 5);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_READY, 1);
    expect(driver.needsReset).toBe(true);
  });

  it('needs the feature', () => {
    const { driver } = setUp({ without: FeatureSet.of(VIRTIO_F_RING_RESET) });
    driver.start();
    driver.write(mmio.VIRTIO_MMIO_QUEUE_SEL, 0);
    driver.write(mmio.VIRTIO_MMIO_QUEUE_READY, 0);
    driver.enableQueue(0);
    expect(driver.read(mmio.VIRTIO_MMIO_QUEUE_READY)).toBe(0);
  });
});

describe('state', () => {
  it('goes on where it was saved, buffers in the rings included', async () => {
    const { driver } = setUp();
    driver.start();
    const ring = driver.rings[0]!;
    for (let i = 0; i < 20; i++) {
      ring.add([{ writable: 1 }]);
      driver.kick(0);
      ring.collect();
    }
    driver.acknowledge();
    await driver.transport.pause();
    ring.send([{ writable: 1 }]);
    const state: unknown = structuredClone(driver.transport.save());

    const device = new MockDevice();
    const other = new MockMmioDriver(device, { memory: driver.memory });
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
    expect(other.acknowledge()).toBe(1);
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
    expect(() => driver.transport.save()).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }) as Error);
    await driver.transport.pause();
    const state = driver.transport.save();
    driver.status = 1;
    expect(() => driver.transport.restore(state)).toThrow(
      expect.objectContaining({ code: 'WRONG_STATE' }) as Error,
    );
  });

  it('raises the interrupt again that a restored driver has not acknowledged', async () => {
    const { device, driver } = setUp();
    driver.start();
    device.context!.interrupt.config();
    await driver.transport.pause();
    const other = new MockMmioDriver(new MockDevice(), { memory: driver.memory });
    other.transport.restore(driver.transport.save());
    other.transport.resume();
    expect(other.interrupt.take()).toBeGreaterThan(0);
    expect(other.acknowledge() & 2).toBe(2);
  });

  it('is refused when it is of another device or damaged, and the transport stays usable', async () => {
    const { driver } = setUp();
    driver.start();
    await driver.transport.pause();
    const state = driver.transport.save();
    const { core } = state;
    const damaged: unknown[] = [
      null,
      [],
      { ...state, version: 2 },
      { ...state, transport: 'pci' },
      { ...state, queueSel: -1 },
      { ...state, interruptStatus: 4 },
      { ...state, core: null },
      { ...state, core: { ...core, deviceType: 1 } },
      { ...state, core: { ...core, status: 256 } },
      { ...state, core: { ...core, driverLow: 0xffff_ffff } },
      { ...state, core: { ...core, queues: [core.queues[0]] } },
      { ...state, core: { ...core, queues: [{ ...core.queues[0], ring: null }, core.queues[1]] } },
      { ...state, core: { ...core, queues: [{ ...core.queues[0], size: 3 }, core.queues[1]] } },
      { ...state, core: { ...core, queues: [{ ...core.queues[0], ready: 1 }, core.queues[1]] } },
    ];
    for (const bad of damaged) {
      const other = new MockMmioDriver(new MockDevice(), { memory: driver.memory });
      expect(() => other.transport.restore(bad)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
      );
      expect(other.status).toBe(0);
      expect(other.start().status).toBe(15);
    }
  });
});

it('refuses impossible queue sizes and ring features', () => {
  for (const queueSizes of [[0], [3], [65536], [-4]]) {
    expect(() => new MockMmioDriver(new MockDevice({ queueSizes }))).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  }
  expect(() => setUp({ transport: { ringFeatures: FeatureSet.of(36) } })).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
  );
});

it('never throws and stays within 32 bits, whatever the guest reads and writes', () => {
  const access = fc.record({
    write: fc.boolean(),
    offset: fc.oneof(
      fc.constantFrom(0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x70, 0x80, 0x84, 0xc0),
      fc.nat(0xfff),
    ),
    length: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
    value: fc.oneof(fc.nat(16), fc.nat(0xffff_ffff)),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 100 }), (accesses) => {
      const { driver } = setUp();
      for (const { write, offset, length, value } of accesses) {
        if (write) driver.transport.write(offset, length, value);
        else {
          const answer = driver.transport.read(offset, length);
          expect(answer).toBe(answer >>> 0);
        }
      }
      driver.start();
      driver.rings[0]!.add([{ writable: 1 }]);
      driver.kick(0);
      expect(driver.rings[0]!.collect()).toHaveLength(1);
      expect(driver.transport).toBeInstanceOf(VirtioMmioTransport);
    }),
  );
});
