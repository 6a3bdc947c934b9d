import type { GuestMemory } from '@vmm/vm-memory';
import { VirtioQueueError } from './errors.ts';
import type { Queue, QueueConfig } from './queue.ts';
import { createSplitQueue, restoreSplitQueue } from './split.ts';

/**
 * Activates a virtqueue of the format that `config.packed` names.
 *
 * @throws VirtioQueueError `INVALID_SIZE`, `AREA_MISALIGNED`, `AREA_OUT_OF_RANGE`, `AREA_READ_ONLY`
 */
export function createQueue(memory: GuestMemory, config: QueueConfig): Queue {
  if (config.packed === true) throw new VirtioQueueError('INVALID_ARGUMENT', 'packed rings are not there yet');
  return createSplitQueue(memory, config);
}

/**
 * Activates a queue where `save()` left it. The state may come from anywhere: all of it is checked. The
 * first `needsInterrupt()` answers true, because the state does not say what the driver was told.
 *
 * @throws VirtioQueueError `INVALID_STATE` and what {@link createQueue} throws
 */
export function restoreQueue(memory: GuestMemory, state: unknown): Queue {
  return restoreSplitQueue(memory, state);
}
