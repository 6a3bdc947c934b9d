import type { EngineHost } from './host.ts';
import type { SharedState } from './shared.ts';
import { AdaptiveSpin } from './spin.ts';

/** Longest time that one call takes of the event loop while events keep coming, in milliseconds. */
const TURN = 1;

/** What the pump calls; each is called from the owner's event loop. */
export interface PumpTarget {
  /** Handles everything that is due; true if an exit was among it. */
  handle(): boolean;
  /** `handle` threw; what else is due is handled next. */
  fail(error: unknown): void;
}

/**
 * Brings events of the vCPU threads to the owner's event loop. It waits for `ownerWake` by Atomics.waitAsync, so
 * that the engine rings by one atomic instruction, and stays armed while there is a thread. It does not keep the
 * program alive: the threads do.
 */
export class OwnerPump {
  readonly #shared: SharedState;
  readonly #host: EngineHost;
  readonly #target: PumpTarget;
  readonly #spin: AdaptiveSpin;
  #holders = 0;
  #armed = false;

  constructor(shared: SharedState, host: EngineHost, target: PumpTarget, spin: boolean) {
    this.#shared = shared;
    this.#host = host;
    this.#target = target;
    this.#spin = new AdaptiveSpin(shared.words, host.now, spin);
  }

  /** To be called when a thread starts. */
  retain(): void {
    this.#holders++;
    if (this.#armed) return;
    this.#armed = true;
    this.#host.defer(this.#turn);
  }

  /** To be called when a thread has ended. */
  release(): void {
    this.#holders--;
    // Lets go of the pending wait, which otherwise lasts as long as the program.
    if (this.#holders === 0) this.#shared.wakeOwner();
  }

  readonly #turn = (): void => {
    const { words, ownerWake } = this.#shared;
    const end = this.#host.now() + TURN;
    for (;;) {
      if (this.#holders === 0) {
        this.#armed = false;
        return;
      }
      const seen = Atomics.load(words, ownerWake);
      if (this.flush()) this.#spin.whileEqual(ownerWake, seen);
      if (this.#host.now() >= end) {
        this.#host.defer(this.#turn);
        return;
      }
      const wait = Atomics.waitAsync(words, ownerWake, seen);
      if (wait.async) {
        void wait.value.then(this.#turn);
        return;
      }
    }
  };

  /** Handles what is due now. */
  flush(): boolean {
    for (;;) {
      try {
        return this.#target.handle();
      } catch (error) {
        this.#target.fail(error);
      }
    }
  }
}
