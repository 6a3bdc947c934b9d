import type { GuestMemory } from '@vmm/vm-memory';
import type { MockDriver, MockDriverOptions } from './driver.ts';
import { MockPackedDriver } from './packed-driver.ts';
import { MockSplitDriver } from './split-driver.ts';

export interface MockRingOptions extends MockDriverOptions {
  /** Default false. */
  readonly packed?: boolean;
}

/** Lays out a ring of the format that `options.packed` names. */
export function createMockDriver(memory: GuestMemory, options: MockRingOptions = {}): MockDriver {
  return options.packed === true
    ? new MockPackedDriver(memory, options)
    : new MockSplitDriver(memory, options);
}
