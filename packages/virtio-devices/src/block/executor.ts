import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import type { BlockBackend } from './backend.ts';
import { BlockBatch } from './batch.ts';
import { VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK } from './constants.ts';
import { writeStatus } from './request.ts';

export interface VirtioBlockStatistics {
  readonly reads: number;
  readonly readBytes: number;
  readonly writes: number;
  readonly writtenBytes: number;
  readonly flushes: number;
  /** DISCARD and WRITE_ZEROES requests. */
  readonly discards: number;
  /** Requests answered with VIRTIO_BLK_S_IOERR or VIRTIO_BLK_S_UNSUPP. */
  readonly errors: number;
  /** How often requests had to wait for the rate limiter. */
  readonly throttled: number;
}

/** Gives accepted requests to the backend, and answers them when it is done, in whatever order that is. */
export class BlockExecutor {
  readonly statistics = {
    reads: 0,
    readBytes: 0,
    writes: 0,
    writtenBytes: 0,
    flushes: 0,
    discards: 0,
    errors: 0,
  };
  /** Every write is made durable before it is answered. */
  writeThrough = true;
  readonly #backend: BlockBackend;
  readonly #onError: ((error: VirtioDeviceError) => void) | undefined;
  readonly #onSettled: () => void;
  readonly #spare: BlockBatch[] = [];
  readonly #busy = new Set<BlockBatch>();
  /** Queues that have answers which no interrupt was sent for. */
  readonly #unannounced = new Set<number>();
  #announcing = false;
  #context: ActivateContext | undefined;
  #inFlight = 0;
  #bytes = 0;
  /** Operations in flight that change the disk, and those of them that were forgotten. */
  #changes = 0;
  #stale = 0;
  #whenIdle: (() => void)[] = [];

  /** @param onSettled called when something that was in flight is not any more */
  constructor(
    backend: BlockBackend,
    onError: ((error: VirtioDeviceError) => void) | undefined,
    onSettled: () => void,
  ) {
    this.#backend = backend;
    this.#onError = onError;
    this.#onSettled = onSettled;
  }

  /** Bytes of reads and writes that the backend has. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Changes that were forgotten are still under way: what comes next must not be overtaken by them. */
  get draining(): boolean {
    return this.#stale > 0;
  }

  activate(context: ActivateContext): void {
    this.#context = context;
  }

  /** Forgets what is in flight: the memory is not the device's any more. */
  reset(): void {
    this.#context = undefined;
    this.#unannounced.clear();
    this.#stale = this.#changes;
    for (const batch of this.#busy) batch.cancel();
  }

  queueReset(queueIndex: number): void {
    this.#stale = this.#changes;
    for (const batch of this.#busy) if (batch.queueIndex === queueIndex) batch.cancel();
  }

  /** Resolves when nothing is in flight. */
  async idle(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  /** An empty batch for {@link submit}. */
  batch(queue: Queue, queueIndex: number): BlockBatch {
    const batch = this.#spare.pop() ?? new BlockBatch();
    batch.begin(queue, queueIndex);
    return batch;
  }

  /** Carries out the transfers of a batch and answers them, now or later. */
  submit(batch: BlockBatch): void {
    if (batch.count === 0) {
      this.#spare.push(batch);
      return;
    }
    const flush = this.writeThrough && batch.hasWrites;
    batch.onComplete = flush ? undefined : this.#onComplete;
    let done: void | Promise<void> = undefined;
    try {
      done = this.#backend.submit(batch);
    } catch (cause) {
      batch.failAll(cause);
    }
    if (done === undefined && !flush) this.#finish(batch);
    else void this.#settle(batch, done, flush);
  }

  /** A request that the backend answers in its own time. It may change the disk. */
  run(queueIndex: number, queue: Queue, chain: DescriptorChain, work: () => void | Promise<void>): void {
    let done: void | Promise<void>;
    try {
      done = work();
    } catch (cause) {
      this.#report('request', cause);
      this.answer(queue, chain, VIRTIO_BLK_S_IOERR);
      return;
    }
    if (done === undefined) {
      this.answer(queue, chain, VIRTIO_BLK_S_OK);
      return;
    }
    const context = this.#context;
    this.#begin(0, true);
    const settle = (status: number): void => {
      if (context?.queues[queueIndex] === queue) {
        this.answer(queue, chain, status);
        this.#announce(queueIndex);
      }
      this.#end(0, true);
    };
    done.then(
      () => settle(VIRTIO_BLK_S_OK),
      (cause: unknown) => {
        this.#report('request', cause);
        settle(VIRTIO_BLK_S_IOERR);
      },
    );
  }

  /**
   * Stores the status and gives the chain back. The used length reaches to the status only when everything
   * before it was written, because the driver may rely on what it covers (§2.7.8.2).
   *
   * @param written bytes of data stored at the start of the writable part
   */
  answer(queue: Queue, chain: DescriptorChain, status: number, written = 0): void {
    if (status !== VIRTIO_BLK_S_OK) this.statistics.errors++;
    writeStatus(chain, status);
    const dataIn = chain.writableBytes - 1;
    queue.addUsed(chain, written === dataIn ? dataIn + 1 : written);
  }

  async #settle(batch: BlockBatch, done: void | Promise<void>, flush: boolean): Promise<void> {
    const { bytes, hasWrites } = batch;
    this.#busy.add(batch);
    this.#begin(bytes, hasWrites);
    try {
      await done;
      if (flush) await this.#backend.flush();
    } catch (cause) {
      batch.failAll(cause);
    }
    this.#busy.delete(batch);
    const { cancelled, queueIndex } = batch;
    this.#finish(batch);
    if (!cancelled) this.#announce(queueIndex);
    this.#end(bytes, hasWrites);
  }

  readonly #onComplete = (batch: BlockBatch, transfer: number): void => {
    this.#finishTransfer(batch, transfer);
    if (!batch.cancelled) this.#announce(batch.queueIndex);
  };

  #finish(batch: BlockBatch): void {
    for (let transfer = 0; transfer < batch.count; transfer++) {
      if (batch.onComplete === undefined || !batch.isComplete(transfer))
        this.#finishTransfer(batch, transfer);
    }
    this.#spare.push(batch);
  }

  #finishTransfer(batch: BlockBatch, transfer: number): void {
    const { queue } = batch;
    const error = batch.error(transfer);
    const length = batch.length(transfer);
    const write = batch.isWrite(transfer);
    if (error !== undefined) this.#report(write ? 'write' : 'read', error);
    else if (write) {
      this.statistics.writes++;
      this.statistics.writtenBytes += length;
    } else {
      this.statistics.reads++;
      this.statistics.readBytes += length;
    }
    if (batch.cancelled || queue === undefined) return;
    const chain = batch.chain(transfer);
    if (error !== undefined) this.answer(queue, chain, VIRTIO_BLK_S_IOERR);
    else this.answer(queue, chain, VIRTIO_BLK_S_OK, write ? 0 : length);
  }

  /** One interrupt for all that is answered in this turn, if the driver wants one. */
  #announce(queueIndex: number): void {
    this.#unannounced.add(queueIndex);
    if (this.#announcing) return;
    this.#announcing = true;
    void Promise.resolve().then(() => {
      this.#announcing = false;
      const context = this.#context;
      for (const index of this.#unannounced) {
        if (context?.queues[index]?.needsInterrupt() === true) context.interrupt.queue(index);
      }
      this.#unannounced.clear();
    });
  }

  #report(what: string, cause: unknown): void {
    this.#onError?.(
      new VirtioDeviceError(
        'IO_ERROR',
        `${what} on ${this.#backend.description} failed: ${messageOf(cause)}`,
        {
          cause,
        },
      ),
    );
  }

  #begin(bytes: number, changes: boolean): void {
    this.#inFlight++;
    if (changes) this.#changes++;
    this.#bytes += bytes;
  }

  #end(bytes: number, changes: boolean): void {
    this.#inFlight--;
    // Nothing begins while something is stale, so that what ends is.
    if (changes) {
      this.#changes--;
      if (this.#stale > 0) this.#stale--;
    }
    this.#bytes -= bytes;
    this.#onSettled();
    if (this.#inFlight > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}
