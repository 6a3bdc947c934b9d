import type { Queue } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import type { RateLimiter } from '../rate-limiter.ts';
import type { NetBackend } from './backend.ts';
import { VIRTIO_NET_HDR_SIZE } from './constants.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import { BYTES_PER_TURN, FRAMES_PER_CALL, FRAMES_PER_TURN } from './turn.ts';

/** Frames in one call of a backend where a rate limiter counts what has come. */
const LIMITED_FRAMES_PER_CALL = 4;

export interface ReceiveCounters {
  receivedFrames: number;
  receivedBytes: number;
}

/** Moves frames from a device's backend to the guest's receive queues. */
export class Receiver {
  readonly #backend: NetBackend;
  readonly #limiter: RateLimiter | undefined;
  readonly #counters: ReceiveCounters;
  /** Pieces of chains that may be taken in this turn. */
  #pieces = 0;

  constructor(backend: NetBackend, limiter: RateLimiter | undefined, counters: ReceiveCounters) {
    this.#backend = backend;
    this.#limiter = limiter;
    this.#counters = counters;
  }

  /** Has the backend fill the buffers of a queue pair until either has no more, or the turn is over. */
  run(context: ActivateContext, index: number, buffers: ReceiveBuffers): void {
    const limiter = this.#limiter;
    let frames = FRAMES_PER_TURN;
    let bytes = BYTES_PER_TURN;
    this.#pieces = PIECES_PER_TURN;
    for (;;) {
      const queue = context.queues[2 * index];
      if (queue === undefined) break;
      if (limiter?.admit() === false) break;
      this.#lend(context, queue, buffers);
      if (buffers.freeChains > 0) {
        buffers.wanted = Math.min(frames, limiter === undefined ? FRAMES_PER_CALL : LIMITED_FRAMES_PER_CALL);
        const { wanted } = buffers;
        const more = this.#backend.receive(index, buffers);
        frames -= wanted - buffers.wanted;
        bytes -= this.#finishReceive(queue, buffers);
        if (!more) break;
        if (frames <= 0 || bytes <= 0 || this.#pieces <= 0) {
          context.renotify(2 * index);
          break;
        }
        if (buffers.wanted === 0) continue;
      }
      // Buffers are missing. All chains of the queue may be out, and still too small for the next frame.
      if (buffers.freeChains >= queue.size || !queue.enableNotifications()) break;
      if (this.#pieces <= 0) {
        context.renotify(2 * index);
        break;
      }
    }
    const queue = context.queues[2 * index];
    if (queue?.needsInterrupt() === true) context.interrupt.queue(2 * index);
  }

  /** Takes all buffers that the driver made available, if they are not of too many pieces for one turn. */
  #lend(context: ActivateContext, queue: Queue, buffers: ReceiveBuffers): void {
    queue.disableNotifications();
    while (this.#pieces > 0) {
      const chain = queue.pop();
      if (chain === null) return;
      this.#pieces -= chain.length;
      if (chain.writableBytes < VIRTIO_NET_HDR_SIZE) {
        context.interrupt.needsReset('a receive buffer smaller than a header (§5.1.6.3.1)');
        return;
      }
      buffers.add(chain);
    }
  }

  /** Gives the driver the frames that a backend delivered. @returns their bytes */
  #finishReceive(queue: Queue, buffers: ReceiveBuffers): number {
    let bytes = 0;
    let frames = 0;
    queue.deferUsed();
    const end = buffers.free;
    for (let i = buffers.begin; i < end; i++) {
      queue.addUsed(buffers.chain(i), buffers.written(i));
      const length = buffers.frameLength(i);
      if (length === 0) continue;
      frames++;
      bytes += length;
    }
    queue.publishUsed();
    buffers.passTo(end);
    this.#counters.receivedFrames += frames;
    this.#counters.receivedBytes += bytes;
    if (frames > 0) this.#limiter?.charge(bytes, frames);
    return bytes;
  }
}
