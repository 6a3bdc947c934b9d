/** What hosts have of timers; not part of ECMAScript. */
interface HostTimers {
  readonly setImmediate?: (task: () => void) => unknown;
  readonly setTimeout?: (task: () => void, milliseconds: number) => unknown;
}

/**
 * Tasks in one turn of the event loop, of all devices together: each is a device's budget of work, and a guest that keeps
 * every queue of every device busy must not put them all into one turn.
 */
const TASKS_PER_TURN = 2;

const waiting: (() => void)[] = [];
let isScheduled = false;

/** Runs a task in a later turn of the event loop, after the I/O that is ready. Tasks run in order. */
export function deferToNextTurn(task: () => void): void {
  waiting.push(task);
  schedule();
}

function schedule(): void {
  if (isScheduled || waiting.length === 0) return;
  isScheduled = true;
  const host = globalThis as HostTimers;
  if (host.setImmediate !== undefined) host.setImmediate(runSome);
  else if (host.setTimeout !== undefined) host.setTimeout(runSome, 0);
  else void Promise.resolve().then(runSome);
}

function runSome(): void {
  isScheduled = false;
  // What these put off comes in a turn after this one.
  const tasks = waiting.splice(0, TASKS_PER_TURN);
  schedule();
  for (const [index, task] of tasks.entries()) {
    try {
      task();
    } catch (error) {
      waiting.unshift(...tasks.slice(index + 1));
      schedule();
      throw error;
    }
  }
}
