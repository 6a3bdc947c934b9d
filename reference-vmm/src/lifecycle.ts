import { VmmError } from './errors.ts';

/**
 * - `created`: built, and not started.
 * - `running`: the guest's vCPUs run.
 * - `paused`: they stand still, and devices take no work.
 * - `stopping`: on its way to `stopped` or `failed`.
 * - `stopped`: it has ended, whether by itself or not, and its resources are given back.
 * - `failed`: the same, because a vCPU could not go on.
 */
export type VmmState = 'created' | 'running' | 'paused' | 'stopping' | 'stopped' | 'failed';

/** What is done with a VM, and what happens to it. */
export type VmmTransition =
  'start' | 'restore' | 'pause' | 'snapshot' | 'resume' | 'reset' | 'stop' | 'finish' | 'fail';

const BEFORE_THE_END: readonly VmmState[] = ['created', 'running', 'paused', 'stopping'];

const TRANSITIONS: Readonly<
  Record<VmmTransition, { readonly from: readonly VmmState[]; readonly to: VmmState }>
> = {
  start: { from: ['created'], to: 'running' },
  restore: { from: ['created'], to: 'paused' },
  pause: { from: ['running'], to: 'paused' },
  snapshot: { from: ['running', 'paused'], to: 'paused' },
  resume: { from: ['paused'], to: 'running' },
  reset: { from: ['running', 'paused'], to: 'running' },
  stop: { from: ['running', 'paused'], to: 'stopping' },
  finish: { from: BEFORE_THE_END, to: 'stopped' },
  fail: { from: BEFORE_THE_END, to: 'failed' },
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
    if (this.allows(transition)) return;
    throw new VmmError('WRONG_STATE', `cannot ${transition} "${this.#name}": it is ${this.#state}`);
  }

  /** @throws VmmError `WRONG_STATE` */
  take(transition: VmmTransition): void {
    this.check(transition);
    this.#state = TRANSITIONS[transition].to;
    this.#onChange(this.#state);
  }

  /** Runs an operation when those before it have ended, well or not. */
  async inTurn<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#last.then(operation);
    this.#last = result.catch(() => undefined);
    return await result;
  }
}
