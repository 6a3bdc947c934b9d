import type { DescriptorChain } from '@vmm/virtio-queue';
import { readConfigSpace } from '../config-space.ts';
import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue, MAX_QUEUE_SIZE, PIECES_PER_TURN } from '../drain.ts';
import { checkOption, messageOf, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { SetTimer } from '../rate-limiter.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_BALLOON } from '../virtio.ts';
import { hostTimer } from '../host-timer.ts';
import {
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_PAGE_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_BALLOON_PAGE_SIZE,
} from './constants.ts';
import { HintingSession } from './hinting.ts';
import type { FreePageHints, FreePageSink } from './hinting.ts';
import { ReleaseBatch } from './release.ts';
import type { MemoryRelease } from './release.ts';
import { BALLOON_QUEUES, queueRoles } from './roles.ts';
import type { QueueRole } from './roles.ts';
import { StatisticsQueue } from './statistics-queue.ts';
import type { GuestStatisticsOptions } from './statistics-queue.ts';
import type { BalloonGuestStatistics } from './statistics.ts';

const PAGE = VIRTIO_BALLOON_PAGE_SIZE;
/** Page numbers that one turn of the event loop takes. */
const PAGES_PER_TURN = 16_384;
/** Bytes of reported pages that one turn gives back. */
const REPORTED_PER_TURN = 256 * 1024 * 1024;

/** Fields of `struct virtio_balloon_config`, VIRTIO 1.3 §5.5.4. */
const CONFIG = { pages: 0, actual: 4, hintCommand: 8, poison: 12, size: 16 } as const;

export interface VirtioBalloonOptions {
  /** Gives memory back to the host. Without it the guest's memory is only taken from the guest. */
  readonly release?: MemoryRelease;
  /** The guest may take pages back when it has no other memory (F_DEFLATE_ON_OOM). Default false. */
  readonly deflateOnOom?: boolean;
  /** Offer the statistics queue. Default true. */
  readonly statistics?: boolean;
  /** Offer free page hinting. Default false. */
  readonly freePageHinting?: boolean;
  /** Offer free page reporting: the guest gives back what it does not use, all by itself. Default true. */
  readonly freePageReporting?: boolean;
  /** The balloon's size in bytes from the beginning, a multiple of 4096. Default 0. */
  readonly target?: number;
  /** Milliseconds between two looks at the guest's statistics; they go to `onStatistics`. Default: none. */
  readonly statisticsInterval?: number;
  readonly onStatistics?: (statistics: BalloonGuestStatistics) => void;
  /** Queue Size of every queue. Default 128. */
  readonly queueSize?: number;
  /** `release` threw. Must not throw. */
  readonly onError?: (error: VirtioDeviceError) => void;
  readonly setTimer?: SetTimer;
}

export interface VirtioBalloonStatistics {
  /** Pages of 4096 bytes that the guest gave and took back. */
  readonly inflatedPages: number;
  readonly deflatedPages: number;
  /** Bytes that the guest reported as free, and named in hints. */
  readonly reportedBytes: number;
  readonly hintedBytes: number;
  /** Bytes that were given back to the host, and calls that it took. */
  readonly releasedBytes: number;
  readonly releaseCalls: number;
  /** Pages that were given and are no memory, or were given twice. */
  readonly refusedPages: number;
}

/** Plain, versioned state of a balloon. */
export interface VirtioBalloonState {
  readonly version: 1;
  readonly target: number;
  readonly actual: number;
  readonly poison: number;
  readonly hintCommand: number;
}

/** Traditional memory balloon device, VIRTIO 1.3 §5.5. */
export class VirtioBalloon implements VirtioDevice {
  readonly type: number = VIRTIO_ID_BALLOON;
  readonly name: string = 'balloon';
  readonly features: FeatureSet;
  readonly queueSizes: readonly number[];
  /** The guest says how large its balloon is; bytes. */
  onActual: ((bytes: number) => void) | undefined;
  readonly #onError: ((error: VirtioDeviceError) => void) | undefined;
  readonly #config = new Uint8Array(CONFIG.size);
  readonly #view = new DataView(this.#config.buffer);
  readonly #batch: ReleaseBatch;
  readonly #statisticsQueue: StatisticsQueue;
  readonly #hinting: HintingSession;
  readonly #done: DescriptorChain[] = [];
  #roles: readonly (QueueRole | undefined)[] = [];
  #context: ActivateContext | undefined;
  /** The chain of page numbers of which some were read. */
  #inflating: DescriptorChain | undefined;
  /** The chain of reported pages of which some were given back. */
  #reporting: { readonly chain: DescriptorChain; piece: number; done: number } | undefined;
  #configDue = false;
  readonly #counters = { inflatedPages: 0, deflatedPages: 0, reportedBytes: 0 };

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: VirtioBalloonOptions = {}) {
    const reporting = options.freePageReporting ?? true;
    const hinting = options.freePageHinting ?? false;
    const bits = [
      ...((options.statistics ?? true) ? [VIRTIO_BALLOON_F_STATS_VQ] : []),
      ...((options.deflateOnOom ?? false) ? [VIRTIO_BALLOON_F_DEFLATE_ON_OOM] : []),
      ...(hinting ? [VIRTIO_BALLOON_F_FREE_PAGE_HINT] : []),
      ...(reporting ? [VIRTIO_BALLOON_F_PAGE_REPORTING] : []),
      // Without it a guest that fills free pages with a value would have to do without both.
      ...(hinting || reporting ? [VIRTIO_BALLOON_F_PAGE_POISON] : []),
    ];
    this.features = FeatureSet.of(...bits);
    this.queueSizes = new Array<number>(BALLOON_QUEUES).fill(
      checkOption('queueSize', options.queueSize ?? 128, 1, MAX_QUEUE_SIZE),
    );
    this.#onError = options.onError;
    this.#batch = new ReleaseBatch(options.release);
    this.#statisticsQueue = new StatisticsQueue(
      options.setTimer ?? hostTimer,
      checkOption('statisticsInterval', options.statisticsInterval ?? 0, 0, 2 ** 31 - 1),
      options.onStatistics,
    );
    this.#hinting = new HintingSession((command) => this.#setConfig(CONFIG.hintCommand, command));
    this.setTarget(options.target ?? 0);
  }

  /** Size that the balloon is to have, in bytes. */
  get target(): number {
    return this.#view.getUint32(CONFIG.pages, true) * PAGE;
  }

  /** Size that the guest says its balloon has, in bytes. Any value is possible. */
  get actual(): number {
    return this.#view.getUint32(CONFIG.actual, true) * PAGE;
  }

  get statistics(): VirtioBalloonStatistics {
    const { released, calls, refused } = this.#batch;
    return {
      ...this.#counters,
      hintedBytes: this.#hinting.bytes,
      releasedBytes: released,
      releaseCalls: calls,
      refusedPages: refused,
    };
  }

  /** What the guest said last; undefined before it said anything. */
  get lastStatistics(): BalloonGuestStatistics | undefined {
    return this.#statisticsQueue.last;
  }

  /**
   * Asks the guest for a balloon of this size; it comes near to it as its memory allows, see {@link actual}.
   *
   * @param bytes a multiple of 4096 below 2^44
   * @throws VirtioDeviceError `INVALID_OPTION`
   */
  setTarget(bytes: number): void {
    checkOption('target', bytes, 0, 2 ** 44 - PAGE);
    if (bytes % PAGE !== 0) {
      throw new VirtioDeviceError('INVALID_OPTION', `target must be a multiple of ${PAGE}, not ${bytes}`);
    }
    this.#setConfig(CONFIG.pages, bytes / PAGE);
  }

  /**
   * Asks the guest for statistics of this moment.
   *
   * @throws (rejects with) VirtioDeviceError `WRONG_STATE` without a driver that has the statistics queue, `TIMED_OUT`,
   *   `ABORTED`
   */
  async guestStatistics(options: GuestStatisticsOptions = {}): Promise<BalloonGuestStatistics> {
    return this.#statisticsQueue.ask(options);
  }

  /**
   * Asks the guest which pages it does not use at the moment, for a copy of the memory that leaves them out: contents of
   * a page that was named matter again as soon as the guest writes to it, which dirty tracking shows. The guest keeps
   * the pages until the answer is disposed of.
   *
   * @param sink gets ranges as pairs of guest address and length in bytes; the array is used again
   * @throws VirtioDeviceError `WRONG_STATE` without a driver that has free page hinting, or when another is not finished
   */
  hintFreePages(sink: FreePageSink): FreePageHints {
    return this.#hinting.start(sink);
  }

  configRead(offset: number, length: 1 | 2 | 4): number {
    return readConfigSpace(this.#config, offset, length);
  }

  configWrite(offset: number, length: 1 | 2 | 4, value: number): void {
    const before = this.actual;
    for (let i = 0; i < length; i++) {
      const at = offset + i;
      // The driver may write `actual` and `poison_val` (§5.5.4).
      const mine =
        (at >= CONFIG.actual && at < CONFIG.hintCommand) || (at >= CONFIG.poison && at < CONFIG.size);
      if (mine) this.#config[at] = value >>> (8 * i);
    }
    if (this.actual !== before) this.onActual?.(this.actual);
  }

  activate(context: ActivateContext): void {
    this.#context = context;
    this.#roles = queueRoles(context.features, (index) => context.queues[index] !== undefined);
    this.#statisticsQueue.activate(context, this.#roles.indexOf('statistics'));
    this.#hinting.activate(this.#roles.includes('hinting'));
  }

  notify(queueIndex: number): void {
    const context = this.#context;
    if (context === undefined) return;
    switch (this.#roles[queueIndex]) {
      case 'inflate':
        this.#inflate(context, queueIndex);
        break;
      case 'deflate':
        drainQueue(context, queueIndex, (chain) => {
          this.#counters.deflatedPages += Math.floor(chain.readableBytes / 4);
          return 0;
        });
        break;
      case 'statistics':
        this.#statisticsQueue.notify();
        break;
      case 'hinting':
        drainQueue(context, queueIndex, (chain) => this.#hinting.receive(chain));
        break;
      case 'reporting':
        this.#report(context, queueIndex);
        break;
      case undefined:
        break;
    }
  }

  reset(): void {
    this.#context = undefined;
    this.#inflating = undefined;
    this.#reporting = undefined;
    this.#roles = [];
    this.#configDue = false;
    this.#view.setUint32(CONFIG.actual, 0, true);
    this.#view.setUint32(CONFIG.poison, 0, true);
    this.#statisticsQueue.reset();
    this.#hinting.reset();
  }

  queueReset(queueIndex: number): void {
    const role = this.#roles[queueIndex];
    if (role === 'inflate') this.#inflating = undefined;
    if (role === 'reporting') this.#reporting = undefined;
    if (role === 'statistics') this.#statisticsQueue.forgetChain();
  }

  pause(): void {
    const queue = (role: QueueRole) => this.#context?.queues[this.#roles.indexOf(role)];
    // What was given back of them is given back again, which changes nothing: the guest has not got them back.
    if (this.#inflating !== undefined) queue('inflate')?.undoPop(this.#inflating);
    if (this.#reporting !== undefined) queue('reporting')?.undoPop(this.#reporting.chain);
    this.#inflating = undefined;
    this.#reporting = undefined;
    this.#statisticsQueue.pause();
  }

  resume(): void {
    this.#statisticsQueue.resume();
    if (!this.#configDue) return;
    this.#configDue = false;
    this.#context?.interrupt.config();
  }

  save(): VirtioBalloonState {
    const view = this.#view;
    return {
      version: 1,
      target: this.target,
      actual: view.getUint32(CONFIG.actual, true),
      poison: view.getUint32(CONFIG.poison, true),
      hintCommand: view.getUint32(CONFIG.hintCommand, true),
    };
  }

  restore(state: unknown): void {
    const reader = new StateReader('balloon device state', state);
    reader.version(1);
    const target = reader.integer('target', 0, 2 ** 44 - PAGE);
    if (target % PAGE !== 0) {
      throw new VirtioDeviceError(
        'INVALID_STATE',
        `balloon device state: target ${target} is not in whole pages`,
      );
    }
    const actual = reader.uint32('actual');
    const poison = reader.uint32('poison');
    const hintCommand = reader.uint32('hintCommand');
    const view = this.#view;
    view.setUint32(CONFIG.pages, target / PAGE, true);
    view.setUint32(CONFIG.actual, actual, true);
    view.setUint32(CONFIG.poison, poison, true);
    // Whoever asked for hints is not here: the guest may have its pages back.
    view.setUint32(CONFIG.hintCommand, this.#hinting.restore(hintCommand), true);
    this.#configDue = true;
  }

  #setConfig(field: number, value: number): void {
    if (this.#view.getUint32(field, true) === value) return;
    this.#view.setUint32(field, value, true);
    this.#context?.interrupt.config();
  }

  #inflate(context: ActivateContext, index: number): void {
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
        const count = this.#batch.readPages(chain.reader, budget);
        budget -= count;
        this.#counters.inflatedPages += count;
        if (chain.reader.remaining < 4) {
          this.#inflating = undefined;
          this.#done.push(chain);
          chains--;
          pieces -= chain.length;
        }
        if (this.#batch.full) this.#giveBack(context, index);
      }
      this.#giveBack(context, index);
      if (budget === 0 || chains === 0 || pieces <= 0) {
        context.renotify(index);
        break;
      }
    } while (queue.enableNotifications());
    if (queue.needsInterrupt()) context.interrupt.queue(index);
  }

  #report(context: ActivateContext, index: number): void {
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
        budget -= this.#reportSome(context, index, this.#reporting, budget);
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

  /** Takes pieces of a reported chain, at most about `limit` bytes. @returns bytes */
  #reportSome(
    context: ActivateContext,
    index: number,
    at: { readonly chain: DescriptorChain; piece: number; done: number },
    limit: number,
  ): number {
    let taken = 0;
    // What the guest fills its free pages with has to be there when it takes them back (§5.5.6.6).
    const keep =
      context.features.has(VIRTIO_BALLOON_F_PAGE_POISON) && this.#view.getUint32(CONFIG.poison, true) !== 0;
    while (at.piece < at.chain.length && taken < limit) {
      const size = at.chain.size(at.piece);
      const length = Math.min(size - at.done, limit - taken);
      if (!keep) this.#batch.addRange(at.chain.address(at.piece) + at.done, length);
      taken += length;
      at.done += length;
      if (at.done === size) {
        at.piece++;
        at.done = 0;
      }
      if (this.#batch.full) this.#giveBack(context, index);
    }
    this.#counters.reportedBytes += taken;
    return taken;
  }

  /** Gives memory back, and then the chains that named it: the guest may use the pages from then on. */
  #giveBack(context: ActivateContext, index: number): void {
    try {
      this.#batch.flush(context.memory);
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
