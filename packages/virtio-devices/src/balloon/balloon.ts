import type { ActivateContext, VirtioDevice } from '../device.ts';
import { drainQueue, MAX_QUEUE_SIZE } from '../drain.ts';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { SetTimer } from '../rate-limiter.ts';
import { StateReader } from '../state.ts';
import { VIRTIO_ID_BALLOON } from '../virtio.ts';
import { hostTimer } from '../host-timer.ts';
import { BalloonConfig } from './config.ts';
import {
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_PAGE_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_BALLOON_PAGE_SIZE,
} from './constants.ts';
import { GivenPages } from './given-pages.ts';
import { HintingSession } from './hinting.ts';
import type { FreePageHints, FreePageSink } from './hinting.ts';
import type { MemoryRelease } from './release.ts';
import { BALLOON_QUEUES, queueRoles } from './roles.ts';
import type { QueueRole } from './roles.ts';
import { StatisticsQueue } from './statistics-queue.ts';
import type { GuestStatisticsOptions } from './statistics-queue.ts';
import type { BalloonGuestStatistics } from './statistics.ts';

const PAGE = VIRTIO_BALLOON_PAGE_SIZE;
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
  readonly #config = new BalloonConfig();
  readonly #given: GivenPages;
  readonly #statisticsQueue: StatisticsQueue;
  readonly #hinting: HintingSession;
  #roles: readonly (QueueRole | undefined)[] = [];
  #context: ActivateContext | undefined;
  #configDue = false;
  #deflatedPages = 0;

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
    this.#given = new GivenPages(options.release, options.onError);
    this.#statisticsQueue = new StatisticsQueue(
      options.setTimer ?? hostTimer,
      checkOption('statisticsInterval', options.statisticsInterval ?? 0, 0, 2 ** 31 - 1),
      options.onStatistics,
    );
    this.#hinting = new HintingSession((command) => {
      if (this.#config.hintCommand === command) return;
      this.#config.hintCommand = command;
      this.#context?.interrupt.config();
    });
    this.setTarget(options.target ?? 0);
  }

  /** Size that the balloon is to have, in bytes. */
  get target(): number {
    return this.#config.target;
  }

  /** Size that the guest says its balloon has, in bytes. Any value is possible. */
  get actual(): number {
    return this.#config.actual * PAGE;
  }

  get statistics(): VirtioBalloonStatistics {
    const { inflatedPages, reportedBytes, batch } = this.#given;
    return {
      inflatedPages,
      deflatedPages: this.#deflatedPages,
      reportedBytes,
      hintedBytes: this.#hinting.bytes,
      releasedBytes: batch.released,
      releaseCalls: batch.calls,
      refusedPages: batch.refused,
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
    if (bytes === this.target) return;
    this.#config.pages = bytes / PAGE;
    this.#context?.interrupt.config();
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
    return this.#config.read(offset, length);
  }

  configWrite(offset: number, length: 1 | 2 | 4, value: number): void {
    const before = this.actual;
    this.#config.write(offset, length, value);
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
        this.#given.inflate(context, queueIndex);
        break;
      case 'deflate':
        drainQueue(context, queueIndex, (chain) => {
          this.#deflatedPages += Math.floor(chain.readableBytes / 4);
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
        this.#given.report(context, queueIndex, this.#keepsContents(context));
        break;
      case undefined:
        break;
    }
  }

  reset(): void {
    this.#context = undefined;
    this.#given.forgetInflating();
    this.#given.forgetReporting();
    this.#roles = [];
    this.#configDue = false;
    this.#config.reset();
    this.#statisticsQueue.reset();
    this.#hinting.reset();
  }

  queueReset(queueIndex: number): void {
    const role = this.#roles[queueIndex];
    if (role === 'inflate') this.#given.forgetInflating();
    if (role === 'reporting') this.#given.forgetReporting();
    if (role === 'statistics') this.#statisticsQueue.forgetChain();
  }

  pause(): void {
    const queue = (role: QueueRole) => this.#context?.queues[this.#roles.indexOf(role)];
    this.#given.undo(queue('inflate'), queue('reporting'));
    this.#statisticsQueue.pause();
  }

  resume(): void {
    this.#statisticsQueue.resume();
    if (!this.#configDue) return;
    this.#configDue = false;
    this.#context?.interrupt.config();
  }

  save(): VirtioBalloonState {
    const { target, actual, poison, hintCommand } = this.#config;
    return { version: 1, target, actual, poison, hintCommand };
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
    this.#config.pages = target / PAGE;
    this.#config.actual = actual;
    this.#config.poison = poison;
    // Whoever asked for hints is not here: the guest may have its pages back.
    this.#config.hintCommand = this.#hinting.restore(hintCommand);
    this.#configDue = true;
  }

  /** What the guest fills its free pages with has to be there when it takes them back (§5.5.6.6). */
  #keepsContents({ features }: ActivateContext): boolean {
    return features.has(VIRTIO_BALLOON_F_PAGE_POISON) && this.#config.poison !== 0;
  }
}
