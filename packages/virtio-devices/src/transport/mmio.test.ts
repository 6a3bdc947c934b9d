import fc from 'fast-check';
import { MockDoorbellRegistry } from '@vmm/vm-device/mock';
import type { DoorbellRegistry } from '@vmm/vm-device';
import { FeatureSet } from '../features.ts';
import { MockDevice, MockMmioDriver } from '../mock/index.ts';
import type { MockMmioDriverOptions } from '../mock/index.ts';
import { VIRTIO_F_EVENT_IDX } from '../virtio.ts';
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
