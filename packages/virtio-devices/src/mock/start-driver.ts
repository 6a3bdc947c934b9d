import type { MockDriver } from '@vmm/virtio-queue/mock';
import type { VirtioDevice } from '../device.ts';
import type { TransportOptions } from '../transport/types.ts';
import { MockMmioDriver } from './mmio-driver.ts';
import { MockPciDriver } from './pci-driver.ts';
import type { MockVirtioDriver, MockVirtioDriverOptions } from './virtio-driver.ts';

export interface CreateDriverOptions extends MockVirtioDriverOptions {
  /** Default `mmio`. */
  readonly transport?: 'mmio' | 'pci';
  /** Further options of the transport. */
  readonly transportOptions?: Partial<TransportOptions>;
}

/** Every transport with every format of rings, for `describe.each`. */
export const DRIVER_COMBINATIONS: readonly {
  readonly transport: 'mmio' | 'pci';
  readonly ring: 'split' | 'packed';
}[] = [
  { transport: 'mmio', ring: 'split' },
  { transport: 'mmio', ring: 'packed' },
  { transport: 'pci', ring: 'split' },
  { transport: 'pci', ring: 'packed' },
];

/** A device behind a transport, and a driver that has not begun with it. */
export function createDriver(device: VirtioDevice, options: CreateDriverOptions = {}): MockVirtioDriver {
  const { transport, transportOptions = {}, ...rest } = options;
  const driverOptions = { ...rest, transport: transportOptions };
  return transport === 'pci'
    ? new MockPciDriver<MockDriver>(device, driverOptions)
    : new MockMmioDriver<MockDriver>(device, driverOptions);
}

/** {@link createDriver}, up to DRIVER_OK. */
export function startDriver(device: VirtioDevice, options: CreateDriverOptions = {}): MockVirtioDriver {
  return createDriver(device, options).start();
}
