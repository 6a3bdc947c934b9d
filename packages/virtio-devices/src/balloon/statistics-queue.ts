import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { VirtioDeviceError } from '../errors.ts';
import type { SetTimer } from '../rate-limiter.ts';
import type { AbortSignalLike } from '../abort.ts';
import { readStatistics } from './statistics.ts';
import type { BalloonGuestStatistics } from './statistics.ts';

export interface GuestStatisticsOptions {
  /** Milliseconds; default 5000. */
  readonly timeout?: number;
  readonly signal?: AbortSignalLike;
}

interface Request {
  readonly resolve: (statistics: BalloonGuestStatistics) => void;
  readonly reject: (error: VirtioDeviceError) => void;
}

/**
 * The statistics queue, VIRTIO 1.3 §5.5.6.3: the driver lends a buffer with statistics; giving it back asks for new ones.
 */
export class StatisticsQueue {
  /** What the guest said last. */
  last: BalloonGuestStatistics | undefined;
  readonly #setTimer: SetTimer;
  readonly #interval: number;
  readonly #onStatistics: ((statistics: BalloonGuestStatistics) => void) | undefined;
  readonly #requests = new Set<Request>();
  #context: ActivateContext | undefined;
  #index = -1;
  #chain: DescriptorChain | undefined;
  #cancelTimer: (() => void) | undefined;
  #paused = false;
  /** The next buffer is the one that was held before a pause. */
  #stale = false;

  /** @param interval milliseconds, 0 for none */
  constructor(
    setTimer: SetTimer,
    interval: number,
    onStatistics: ((statistics: BalloonGuestStatistics) => void) | undefined,
  ) {
    this.#setTimer = setTimer;
    this.#interval = interval;
    this.#onStatistics = onStatistics;
  }

  /** @param index of the queue; negative when there is none */
  activate(context: ActivateContext, index: number): void {
    this.#context = index < 0 ? undefined : context;
    this.#index = index;
    if (index >= 0) this.#schedule();
  }

  async ask({ timeout = 5000, signal }: GuestStatisticsOptions): Promise<BalloonGuestStatistics> {
    if (this.#context === undefined) {
      throw new VirtioDeviceError('WRONG_STATE', 'balloon: the guest has no driver with a statistics queue');
    }
    if (signal?.aborted === true) throw aborted(signal);
    let request: Request | undefined;
    const abort = (): void => request?.reject(aborted(signal));
    const cancel = this.#setTimer(
      () =>
        request?.reject(
          new VirtioDeviceError('TIMED_OUT', `balloon: no statistics from the guest in ${timeout} ms`),
        ),
      timeout,
    );
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise<BalloonGuestStatistics>((resolve, reject) => {
        request = { resolve, reject };
        this.#requests.add(request);
        this.#giveBack();
      });
    } finally {
      if (request !== undefined) this.#requests.delete(request);
      cancel();
      signal?.removeEventListener('abort', abort);
    }
  }

  /** The driver lent a buffer. */
  notify(): void {
    const queue = this.#context?.queues[this.#index];
    if (queue === undefined || this.#chain !== undefined) return;
    // A driver has one buffer (§5.5.6.3.1); more of them wait for their turn.
    let chain = queue.pop();
    // The driver tells of the next one only when it is asked to.
    if (queue.enableNotifications()) chain ??= queue.pop();
    if (chain === null) return;
    this.#chain = chain;
    if (this.#stale) {
      this.#stale = false;
      if (this.#requests.size > 0) this.#giveBack();
      return;
    }
    this.last = readStatistics(chain.reader);
    const requests = [...this.#requests];
    this.#requests.clear();
    for (const { resolve } of requests) resolve(this.last);
    this.#onStatistics?.(this.last);
  }

  forgetChain(): void {
    this.#chain = undefined;
  }

  reset(): void {
    this.#context = undefined;
    this.#chain = undefined;
    this.#stale = false;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const requests = [...this.#requests];
    this.#requests.clear();
    for (const { reject } of requests) {
      reject(new VirtioDeviceError('WRONG_STATE', "balloon: the guest's driver is gone"));
    }
  }

  pause(): void {
    this.#paused = true;
    if (this.#chain === undefined) return;
    this.#context?.queues[this.#index]?.undoPop(this.#chain);
    this.#chain = undefined;
    this.#stale = true;
  }

  /** The transport notifies afterwards. */
  resume(): void {
    this.#paused = false;
  }

  #schedule(): void {
    if (this.#interval === 0) return;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#setTimer(() => {
      this.#giveBack();
      this.#schedule();
    }, this.#interval);
  }

  /** Asks for new statistics; the driver fills the buffer and lends it again. */
  #giveBack(): void {
    const context = this.#context;
    const queue = context?.queues[this.#index];
    const chain = this.#chain;
    if (context === undefined || queue === undefined || chain === undefined || this.#paused) return;
    this.#chain = undefined;
    queue.addUsed(chain, 0);
    if (queue.needsInterrupt()) context.interrupt.queue(this.#index);
    // The next buffer may be there already.
    context.renotify(this.#index);
  }
}

function aborted(signal: AbortSignalLike | undefined): VirtioDeviceError {
  return new VirtioDeviceError('ABORTED', 'balloon: asking for statistics was aborted', {
    cause: signal?.reason,
  });
}
