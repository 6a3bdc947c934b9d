import { now } from '../clock.ts';

/** What hosts have of timers; not part of ECMAScript. */
interface HostTimers {
  readonly setImmediate?: (task: () => void) => unknown;
  readonly setTimeout?: (task: () => void, milliseconds: number) => unknown;
}

/**
 * Milliseconds of work in one turn of the event loop after which the rest waits for the next one, of all devices
 * together: a guest that keeps every queue of every device busy must not put all their budgets into one turn.
 */
const WORK_PER_TURN = 5;

const waiting: (() => void)[] = [];
let isScheduled = false;
/** Milliseconds of work since deferred tasks last ran. */
let worked = 0;

/** Runs a task in a later turn of the event loop, after the I/O that is ready. Tasks run in order. */
export function deferToNextTurn(task: () => void): void {
  waiting.push(task);
  schedule();
}

/**
 * Runs a task now, unless this turn has had its share of work.
 *
 * @returns whether it ran; if not, {@link deferToNextTurn} is for it
 */
export function runInTurn(task: () => void): boolean {
  if (worked >= WORK_PER_TURN) return false;
  const start = now();
  try {
    task();
  } finally {
    worked += now() - start;
  }
  return true;
}

function schedule(): void {
  if (isScheduled || waiting.length === 0) return;
  isScheduled = true;
  const host = globalThis as HostTimers;
  if (host.setImmediate !== undefined) host.setImmediate(runSome);
  else if (host.setTimeout !== undefined) host.setTimeout(runSome, 0);
  else void Promise.resolve().then(runSome);
}

/** Runs at least one. What tasks put off comes in a turn after this one. */
function runSome(): void {
  isScheduled = false;
  worked = 0;
  let left = waiting.length;
  try {
    while (left > 0 && runInTurn(waiting[0]!)) {
      waiting.shift();
      left--;
    }
  } catch (error) {
    waiting.shift();
    throw error;
  } finally {
    schedule();
  }
}
