import { GuestMemory } from '@vmm/vm-memory';
import { createQueue, VirtioQueueError, type Queue, type VirtioQueueErrorCode } from '../src/index.ts';
import {
  createMockDriver,
  MockPackedDriver,
  MockSplitDriver,
  type MockDriver,
  type MockDriverOptions,
  type MockRingOptions,
} from '../src/mock/index.ts';

export const BASE = 0x8000_0000;

export interface Rig<Driver extends MockDriver = MockSplitDriver> {
  readonly memory: GuestMemory;
  readonly driver: Driver;
  readonly queue: Queue;
}

interface Shared {
  readonly shared?: boolean;
}

export function makeMemory(size = 0x2_0000, shared = false): GuestMemory {
  const buffer = shared ? new SharedArrayBuffer(size) : new ArrayBuffer(size);
  return new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(buffer) }]);
}

function rigOf<Driver extends MockDriver>(
  shared: boolean | undefined,
  make: (memory: GuestMemory) => Driver,
): Rig<Driver> {
  const memory = makeMemory(0x2_0000, shared);
  const driver = make(memory);
  return { memory, driver, queue: createQueue(memory, driver.config) };
}

/** A driver and an activated split queue in one region of memory. */
export function makeRig(options: MockDriverOptions & Shared = {}): Rig {
  return rigOf(options.shared, (memory) => new MockSplitDriver(memory, options));
}

/** The same with a packed queue. */
export function makePackedRig(options: MockDriverOptions & Shared = {}): Rig<MockPackedDriver> {
  return rigOf(options.shared, (memory) => new MockPackedDriver(memory, options));
}

/** The same with the queue of `options.packed`. */
export function makeAnyRig(options: MockRingOptions & Shared = {}): Rig<MockDriver> {
  return rigOf(options.shared, (memory) => createMockDriver(memory, options));
}

/** The code of the VirtioQueueError that `action` throws; undefined when it throws nothing. */
export function codeOf(action: () => unknown): VirtioQueueErrorCode | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof VirtioQueueError) return error.code;
    throw error;
  }
  return undefined;
}

/** Pops what must be there. */
export function popChain(queue: Queue): NonNullable<ReturnType<Queue['pop']>> {
  const chain = queue.pop();
  if (chain === null) throw new Error('the queue is empty');
  return chain;
}
