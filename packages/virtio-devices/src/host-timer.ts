import type { SetTimer } from './rate-limiter.ts';

/** What hosts have of timers; not part of ECMAScript. */
interface HostTimers {
  readonly setTimeout?: (callback: () => void, milliseconds: number) => unknown;
  readonly clearTimeout?: (timer: unknown) => void;
}

interface Unreferenced {
  unref(): unknown;
}

/** The host's timers; in Node.js they keep no process alive. */
export const hostTimer: SetTimer = (callback, milliseconds) => {
  const host = globalThis as HostTimers;
  const timer = host.setTimeout?.(callback, milliseconds);
  if (isUnreferenced(timer)) timer.unref();
  return () => host.clearTimeout?.(timer);
};

function isUnreferenced(timer: unknown): timer is Unreferenced {
  return typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function';
}
