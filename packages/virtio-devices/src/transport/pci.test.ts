import fc from 'fast-check';
import * as pci from '@vmm/vm-device';
import { MockDoorbellRegistry } from '@vmm/vm-device/mock';
import type { DoorbellRegistry } from '@vmm/vm-device';
import type { SharedMemoryRegion } from '../device.ts';
import { MockDevice, MockPciDriver } from '../mock/index.ts';
import type { MockPciDriverOptions } from '../mock/index.ts';
import * as reg from './pci-registers.ts';
import { VirtioPciTransport } from './pci.ts';

function setUp(options?: MockPciDriverOptions): { device: MockDevice; driver: MockPciDriver } {
  const device = new MockDevice();
  return { device, driver: new MockPciDriver(device, options) };
}

describe('PCI identity, VIRTIO 1.3 §4.1.2', () => {
  it('is that of a device without a legacy interface', () => {
    const { driver } = setUp();
    expect(driver.configRead(pci.PCI_VENDOR_ID, 4)).toBe(0x106a_1af4);
    expect(driver.configRead(pci.PCI_REVISION_ID, 1)).toBe(1);
    expect(driver.configRead(pci.PCI_SUBSYSTEM_ID, 2)).toBeGreaterThanOrEqual(0x40);
    expect(driver.configRead(pci.PCI_INTERRUPT_PIN, 1)).toBe(1);
    expect(driver.configRead(pci.PCI_CLASS_CODE, 2)).toBe(0);
    expect(driver.configRead(pci.PCI_CLASS_CODE + 2, 1)).toBe(0xff);
  });

  it('has a class that fits the type', () => {
    class Net extends MockDevice {
      override readonly type = 1;
    }
    const driver = new MockPciDriver(new Net());
    expect(driver.configRead(pci.PCI_REVISION_ID, 4)).toBe(0x0200_0001);
    expect(driver.configRead(pci.PCI_DEVICE_ID, 2)).toBe(0x1041);
  });
});

describe('the structures, §4.1.4', () => {
  it('are each inside the BAR, and apart from each other and from MSI-X', () => {
    const { driver } = setUp();
    const size = driver.transport.function.bars[0]!.size;
    const ranges = [1, 2, 3, 4].map((type) => {
      const at = driver.capability(type)!;
      expect(driver.configRead(at + 2, 1)).toBe(type === reg.VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16);
      return { start: driver.configRead(at + 8, 4), length: driver.configRead(at + 12, 4) };
    });
    ranges.push({ start: driver.configRead(driver.msix + 4, 4) & ~7, length: 48 });
    ranges.push({ start: driver.configRead(driver.msix + 8, 4) & ~7, length: 8 });
    ranges.sort((a, b) => a.start - b.start);
    ranges.forEach(({ start, length }, i) => {
      expect(start + length).toBeLessThanOrEqual(ranges[i + 1]?.start ?? size);
    });
  });

  it('have an address of its own for each queue (§4.1.4.4)', () => {
    const { driver } = setUp();
    expect(driver.configRead(driver.capability(reg.VIRTIO_PCI_CAP_NOTIFY_CFG)! + 16, 4)).toBe(4);
    expect(driver.notifyAddress(1) - driver.notifyAddress(0)).toBe(4);
  });

  it('come without one for the device when it has no configuration space', () => {
    class Plain extends MockDevice {
      override configRead = undefined as unknown as MockDevice['configRead'];
    }
    const driver = new MockPciDriver(new Plain());
    expect(driver.capability(reg.VIRTIO_PCI_CAP_DEVICE_CFG)).toBeUndefined();
    expect(driver.start().status).toBe(15);
  });

  it('tell shared memory regions and where they are (§4.1.4.7)', () => {
    class Shared extends MockDevice {
      readonly sharedMemory: readonly SharedMemoryRegion[] = [{ id: 3, size: 5 * 2 ** 30 }];
    }
    const mapped: unknown[] = [];
    const driver = new MockPciDriver(new Shared(), {
      transport: { onSharedMemory: ({ id }, address) => mapped.push([id, address]) },
    });
    const at = driver.capability(reg.VIRTIO_PCI_CAP_SHARED_MEMORY_CFG)!;
    expect(driver.configRead(at + 2, 1)).toBe(24);
    expect([driver.configRead(at + 4, 1), driver.configRead(at + 5, 1)]).toEqual([4, 3]);
    expect([driver.configRead(at + 8, 4), driver.configRead(at + 16, 4)]).toEqual([0, 0]);
    expect([driver.configRead(at + 12, 4), driver.configRead(at + 20, 4)]).toEqual([0x4000_0000, 1]);
    const place = driver.barAddress(4);
    expect(place).toBeGreaterThanOrEqual(2 ** 32);
    expect(place % 2 ** 33).toBe(0);
    driver.configWrite(pci.PCI_BASE_ADDRESS_0 + 20, 4, 0x60);
    driver.configWrite(pci.PCI_COMMAND, 2, 0);
    expect(mapped).toEqual([
      [3, place],
      [3, 0x60_0000_0000],
      [3, undefined],
    ]);
  });
});

describe('the common configuration, §4.1.4.3', () => {
  it('answers as after a reset', () => {
    const { driver } = setUp();
    const fields: [number, 1 | 2 | 4, number][] = [
      [reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 2, 0xffff],
      [reg.VIRTIO_PCI_COMMON_NUM_QUEUES, 2, 2],
      [reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 1, 0],
      [reg.VIRTIO_PCI_COMMON_CONFIG_GENERATION, 1, 7],
      [reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 0],
      [reg.VIRTIO_PCI_COMMON_QUEUE_SIZE, 2, 16],
      [reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, 0xffff],
      [reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 0],
      [reg.VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 2, 0],
      [reg.VIRTIO_PCI_COMMON_QUEUE_DESC, 4, 0],
      [reg.VIRTIO_PCI_COMMON_QUEUE_RESET, 2, 0],
      [0x3c, 4, 0],
    ];
    for (const [offset, length, value] of fields) expect(driver.readCommon(offset, length)).toBe(value);
  });

  it('shows a queue that does not exist with size 0, and ignores writes to it', () => {
    const { driver } = setUp();
    driver.negotiate();
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 2);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SIZE, 2)).toBe(0);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, 1);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2)).toBe(0xffff);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 1);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2)).toBe(0);
    expect(driver.ignored).toHaveLength(2);
  });

  it('keeps what the driver wrote, addresses in halves', () => {
    const { driver } = setUp();
    driver.negotiate();
    driver.setUpQueues();
    const { descriptorArea, size } = driver.rings[1]!.config;
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SIZE, 2)).toBe(size);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_DESC, 4)).toBe(descriptorArea);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_DESC + 4, 4)).toBe(0);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_NOTIFY_OFF, 2)).toBe(1);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_DRIVER_FEATURE, 4)).toBe(
      driver.transport.core.negotiated.high,
    );
  });

  it('ignores writes of another width than the field has (§4.1.3.1), and 0 to queue_enable', () => {
    const { driver } = setUp();
    driver.start();
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 4, 0);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 2, 0);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 1, 1);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_ENABLE, 2, 0);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_NUM_QUEUES, 2, 0);
    expect(driver.status).toBe(15);
    expect(driver.isEnabled(0)).toBe(true);
    expect(driver.ignored).toHaveLength(5);
  });

  it('is back to the start after a reset', () => {
    const { driver } = setUp();
    driver.start();
    driver.status = 0;
    for (const offset of [
      reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR,
      reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR,
    ]) {
      expect(driver.readCommon(offset, 2)).toBe(reg.VIRTIO_MSI_NO_VECTOR);
    }
    expect(driver.isEnabled(0)).toBe(false);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_DESC, 4)).toBe(0);
  });
});

describe('MSI-X, §4.1.5.1.2', () => {
  it('has a vector for each queue and one for the configuration', () => {
    const { device, driver } = setUp();
    driver.start();
    device.context!.interrupt.queue(1);
    device.context!.interrupt.config();
    device.context!.interrupt.queue(0);
    expect(driver.msi.take()).toEqual([2, 0, 1]);
    expect(driver.msi.sent.every(({ deviceId }) => deviceId === 8)).toBe(true);
  });

  it('answers NO_VECTOR to a vector that is not there, and sends nothing for it', () => {
    const { device, driver } = setUp({ transport: { vectors: 2 } });
    driver.start();
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2)).toBe(0xffff);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 2, 2);
    expect(driver.readCommon(reg.VIRTIO_PCI_COMMON_CONFIG_MSIX_VECTOR, 2)).toBe(0xffff);
    device.context!.interrupt.queue(1);
    device.context!.interrupt.config();
    expect(driver.msi.take()).toEqual([]);
    device.context!.interrupt.queue(0);
    expect(driver.msi.take()).toEqual([1]);
  });

  it('lets queues share a vector', () => {
    const { device, driver } = setUp();
    driver.start();
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_SELECT, 2, 1);
    driver.writeCommon(reg.VIRTIO_PCI_COMMON_QUEUE_MSIX_VECTOR, 2, 1);
    device.context!.interrupt.queue(0);
    device.context!.interrupt.queue(1);
    expect(driver.msi.take()).toEqual([1, 1]);
  });

  it('forgets pending interrupts with the device’s reset', () => {
    const { device, driver } = setUp();
    driver.start();
    driver.configWrite(driver.msix + 2, 2, pci.PCI_MSIX_CONTROL_ENABLE | pci.PCI_MSIX_CONTROL_MASK);
    device.context!.interrupt.queue(0);
    driver.status = 0;
    driver.configWrite(driver.msix + 2, 2, pci.PCI_MSIX_CONTROL_ENABLE);
    expect(driver.msi.take()).toEqual([]);
  });

  it('sets the configuration bit of ISR status only (§4.1.4.5.1)', () => {
    const { device, driver } = setUp();
    driver.start();
    device.context!.interrupt.queue(0);
    device.context!.interrupt.config();
    expect(driver.bus.read(driver.structure(reg.VIRTIO_PCI_CAP_ISR_CFG), 1)).toBe(2);
    expect(driver.lines.some(({ level }) => level)).toBe(false);
  });
});

describe('INTx, §4.1.4.5', () => {
  it('is high until ISR status is read, which clears it', () => {
    const { device, driver } = setUp({ interrupts: 'intx' });
    driver.start();
    const line = driver.lines[driver.root.interruptLine(1, 1)]!;
    device.context!.interrupt.queue(1);
    device.context!.interrupt.config();
    expect(line.level).toBe(true);
    expect(driver.configRead(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT).toBe(8);
    expect(driver.acknowledge()).toBe(3);
    expect(line.level).toBe(false);
    expect(driver.acknowledge()).toBe(0);
    expect(driver.msi.take()).toEqual([]);
  });

  it('falls with the device’s reset', () => {
    const { device, driver } = setUp({ interrupts: 'intx' });
    driver.start();
    device.context!.interrupt.queue(0);
    driver.status = 0;
    expect(driver.lines.some(({ level }) => level)).toBe(false);
    expect(driver.acknowledge()).toBe(0);
  });
});

describe('doorbells', () => {
  it('ring for each enabled queue from DRIVER_OK to the reset, and follow the BAR', () => {
    const doorbells = new MockDoorbellRegistry();
    const { device, driver } = setUp({ transport: { doorbells } });
    driver.negotiate();
    driver.setUpQueues();
    expect(doorbells.size).toBe(0);
    driver.start();
    device.take();
    const first = driver.notifyAddress(1);
    expect(doorbells.store(first, 2, 1)).toBe(true);
    expect(device.take()).toEqual(['notify 1']);

    driver.configWrite(pci.PCI_COMMAND, 2, 0);
    expect(doorbells.size).toBe(0);
    driver.configWrite(pci.PCI_BASE_ADDRESS_0, 4, 0xc100_0000);
    driver.configWrite(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
    expect(doorbells.size).toBe(2);
    expect(doorbells.store(first, 2, 1)).toBe(false);
    expect(doorbells.store(driver.notifyAddress(1), 2, 1)).toBe(true);
    expect(device.take()).toEqual(['notify 1']);
    driver.status = 0;
    expect(doorbells.size).toBe(0);
    driver.configWrite(pci.PCI_BASE_ADDRESS_0, 4, 0xc000_0000);
    expect(doorbells.size).toBe(0);
  });

  it('are not needed: notifications come through the bus in any width', () => {
    const doorbells: DoorbellRegistry = {
      createDoorbell: () => {
        throw new Error('no more doorbells');
      },
    };
    const { device, driver } = setUp({ transport: { doorbells } });
    driver.start();
    device.take();
    driver.notify(0);
    driver.bus.write(driver.notifyAddress(1), 4, 0);
    driver.bus.write(driver.notifyAddress(1) + 1, 1, 0);
    driver.bus.write(driver.notifyAddress(1) + 4, 2, 2);
    expect(device.take()).toEqual(['notify 0', 'notify 1']);
    expect(driver.needsReset).toBe(false);
  });
});

describe('the PCI configuration access capability, §4.1.4.9', () => {
  function window(driver: MockPciDriver, bar: number, offset: number, length: number): number {
    const at = driver.capability(reg.VIRTIO_PCI_CAP_PCI_CFG)!;
    driver.configWrite(at + 4, 1, bar);
    driver.configWrite(at + 8, 4, offset);
    driver.configWrite(at + 12, 4, length);
    return at + 16;
  }

  it('reaches the registers without the BAR', () => {
    const { driver } = setUp();
    driver.configWrite(pci.PCI_COMMAND, 2, 0);
    const { core } = driver.transport;
    driver.configWrite(window(driver, 0, reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 1), 1, 1);
    expect(core.status).toBe(1);
    expect(driver.configRead(window(driver, 0, reg.VIRTIO_PCI_COMMON_DEVICE_STATUS, 1), 1)).toBe(1);
    expect(driver.configRead(window(driver, 0, reg.VIRTIO_PCI_COMMON_NUM_QUEUES, 2), 2)).toBe(2);
    const config = driver.configRead(driver.capability(reg.VIRTIO_PCI_CAP_DEVICE_CFG)! + 8, 4);
    expect(driver.configRead(window(driver, 0, config + 4, 4), 4)).toBe(0x0807_0605);
  });

  it.each([
    [1, 0x14, 1],
    [0, 0x14, 3],
    [0, 0x14, 0],
    [0, 0x13, 2],
    [0, 0xffff_fffc, 4],
    [0, 0x8000_0000, 4],
  ])('does nothing for BAR %i, offset %i, length %i', (bar, offset, length) => {
    const { driver } = setUp();
    driver.start();
    const data = window(driver, bar, offset, length);
    driver.configWrite(data, 4, 0);
    driver.configRead(data, 4);
    expect(driver.status).toBe(15);
  });

  it('touches nothing when its other fields are read', () => {
    const { device, driver } = setUp({ interrupts: 'intx' });
    driver.start();
    device.context!.interrupt.queue(0);
    const isr = driver.configRead(driver.capability(reg.VIRTIO_PCI_CAP_ISR_CFG)! + 8, 4);
    const data = window(driver, 0, isr, 1);
    for (let offset = data - 16; offset < data; offset += 4) driver.configRead(offset, 4);
    expect(driver.configRead(data, 1)).toBe(1);
    expect(driver.configRead(data, 1)).toBe(0);
  });
});

describe('Function Level Reset', () => {
  it('resets the device, and the guest brings both back', () => {
    const { device, driver } = setUp();
    driver.start();
    const express = driver.configRead(pci.PCI_CAPABILITIES_POINTER, 1);
    expect(driver.configRead(express, 1)).toBe(pci.PCI_CAP_ID_EXPRESS);
    driver.configWrite(express + 8, 2, 0x8000);
    expect(device.calls.at(-1)).toBe('reset');
    expect(driver.transport.core.status).toBe(0);
    expect(driver.transport.function.msixEnabled).toBe(false);
    driver.probe();
    driver.start();
    device.context!.interrupt.queue(0);
    expect(driver.msi.take()).toEqual([1]);
  });
});

describe('state', () => {
  it('takes the BAR, MSI-X with what is masked and pending, and the doorbells along', async () => {
    const { device, driver } = setUp();
    driver.start();
    driver.configWrite(pci.PCI_BASE_ADDRESS_0, 4, 0xc200_0000);
    const table = driver.barAddress(0) + (driver.configRead(driver.msix + 4, 4) & ~7);
    driver.bus.write(table + 16 + 8, 4, 77);
    driver.bus.write(table + 16 + 12, 4, 1);
    device.context!.interrupt.queue(0);
    await driver.transport.pause();
    const state: unknown = structuredClone(driver.transport.save());

    const doorbells = new MockDoorbellRegistry();
    const other = new MockPciDriver(new MockDevice(), { memory: driver.memory, transport: { doorbells } });
    other.transport.restore(state);
    other.transport.resume();
    expect(other.barAddress(0)).toBe(0xc200_0000);
    expect(doorbells.size).toBe(2);
    expect(doorbells.store(other.notifyAddress(0), 2, 0)).toBe(true);
    other.msi.take();
    other.bus.write(table + 16 + 12, 4, 0);
    expect(other.msi.take()).toEqual([77]);
  });

  it('keeps an interrupt line high that the driver has not looked at', async () => {
    const { device, driver } = setUp({ interrupts: 'intx' });
    driver.start();
    device.context!.interrupt.queue(0);
    await driver.transport.pause();
    const other = new MockPciDriver(new MockDevice(), { memory: driver.memory, interrupts: 'intx' });
    other.transport.restore(driver.transport.save());
    expect(other.lines[1]!.level).toBe(true);
    expect(other.acknowledge()).toBe(1);
    expect(other.lines[1]!.level).toBe(false);
  });
});

it('refuses impossible options', () => {
  const refused = expect.objectContaining({ code: 'INVALID_OPTION' }) as Error;
  expect(() => setUp({ transport: { vectors: 0 } })).toThrow(refused);
  expect(() => setUp({ transport: { vectors: 2049 } })).toThrow(refused);
  class Shared extends MockDevice {
    readonly sharedMemory: readonly SharedMemoryRegion[] = [{ id: 0, size: 1000 }];
  }
  expect(() => new MockPciDriver(new Shared())).toThrow(refused);
});

it('has room for as many queues as there may be vectors, and more', () => {
  const queueSizes = Array.from({ length: 2100 }, () => 2);
  const driver = new MockPciDriver(new MockDevice({ queueSizes }), { queues: [0, 2099] }).start();
  expect(driver.status).toBe(15);
  expect(driver.transport.function.msix!.vectors).toBe(2048);
  driver.rings[2099]!.add([{ writable: 1 }]);
  driver.kick(2099);
  expect(driver.rings[2099]!.collect()).toHaveLength(1);
});

it('never throws, whatever the guest reads and writes in any order, and works after a reset', () => {
  const value = fc.oneof(
    fc.nat(16),
    fc.constantFrom(0xffff, 0xffff_ffff, 0x8000, 0xc000, 0xc000_0000, 0x8000_0000),
    fc.nat(0xffff_ffff),
  );
  const access = fc.record({
    where: fc.constantFrom('config', 'common', 'bar'),
    write: fc.boolean(),
    offset: fc.oneof(fc.nat(0xff), fc.nat(0x8000), fc.constantFrom(0x3000, 0x300c, 0x301c, 0x4000, 0x5000)),
    length: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
    value,
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 120 }), fc.boolean(), (accesses, intx) => {
      const doorbells = new MockDoorbellRegistry();
      const { driver } = setUp({ interrupts: intx ? 'intx' : 'msix', transport: { doorbells } });
      const { function: fn } = driver.transport;
      const faults: unknown[] = [];
      for (const { where, write, offset, length, value: content } of accesses) {
        const at = where === 'config' ? offset & 0xff : where === 'common' ? offset & 0x3f : offset;
        if (where === 'config') {
          if (write) driver.configWrite(at, length, content);
          else faults.push(...wide(driver.configRead(at, length)));
        } else if (write) fn.bars[0]!.device.write(at, length, content);
        else faults.push(...wide(fn.bars[0]!.device.read(at, length)));
      }
      expect(faults).toEqual([]);
      driver.transport.reset();
      expect(doorbells.size).toBe(0);
      driver.probe();
      driver.start();
      expect(doorbells.size).toBe(2);
      driver.rings[0]!.add([{ writable: 1 }]);
      driver.kick(0);
      expect(driver.rings[0]!.collect()).toHaveLength(1);
      expect(driver.acknowledge() & 1).toBe(1);
      expect(driver.bus.statistics.deviceErrors).toBe(0);
      expect(driver.transport).toBeInstanceOf(VirtioPciTransport);
    }),
  );
});

/** Answers that are no unsigned 32-bit numbers. */
function wide(answer: number): number[] {
  return answer === answer >>> 0 ? [] : [answer];
}
