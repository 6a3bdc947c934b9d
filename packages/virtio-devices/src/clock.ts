/** What hosts have of clocks; not part of ECMAScript. */
interface HostClock {
  readonly performance?: { now(): number };
}

/** Milliseconds, from a clock that does not go back where there is one. */
export function now(): number {
  const { performance } = globalThis as HostClock;
  return performance === undefined ? Date.now() : performance.now();
}
