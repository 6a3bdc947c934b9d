import type { Queue } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import type { RateLimiter } from '../rate-limiter.ts';
import type { NetBackend } from './backend.ts';
import { ETH_HLEN, NET_MAX_FRAME, VIRTIO_NET_HDR_SIZE } from './constants.ts';
import type { TransmitBatch } from './transmit-batch.ts';
import { BYTES_PER_TURN, FRAMES_PER_CALL, FRAMES_PER_TURN } from './turn.ts';

/** Pieces of one frame: IOV_MAX of Linux. */
const MAX_PIECES = 1024;

export interface TransmitCounters {
  transmittedFrames: number;
  transmittedBytes: number;
  transmitDropped: number;
}

/** Moves frames from the guest's transmit queues to a device's backend. */
export class Transmitter {
  readonly #backend: NetBackend;
  readonly #limiter: RateLimiter | undefined;
  readonly #counters: TransmitCounters;
  readonly #link: { readonly linkUp: boolean };
  /** Pieces of chains that may be taken in this turn. */
  #pieces = 0;

  constructor(
    backend: NetBackend,
    limiter: RateLimiter | undefined,
    counters: TransmitCounters,
    link: { readonly linkUp: boolean },
  ) {
    this.#backend = backend;
    this.#limiter = limiter;
    this.#counters = counters;
    this.#link = link;
  }

  /** Has the backend take the frames of a queue pair until either has no more, or the turn is over. */
  run(context: ActivateContext, index: number, batch: TransmitBatch): void {
    const queue = context.queues[2 * index + 1];
    if (queue === undefined) return;
    let frames = FRAMES_PER_TURN;
    let bytes = BYTES_PER_TURN;
    let waits: boolean;
    this.#pieces = PIECES_PER_TURN;
    do {
      queue.disableNotifications();
      let popped: number;
      do {
        popped = 0;
        if (batch.remaining === 0) {
          batch.clear();
          popped = this.#collect(queue, batch, Math.min(frames, FRAMES_PER_CALL));
          frames -= popped;
          bytes -= batch.bytes;
        }
        if (batch.remaining > 0) this.#send(index, queue, batch);
        // The backend says when it goes on, and so does the limiter's timer.
        waits = batch.remaining > 0 || this.#limiter?.blocked === true;
        if (!waits && (frames <= 0 || bytes <= 0 || this.#pieces <= 0)) {
          context.renotify(2 * index + 1);
          waits = true;
        }
      } while (!waits && popped > 0);
    } while (!waits && queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(2 * index + 1);
  }

  /**
   * Takes up to `limit` chains from the queue; those that hold no frame go back at once.
   *
   * @returns how many there were
   */
  #collect(queue: Queue, batch: TransmitBatch, limit: number): number {
    let count = 0;
    while (count < limit && this.#pieces > 0) {
      const chain = queue.pop();
      if (chain === null) break;
      this.#pieces -= chain.length;
      const length = chain.readableBytes - VIRTIO_NET_HDR_SIZE;
      if (
        length < ETH_HLEN ||
        length > NET_MAX_FRAME ||
        chain.readableCount > MAX_PIECES ||
        !this.#link.linkUp
      ) {
        this.#counters.transmitDropped++;
        queue.addUsed(chain, 0);
      } else if (this.#limiter?.consume(length) === false) {
        queue.undoPop(chain);
        break;
      } else {
        batch.add(chain);
      }
      count++;
    }
    return count;
  }

  /** Has the backend take what it will, and gives that back to the driver. */
  #send(index: number, queue: Queue, batch: TransmitBatch): void {
    const { begin, dropped } = batch;
    this.#backend.transmit(index, batch);
    const end = batch.begin;
    queue.deferUsed();
    for (let i = begin; i < end; i++) {
      const chain = batch.chain(i);
      this.#counters.transmittedBytes += chain.readableBytes - VIRTIO_NET_HDR_SIZE;
      queue.addUsed(chain, 0);
    }
    queue.publishUsed();
    this.#counters.transmittedFrames += end - begin - (batch.dropped - dropped);
  }
}
