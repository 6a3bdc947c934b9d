export { MockMmioDriver, type MockMmioDriverOptions } from './mmio-driver.ts';
export { MockPciDriver, type MockPciDriverOptions } from './pci-driver.ts';
export { MockVirtioDriver, type MockVirtioDriverOptions } from './virtio-driver.ts';
export { createDriver, DRIVER_COMBINATIONS, startDriver, type CreateDriverOptions } from './start-driver.ts';
export { MockDevice } from './device.ts';
