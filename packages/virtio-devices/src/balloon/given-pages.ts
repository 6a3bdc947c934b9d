import type { DescriptorChain, Queue } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import { ReleaseBatch } from './release.ts';
import type { MemoryRelease } from './release.ts';

/** Page numbers that one turn of the event loop takes. */
const PAGES_PER_TURN = 16_384;
/** Bytes of reported pages that one turn gives back. */
const REPORTED_PER_TURN = 256 * 1024 * 1024;

/** A chain of reported pages, and how much of it was given back. */
interface Report {
  readonly chain: DescriptorChain;
  piece: number;
  /** Bytes of that piece. */
  done: number;
}

/**
 * The pages that the guest gives, for its balloon (VIRTIO 1.3 §5.5.6) and as free (§5.5.6.6): both go back to the
 * host, and then the chains that named them to the driver.
 */
export class GivenPages {
  inflatedPages = 0;
  reportedBytes = 0;
  /** What became of them. */
  readonly batch: ReleaseBatch;

  readonly #onError: ((error: VirtioDeviceError) => void) | undefined;
  /** Chains of which everything is in the batch. */
  readonly #done: DescriptorChain[] = [];
  /** The chain of page numbers of which some were read. */
  #inflating: DescriptorChain | undefined;
  #reporting: Report | undefined;

  /** @param onError told when `release` throws; the pages are taken all the same */
  constructor(release: MemoryRelease | undefined, onError: ((error: VirtioDeviceError) => void) | undefined) {
    this.batch = new ReleaseBatch(release);
    this.#onError = onError;
  }

  /** Takes the page numbers of the inflate queue, as many as a turn may. */
  inflate(context: ActivateContext, index: number): void {
    const queue = context.queues[index];
    if (queue === undefined) return;
    let budget = PAGES_PER_TURN;
    let pieces = PIECES_PER_TURN;
    let chains = queue.size;
    do {
      queue.disableNotifications();
      while (budget > 0 && chains > 0 && pieces > 0) {
        const chain = this.#inflating ?? queue.pop();
        if (chain === null) break;
        this.#inflating = chain;
        const count = this.batch.readPages(chain.reader, budget);
        budget -= count;
        this.inflatedPages += count;
        if (chain.reader.remaining < 4) {
          this.#inflating = undefined;
          this.#done.push(chain);
          chains--;
          pieces -= chain.length;
        }
        if (this.batch.full) this.#giveBack(context, index);
      }
      this.#giveBack(context, index);
      if (budget === 0 || chains === 0 || pieces <= 0) {
        context.renotify(index);
        break;
      }
    } while (queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(index);
  }

  /**
   * Takes the free pages of the reporting queue, as many as a turn may.
   *
   * @param keep the pages have to keep their contents: they are counted only
   */
  report(context: ActivateContext, index: number, keep: boolean): void {
    const queue = context.queues[index];
    if (queue === undefined) return;
    let budget = REPORTED_PER_TURN;
    let pieces = PIECES_PER_TURN;
    let chains = queue.size;
    do {
      queue.disableNotifications();
      while (budget > 0 && chains > 0 && pieces > 0) {
        if (this.#reporting === undefined) {
          const chain = queue.pop();
          if (chain === null) break;
          this.#reporting = { chain, piece: chain.readableCount, done: 0 };
        }
        budget -= this.#reportSome(context, index, this.#reporting, budget, keep);
        const { chain, piece } = this.#reporting;
        if (piece < chain.length) continue;
        this.#reporting = undefined;
        this.#done.push(chain);
        chains--;
        pieces -= chain.length;
      }
      this.#giveBack(context, index);
      if (budget <= 0 || chains === 0 || pieces <= 0) {
        context.renotify(index);
        break;
      }
    } while (queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(index);
  }

  /**
   * Puts chains that are not done back into their queues. What was given back of them is given back again, which changes
   * nothing: the guest has not got them back.
   */
  undo(inflateQueue: Queue | undefined, reportingQueue: Queue | undefined): void {
    if (this.#inflating !== undefined) inflateQueue?.undoPop(this.#inflating);
    if (this.#reporting !== undefined) reportingQueue?.undoPop(this.#reporting.chain);
    this.forgetInflating();
    this.forgetReporting();
  }

  /** The inflate queue was reset. */
  forgetInflating(): void {
    this.#inflating = undefined;
  }

  /** The reporting queue was reset. */
  forgetReporting(): void {
    this.#reporting = undefined;
  }

  /** Takes pieces of a reported chain, at most about `limit` bytes. @returns bytes */
  #reportSome(context: ActivateContext, index: number, at: Report, limit: number, keep: boolean): number {
    let taken = 0;
    while (at.piece < at.chain.length && taken < limit) {
      const size = at.chain.size(at.piece);
      const length = Math.min(size - at.done, limit - taken);
      if (!keep) this.batch.addRange(at.chain.address(at.piece) + at.done, length);
      taken += length;
      at.done += length;
      if (at.done === size) {
        at.piece++;
        at.done = 0;
      }
      if (this.batch.full) this.#giveBack(context, index);
    }
    this.reportedBytes += taken;
    return taken;
  }

  /** Gives memory back, and then the chains that named it: the guest may use the pages from then on. */
  #giveBack(context: ActivateContext, index: number): void {
    try {
      this.batch.flush(context.memory);
    } catch (cause) {
      this.#onError?.(
        new VirtioDeviceError('IO_ERROR', `balloon: memory was not given back: ${messageOf(cause)}`, {
          cause,
        }),
      );
    }
    const queue = context.queues[index];
    for (const chain of this.#done) queue?.addUsed(chain, 0);
    this.#done.length = 0;
  }
}
