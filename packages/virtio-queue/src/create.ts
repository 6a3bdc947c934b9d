import type { GuestMemory } from '@vmm/vm-memory';
import { checkConfig, parseState } from './config.ts';
import { RING_WRAP_COUNTER } from './constants.ts';
import { PackedQueue } from './packed.ts';
import type { Queue, QueueConfig } from './queue.ts';
import { SplitQueue } from './split.ts';

/**
 * Activates a virtqueue of the format that `config.packed` names.
 *
 * @throws VirtioQueueError `INVALID_SIZE`, `AREA_MISALIGNED`, `AREA_OUT_OF_RANGE`, `AREA_READ_ONLY`
 */
export function createQueue(memory: GuestMemory, config: QueueConfig): Queue {
  const checked = checkConfig(memory, config);
  return checked.packed
    ? new PackedQueue(memory, checked, RING_WRAP_COUNTER, false)
    : new SplitQueue(memory, checked, 0, false);
}

/**
 * Activates a queue where `save()` left it. The state may come from anywhere: all of it is checked. The
 * first `needsInterrupt()` answers true, because the state does not say what the driver was told.
 *
 * @throws VirtioQueueError `INVALID_STATE` and what {@link createQueue} throws
 */
export function restoreQueue(memory: GuestMemory, state: unknown): Queue {
  const { config, nextAvail } = parseState(state);
  const checked = checkConfig(memory, config);
  return checked.packed
    ? new PackedQueue(memory, checked, nextAvail, true)
    : new SplitQueue(memory, checked, nextAvail, true);
}
