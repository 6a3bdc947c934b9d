import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext } from './device.ts';

/**
 * Pieces of chains that one queue may cost in one turn of the event loop. A driver can name as many in each chain as
 * the queue is long, in a table that it writes once.
 */
export const PIECES_PER_TURN = 16_384;
/**
 * Largest Queue Size that a device takes: a full ring of the longest chains, which a device may have to hold, grows
 * with its square.
 */
export const MAX_QUEUE_SIZE = 1024;

/**
 * The loop of a device that answers each chain at once: pops until the queue is empty, gives every chain
 * back and sends one interrupt if the driver wants one. After as many chains as the queue is long, or
 * {@link PIECES_PER_TURN}, the rest follows in a later turn of the event loop.
 *
 * @param handle answers the number of bytes it wrote from the start of the chain's writable part. What it
 *   throws puts the device into DEVICE_NEEDS_RESET.
 */
export function drainQueue(
  context: ActivateContext,
  index: number,
  handle: (chain: DescriptorChain) => number,
): void {
  const queue = context.queues[index];
  if (queue === undefined) return;
  let budget = queue.size;
  let pieces = PIECES_PER_TURN;
  do {
    queue.disableNotifications();
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      pieces -= chain.length;
      queue.addUsed(chain, handle(chain));
      if (--budget === 0 || pieces <= 0) break;
    }
    if (budget === 0 || pieces <= 0) {
      context.renotify(index);
      break;
    }
  } while (queue.enableNotifications());
  if (queue.needsInterrupt()) context.interrupt.queue(index);
}
