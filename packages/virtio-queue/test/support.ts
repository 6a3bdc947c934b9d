import { GuestMemory } from '@vmm/vm-memory';
import { createSplitQueue, VirtioQueueError, type Queue, type VirtioQueueErrorCode } from '../src/index.ts';
import { MockSplitDriver, type MockSplitDriverOptions } from '../src/mock/index.ts';

export const BASE = 0x8000_0000;

export interface Rig {
  readonly memory: GuestMemory;
  readonly driver: MockSplitDriver;
  readonly queue: Queue;
}

export function makeMemory(size = 0x2_0000, shared = false): GuestMemory {
  const buffer = shared ? new SharedArrayBuffer(size) : new ArrayBuffer(size);
  return new GuestMemory([{ guestAddress: BASE, bytes: new Uint8Array(buffer) }]);
}

/** A driver and an activated queue in one region of memory. */
export function makeRig(options: MockSplitDriverOptions & { readonly shared?: boolean } = {}): Rig {
  const memory = makeMemory(0x2_0000, options.shared);
  const driver = new MockSplitDriver(memory, options);
  return { memory, driver, queue: createSplitQueue(memory, driver.config) };
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
