export {
  MockSplitDriver,
  type MockBuffer,
  type MockDescriptor,
  type MockSplitDriverOptions,
  type MockUsed,
} from './split-driver.ts';
