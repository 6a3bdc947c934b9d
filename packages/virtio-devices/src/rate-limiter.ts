import { VirtioDeviceError } from './errors.ts';
import { StateReader } from './state.ts';

/** Longest wait of `setTimeout`; what takes longer is waited for in several steps. */
const MAX_TIMER = 2 ** 31 - 1;

/** A bucket that holds `size` tokens and is filled evenly, so that `size` tokens come in `refillTime`. */
export interface TokenBucketOptions {
  /** Tokens in the full bucket: bytes or operations, 1 to 2^53 - 1. */
  readonly size: number;
  /** Milliseconds in which an empty bucket becomes full, 1 to 86 400 000 (a day). */
  readonly refillTime: number;
  /** Tokens beside the bucket at the beginning, used first and never filled again. Default 0. */
  readonly oneTimeBurst?: number;
}

/** Runs `task` after some milliseconds; what it answers calls that off. */
export type SetTimer = (task: () => void, milliseconds: number) => () => void;

export interface RateLimits {
  /** Bytes. Absent: not limited. */
  readonly bandwidth?: TokenBucketOptions | undefined;
  /** Requests or frames. Absent: not limited. */
  readonly operations?: TokenBucketOptions | undefined;
}

export interface RateLimiterOptions extends RateLimits {
  /** Milliseconds of a clock that does not go back. Default: the host's `performance.now`. */
  readonly now?: () => number;
  /** Default: the host's `setTimeout`, which does not keep a Node process alive. */
  readonly setTimer?: SetTimer;
}

/** What a bucket holds; `budget` is negative when a request larger than the bucket left a debt. */
export interface TokenBucketState {
  readonly budget: number;
  readonly burst: number;
}

/** Plain, versioned state of a {@link RateLimiter}. */
export interface RateLimiterState {
  readonly version: 1;
  readonly bandwidth: TokenBucketState | null;
  readonly operations: TokenBucketState | null;
}

/**
 * Token buckets for bandwidth and operations. One device asks, before each request, and keeps what was
 * refused until `onReady`. While something waits all further requests are refused, so that small ones do not
 * overtake a large one for ever.
 */
export class RateLimiter {
  /** Called once after `consume()` answered false, when what was refused would pass. Set by the device. */
  onReady: (() => void) | undefined;
  readonly #now: () => number;
  readonly #setTimer: SetTimer;
  #bandwidth: TokenBucket | undefined;
  #operations: TokenBucket | undefined;
  #cancelTimer: (() => void) | undefined;
  #waitingBytes = 0;
  #waitingOperations = 0;
  #refused = 0;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(options: RateLimiterOptions = {}) {
    this.#now = options.now ?? hostClock();
    this.#setTimer = options.setTimer ?? hostTimer;
    this.configure(options);
  }

  /** Something was refused and waits for `onReady`. */
  get blocked(): boolean {
    return this.#cancelTimer !== undefined;
  }

  /** How often `onReady` had to be waited for. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Other limits from now on, with full buckets. What waits is tried again.
   *
   * @throws VirtioDeviceError `INVALID_OPTION`; the limits are unchanged then
   */
  configure(limits: RateLimits): void {
    const now = this.#now();
    const bandwidth = createBucket('bandwidth', limits.bandwidth, now);
    const operations = createBucket('operations', limits.operations, now);
    this.#bandwidth = bandwidth;
    this.#operations = operations;
    if (!this.blocked) return;
    this.cancel();
    this.onReady?.();
  }

  /**
   * Takes tokens for a request, or none. A request larger than a bucket passes when the bucket is full and
   * leaves a debt, so that the rate holds and no size is impossible.
   *
   * @param bytes 0 or more
   * @param operations 0 or more
   * @returns false when the request has to wait for `onReady`
   */
  consume(bytes: number, operations = 1): boolean {
    if (this.#cancelTimer !== undefined) return false;
    if (this.#wait(bytes, operations) > 0) {
      this.#refused++;
      this.#waitingBytes = bytes;
      this.#waitingOperations = operations;
      this.#arm();
      return false;
    }
    this.#bandwidth?.take(bytes);
    this.#operations?.take(operations);
    return true;
  }

  /**
   * For requests whose size is known only when they are done: whether one may begin. Follow it with
   * {@link charge}.
   *
   * @returns false when a bucket is empty: it has to wait for `onReady`
   */
  admit(): boolean {
    if (this.#cancelTimer !== undefined) return false;
    const bytes = this.#bandwidth === undefined ? 0 : 1;
    return this.#wait(bytes, 1) === 0 || this.consume(bytes, 1);
  }

  /** Takes tokens that may not be there, which leaves a debt. */
  charge(bytes: number, operations = 1): void {
    if (this.#bandwidth === undefined && this.#operations === undefined) return;
    const now = this.#now();
    this.#bandwidth?.fill(now);
    this.#operations?.fill(now);
    this.#bandwidth?.take(bytes);
    this.#operations?.take(operations);
  }

  /** Forgets what was refused: `onReady` is not called for it. */
  cancel(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  save(): RateLimiterState {
    const now = this.#now();
    return {
      version: 1,
      bandwidth: this.#bandwidth?.save(now) ?? null,
      operations: this.#operations?.save(now) ?? null,
    };
  }

  /**
   * Takes over what the buckets held. A bucket that this limiter has and the state has not stays as it is.
   *
   * @throws VirtioDeviceError `INVALID_STATE`; the limiter is unchanged then
   */
  restore(state: unknown): void {
    const reader = new StateReader('rate limiter state', state);
    reader.version(1);
    const bandwidth = readBucket('bandwidth', reader.unknown('bandwidth'));
    const operations = readBucket('operations', reader.unknown('operations'));
    const now = this.#now();
    if (bandwidth !== undefined) this.#bandwidth?.restore(bandwidth, now);
    if (operations !== undefined) this.#operations?.restore(operations, now);
  }

  /** Milliseconds until both buckets let a request pass. */
  #wait(bytes: number, operations: number): number {
    if (this.#bandwidth === undefined && this.#operations === undefined) return 0;
    const now = this.#now();
    return Math.max(this.#bandwidth?.wait(bytes, now) ?? 0, this.#operations?.wait(operations, now) ?? 0);
  }

  #arm(): void {
    const wait = this.#wait(this.#waitingBytes, this.#waitingOperations);
    this.#cancelTimer = this.#setTimer(this.#timeout, Math.min(Math.ceil(wait), MAX_TIMER));
  }

  /** Timers may be early by a fraction of a millisecond. */
  readonly #timeout = (): void => {
    if (this.#wait(this.#waitingBytes, this.#waitingOperations) > 0) {
      this.#arm();
      return;
    }
    this.#cancelTimer = undefined;
    this.onReady?.();
  };
}

class TokenBucket {
  readonly #size: number;
  /** Tokens in a millisecond. */
  readonly #rate: number;
  #budget: number;
  #burst: number;
  #updated: number;

  constructor(size: number, refillTime: number, burst: number, now: number) {
    this.#size = size;
    this.#rate = size / refillTime;
    this.#budget = size;
    this.#burst = burst;
    this.#updated = now;
  }

  /** Milliseconds until `tokens` may be taken. */
  wait(tokens: number, now: number): number {
    this.fill(now);
    if (tokens <= this.#burst || tokens === 0) return 0;
    const missing = Math.min(tokens - this.#burst, this.#size) - this.#budget;
    return missing <= 0 ? 0 : missing / this.#rate;
  }

  /** After {@link wait} answered 0. */
  take(tokens: number): void {
    const fromBurst = Math.min(tokens, this.#burst);
    this.#burst -= fromBurst;
    this.#budget -= tokens - fromBurst;
  }

  save(now: number): TokenBucketState {
    this.fill(now);
    return { budget: this.#budget, burst: this.#burst };
  }

  restore({ budget, burst }: TokenBucketState, now: number): void {
    this.#budget = Math.min(budget, this.#size);
    this.#burst = burst;
    this.#updated = now;
  }

  fill(now: number): void {
    const elapsed = now - this.#updated;
    if (elapsed <= 0) return;
    this.#updated = now;
    this.#budget = Math.min(this.#size, this.#budget + elapsed * this.#rate);
  }
}

function createBucket(
  name: string,
  options: TokenBucketOptions | undefined,
  now: number,
): TokenBucket | undefined {
  if (options === undefined) return undefined;
  const { size, refillTime, oneTimeBurst = 0 } = options;
  if (!Number.isSafeInteger(size) || size < 1) {
    throw invalid(`${name}.size must be an integer from 1 to 2^53 - 1, not ${size}`);
  }
  if (!(refillTime >= 1 && refillTime <= 86_400_000)) {
    throw invalid(`${name}.refillTime must be 1 to 86400000 milliseconds, not ${refillTime}`);
  }
  if (!Number.isSafeInteger(oneTimeBurst) || oneTimeBurst < 0) {
    throw invalid(`${name}.oneTimeBurst must be an integer from 0 to 2^53 - 1, not ${oneTimeBurst}`);
  }
  return new TokenBucket(size, refillTime, oneTimeBurst, now);
}

function invalid(message: string): VirtioDeviceError {
  return new VirtioDeviceError('INVALID_OPTION', message);
}

function readBucket(name: string, state: unknown): TokenBucketState | undefined {
  if (state === null) return undefined;
  if (typeof state === 'object' && 'budget' in state && 'burst' in state) {
    const { budget, burst } = state;
    if (
      typeof budget === 'number' &&
      typeof burst === 'number' &&
      Number.isFinite(budget) &&
      Number.isFinite(burst) &&
      burst >= 0
    ) {
      return { budget, burst };
    }
  }
  throw new VirtioDeviceError(
    'INVALID_STATE',
    `rate limiter state: ${name} must be null or have a budget and a burst`,
  );
}

/** What hosts have of clocks and timers; not part of ECMAScript. */
interface HostTime {
  readonly performance?: { now(): number };
  readonly setTimeout?: (task: () => void, milliseconds: number) => number | { unref?(): unknown };
  readonly clearTimeout?: (timer: unknown) => void;
}

function hostClock(): () => number {
  const { performance } = globalThis as HostTime;
  return performance === undefined ? (): number => Date.now() : (): number => performance.now();
}

const hostTimer: SetTimer = (task, milliseconds) => {
  const host = globalThis as HostTime;
  if (host.setTimeout === undefined) {
    throw new VirtioDeviceError('INVALID_OPTION', 'this host has no setTimeout: give setTimer');
  }
  const timer = host.setTimeout(task, milliseconds);
  if (typeof timer === 'object') timer.unref?.();
  return () => host.clearTimeout?.(timer);
};
