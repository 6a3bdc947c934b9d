export { MockMmioDriver, type MockMmioDriverOptions } from './mmio-driver.ts';
export { MockDevice } from './device.ts';
