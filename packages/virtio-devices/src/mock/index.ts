export { MockMmioDriver, type MockMmioDriverOptions } from './mmio-driver.ts';
