import { reasonOf } from './abort.ts';
import { VmmError } from './errors.ts';

/** Milliseconds that a guest has for powering itself off, where nobody says otherwise. */
export const DEFAULT_GRACE = 10_000;

/** Milliseconds for which the button is held: longer than drivers wait for its contacts to settle. */
const HOLD = 200;
/** Milliseconds until it is pressed again: a guest that was still booting has not noticed. */
const AGAIN = 1000;
/** Longest time that a timer takes, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1;

export interface ShutdownOptions {
  /**
   * Milliseconds that the guest has, 0 to 2^31 - 1, before it is ended hard; `Infinity`: as long as it takes. Default
   * 10,000.
   */
  readonly grace?: number | undefined;
  /** Takes the wish back: the guest may have begun to power off all the same. */
  readonly signal?: AbortSignal | undefined;
}

/** What {@link powerOff} acts on. */
export interface PowerTarget<T> {
  /** Presses the power button or lets it go. */
  press(pressed: boolean): void;
  /** Ends the VM at once. */
  stop(): Promise<void>;
  /** Settles when it has ended. */
  readonly stopped: Promise<T>;
}

/**
 * Presses the power button once a second until the VM has ended, and ends it hard after the time of grace.
 *
 * @throws (rejects with) VmmError `INVALID_REQUEST`; the signal's reason, and the VM goes on
 */
export async function powerOff<T>(target: PowerTarget<T>, options: ShutdownOptions = {}): Promise<T> {
  const { grace = DEFAULT_GRACE, signal } = options;
  if (grace !== Infinity && !(grace >= 0 && grace <= MAX_TIMER))
    throw new VmmError('INVALID_REQUEST', `shutdown: ${grace} ms of grace, 0 to ${MAX_TIMER} are possible`);
  if (signal?.aborted === true) throw reasonOf(signal);
  if (grace === 0) {
    await target.stop();
    return await target.stopped;
  }
  const timers = new Set<NodeJS.Timeout>();
  const after = (delay: number, action: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      action();
    }, delay);
    timers.add(timer);
  };
  let aborted: () => void = () => undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      aborted = () => reject(reasonOf(signal));
      signal?.addEventListener('abort', aborted, { once: true });
      target.stopped.then(resolve, reject);
      const press = (): void => {
        target.press(true);
        after(HOLD, () => target.press(false));
        after(AGAIN, press);
      };
      press();
      if (grace !== Infinity) after(grace, () => void target.stop().catch(reject));
    });
  } finally {
    signal?.removeEventListener('abort', aborted);
    for (const timer of timers) clearTimeout(timer);
    target.press(false);
  }
}
