export { brokenChains, type BrokenChain } from './broken.ts';
export { createMockDriver, type MockRingOptions } from './create.ts';
export type {
  MockBuffer,
  MockDescriptor,
  MockDriver,
  MockDriverOptions,
  MockLayout,
  MockUsed,
} from './driver.ts';
export { MockPackedDriver } from './packed-driver.ts';
export { MockSplitDriver } from './split-driver.ts';
