/** What hosts have of timers; not part of ECMAScript. */
interface HostTimers {
  readonly setImmediate?: (task: () => void) => unknown;
  readonly setTimeout?: (task: () => void, milliseconds: number) => unknown;
}

/** Runs a task in a later turn of the event loop, after the I/O that is ready. */
export function deferToNextTurn(task: () => void): void {
  const host = globalThis as HostTimers;
  if (host.setImmediate !== undefined) host.setImmediate(task);
  else if (host.setTimeout !== undefined) host.setTimeout(task, 0);
  else void Promise.resolve().then(task);
}
