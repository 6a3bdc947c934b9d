import type { ActivateContext } from '../device.ts';
import { VIRTIO_VSOCK_EVENT_SIZE, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VSOCK_EVENTQ } from './constants.ts';

/** The event that tells the driver that its connections are gone, VIRTIO 1.3 §5.10.6.7. */
export class ResetEvent {
  /** The driver is to be told when it lends a buffer. */
  due = false;
  readonly #event = new Uint8Array(VIRTIO_VSOCK_EVENT_SIZE);

  constructor() {
    new DataView(this.#event.buffer).setUint32(0, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, true);
  }

  /** Sends it if it is due and there is a buffer. */
  send(context: ActivateContext): void {
    const queue = context.queues[VSOCK_EVENTQ];
    if (!this.due || queue === undefined) return;
    let chain = queue.pop();
    if (chain === null && queue.enableNotifications()) chain = queue.pop();
    if (chain === null) return;
    if (chain.writableBytes < VIRTIO_VSOCK_EVENT_SIZE) {
      context.interrupt.needsReset('an event buffer has no room for an event (§5.10.6.7)');
      return;
    }
    chain.writer.write(this.#event);
    queue.addUsed(chain, VIRTIO_VSOCK_EVENT_SIZE);
    this.due = false;
    if (queue.needsInterrupt()) context.interrupt.queue(VSOCK_EVENTQ);
  }
}
