import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext } from './device.ts';

/**
 * The loop of a device that answers each chain at once: pops until the queue is empty, gives every chain
 * back and sends one interrupt if the driver wants one. After as many chains as the queue is long the rest
 * follows in a later turn of the event loop.
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
  do {
    queue.disableNotifications();
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      queue.addUsed(chain, handle(chain));
      if (--budget === 0) break;
    }
    if (budget === 0) {
      context.renotify(index);
      break;
    }
  } while (queue.enableNotifications());
  if (queue.needsInterrupt()) context.interrupt.queue(index);
}
