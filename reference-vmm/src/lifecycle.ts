import { reasonOf } from './abort.ts';
import { VmmError } from './errors.ts';

/**
 * - `created`: built, and not started.
 * - `starting`: its vCPUs get their threads.
 * - `running`: the guest's vCPUs run.
 * - `paused`: they stand still, and devices take no work.
 * - `stopping`: on its way to `stopped` or `failed`; its output is handed over, its resources are given back.
 * - `stopped`: it has ended, whether by itself or not, and holds nothing any more.
 * - `failed`: the same, because a vCPU could not go on.
 */
export type VmmState = 'created' | 'starting' | 'running' | 'paused' | 'stopping' | 'stopped' | 'failed';

/** What is asked of a VM and depends on its state. */
export type VmmOperation =
  'start' | 'pause' | 'resume' | 'snapshot' | 'reset' | 'shutdown' | 'restore' | 'exec' | 'stop';

/** What happens to a VM besides. */
type VmmStep = 'started' | 'finish' | 'fail';

export type VmmTransition = Exclude<VmmOperation, 'exec' | 'shutdown'> | VmmStep;

const TRANSITIONS: Readonly<
  Record<VmmTransition, { readonly from: readonly VmmState[]; readonly to: VmmState }>
> = {
  start: { from: ['created'], to: 'starting' },
  started: { from: ['starting'], to: 'running' },
  restore: { from: ['created'], to: 'paused' },
  pause: { from: ['running'], to: 'paused' },
  snapshot: { from: ['running', 'paused'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  reset: { from: ['running', 'paused'], to: 'running' },
  stop: { from: ['created', 'starting', 'running', 'paused'], to: 'stopping' },
  finish: { from: ['stopping'], to: 'stopped' },
  fail: { from: ['stopping'], to: 'failed' },
};

/** The state of a VM, and the operations on it one after the other. */
export class Lifecycle {
  readonly #name: string;
  readonly #onChange: (state: VmmState) => void;
  #state: VmmState = 'created';
  #last: Promise<unknown> = Promise.resolve();

  /**
   * @param name of the VM, for messages
   * @param onChange is told each new state
   */
  constructor(name: string, onChange: (state: VmmState) => void = () => undefined) {
    this.#name = name;
    this.#onChange = onChange;
  }

  get state(): VmmState {
    return this.#state;
  }

  allows(transition: VmmTransition): boolean {
    return TRANSITIONS[transition].from.includes(this.#state);
  }

  /** @throws VmmError `WRONG_STATE` */
  check(transition: VmmTransition): void {
    if (!this.allows(transition)) throw wrongState(this.#name, transition, this.#state);
  }

  /** @throws VmmError `WRONG_STATE` */
  take(transition: VmmTransition): void {
    this.check(transition);
    this.#state = TRANSITIONS[transition].to;
    this.#onChange(this.#state);
  }

  /**
   * Runs an operation when those before it have ended, well or not.
   *
   * @param signal lets the caller go, as long as the operation has not begun; it is not run then
   * @throws what the operation throws, the signal's reason
   */
  async inTurn<T>(operation: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted === true) throw reasonOf(signal);
    let left: () => void = () => undefined;
    const gone = new Promise<never>((_, reject) => {
      left = (): void => reject(reasonOf(signal));
      signal?.addEventListener('abort', left, { once: true });
    });
    const result = this.#last.then(async () => {
      signal?.removeEventListener('abort', left);
      if (signal?.aborted === true) throw reasonOf(signal);
      return await operation();
    });
    this.#last = result.catch(() => undefined);
    return await Promise.race([result, gone]);
  }
}

const VERBS: Readonly<Partial<Record<VmmTransition | VmmOperation, string>>> = {
  shutdown: 'shut down',
  exec: 'speak to the guest of',
};

/** @param hint what to do about it */
export function wrongState(
  name: string,
  transition: VmmTransition | VmmOperation,
  from: VmmState,
  hint?: string,
): VmmError {
  const advice = hint === undefined ? '' : `; ${hint}`;
  return new VmmError(
    'WRONG_STATE',
    `cannot ${VERBS[transition] ?? transition} "${name}": it is ${from}${advice}`,
    {
      from,
      ...(isStep(transition) ? {} : { operation: transition }),
    },
  );
}

function isStep(transition: VmmTransition | VmmOperation): transition is VmmStep {
  return transition === 'started' || transition === 'finish' || transition === 'fail';
}
