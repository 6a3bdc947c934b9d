import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { NetBackend, NetBackendClient } from './backend.ts';
import { ETH_HLEN, NET_MAX_FRAME } from './constants.ts';
import { FrameQueue } from './frame-queue.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import type { TransmitBatch } from './transmit-batch.ts';

/** What this needs of an AbortSignal; not part of ECMAScript. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
}

export interface FrameStreamOptions {
  /** Frames to the guest that wait at most, 1 to 65536. Default 256. */
  readonly sendQueue?: number;
  /** Frames from the guest that wait for the loop at most, 1 to 65536. Default 256. */
  readonly receiveQueue?: number;
  /** Most bytes of an IP packet; the guest is told. Default: its own choice, mostly 1500. */
  readonly mtu?: number;
  /** Closes the stream. */
  readonly signal?: AbortSignalLike;
}

export interface FrameStreamStatistics {
  /** Frames that the guest has got. */
  readonly sent: number;
  /** Frames of `send()` that were dropped because as many waited as may. */
  readonly sendDropped: number;
  /** Frames from the guest that the loop has got. */
  readonly received: number;
  /** Frames from the guest that were dropped because as many waited as may. */
  readonly receiveDropped: number;
}

/**
 * A network in JavaScript: `for await (const frame of nic)` gives the Ethernet frames that the guest sends,
 * `nic.send(frame)` sends it one. As on a wire, what nobody takes in time is dropped and counted.
 */
export class FrameStream implements NetBackend, AsyncIterable<Uint8Array<ArrayBuffer>> {
  readonly description: string = 'frame stream';
  /** Frames from JavaScript have their checksums, and frames to it get theirs. */
  readonly offloads: FeatureSet = FeatureSet.EMPTY;
  readonly maximumQueuePairs = 1;
  readonly mtu: number | undefined;
  readonly #outgoing: FrameQueue;
  readonly #incoming: FrameQueue;
  #client: NetBackendClient | undefined;
  /** The device waits for `readable()`. */
  #waiting = true;
  #closed = false;
  #reader: ((result: IteratorResult<Uint8Array<ArrayBuffer>, undefined>) => void) | undefined;
  #iterating = false;
  #drained: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #sent = 0;
  #sendDropped = 0;
  #received = 0;
  #receiveDropped = 0;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: FrameStreamOptions = {}) {
    this.#outgoing = new FrameQueue(checkOption('sendQueue', options.sendQueue ?? 256, 1, 65536));
    this.#incoming = new FrameQueue(checkOption('receiveQueue', options.receiveQueue ?? 256, 1, 65536));
    this.mtu = options.mtu === undefined ? undefined : checkOption('mtu', options.mtu, 68, 65535);
    const { signal } = options;
    if (signal?.aborted === true) this.close();
    else signal?.addEventListener('abort', () => this.close(), { once: true });
  }

  get statistics(): FrameStreamStatistics {
    return {
      sent: this.#sent,
      sendDropped: this.#sendDropped,
      received: this.#received,
      receiveDropped: this.#receiveDropped,
    };
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Sends the guest a frame, from its destination address on, without the checksum at the end; a copy is
   * kept until the guest takes it.
   *
   * @param frame 14 to 65560 bytes
   * @returns false when it was dropped: go on after {@link drained}. False too when the stream is closed
   * @throws VirtioDeviceError `INVALID_ARGUMENT`
   */
  send(frame: Uint8Array): boolean {
    if (frame.length < ETH_HLEN || frame.length > NET_MAX_FRAME) {
      throw new VirtioDeviceError(
        'INVALID_ARGUMENT',
        `a frame has ${ETH_HLEN} to ${NET_MAX_FRAME} bytes, not ${frame.length}`,
      );
    }
    if (this.#closed) return false;
    if (this.#outgoing.full) {
      this.#sendDropped++;
      return false;
    }
    this.#outgoing.push(frame.slice());
    if (this.#waiting) {
      this.#waiting = false;
      this.#client?.readable(0);
    }
    return true;
  }

  /** Resolves when `send()` has room for a frame; also when the stream is closed. */
  drained(): Promise<void> {
    if (this.#closed || !this.#outgoing.full) return Promise.resolve();
    this.#drained ??= deferred();
    return this.#drained.promise;
  }

  /**
   * Frames from the guest from now on, each in memory of its own. They end when the stream is closed; leaving
   * the loop does not close it.
   *
   * @throws VirtioDeviceError `WRONG_STATE` while another loop runs
   */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array<ArrayBuffer>, undefined> {
    if (this.#iterating) {
      throw new VirtioDeviceError('WRONG_STATE', 'a frame stream has one reader at a time');
    }
    this.#iterating = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.#iterating = false;
        this.#reader?.({ done: true, value: undefined });
        this.#reader = undefined;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  /** Ends the loop after what waits; the guest's link goes down. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#outgoing.clear();
    this.#wakeSender();
    if (this.#incoming.length === 0) {
      this.#reader?.({ done: true, value: undefined });
      this.#reader = undefined;
    }
    this.#client?.carrier(false);
  }

  attach(client: NetBackendClient): void {
    if (this.#client !== undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.description} is another device's already`);
    }
    this.#client = client;
    if (this.#closed) client.carrier(false);
  }

  configure(): void {
    // Nothing depends on it: without a driver frames wait, as many as may.
  }

  transmit(_pair: number, batch: TransmitBatch): void {
    while (batch.remaining > 0) {
      if (this.#closed) {
        batch.drop();
        continue;
      }
      if (this.#incoming.full) {
        this.#receiveDropped++;
        batch.drop();
        continue;
      }
      const frame = batch.copyFrame();
      if (frame === undefined) {
        batch.drop();
        continue;
      }
      batch.advance();
      if (this.#reader === undefined) {
        this.#incoming.push(frame);
      } else {
        this.#received++;
        this.#reader({ done: false, value: frame });
        this.#reader = undefined;
      }
    }
  }

  receive(_pair: number, buffers: ReceiveBuffers): boolean {
    while (buffers.wanted > 0) {
      const frame = this.#outgoing.first;
      if (frame === undefined) {
        this.#waiting = true;
        this.#wakeSender();
        return false;
      }
      if (!buffers.deliver(frame)) break;
      this.#sent++;
      this.#outgoing.shift();
    }
    this.#wakeSender();
    return true;
  }

  #next(): Promise<IteratorResult<Uint8Array<ArrayBuffer>, undefined>> {
    const frame = this.#incoming.shift() as Uint8Array<ArrayBuffer> | undefined;
    if (frame !== undefined) {
      this.#received++;
      return Promise.resolve({ done: false, value: frame });
    }
    if (this.#closed || !this.#iterating) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => (this.#reader = resolve));
  }

  #wakeSender(): void {
    if (this.#drained === undefined || (this.#outgoing.full && !this.#closed)) return;
    this.#drained.resolve();
    this.#drained = undefined;
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}
