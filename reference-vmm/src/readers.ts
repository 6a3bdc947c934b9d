import { VmmError } from './errors.ts';

/** Long work on guest memory, which stays until all of it has ended. */
export class Readers {
  readonly #ending = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  /**
   * Runs something that reads guest memory until `signal` or the end of the VM aborts it.
   *
   * @throws VmmError `WRONG_STATE` when the VM ends, the signal's reason, what the work throws
   */
  async run<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const either =
      signal === undefined ? this.#ending.signal : AbortSignal.any([signal, this.#ending.signal]);
    either.throwIfAborted();
    const running = work(either);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Aborts what runs, and waits until it has ended. */
  async end(): Promise<void> {
    this.#ending.abort(new VmmError('WRONG_STATE', 'the VM has ended'));
    await Promise.allSettled(this.#running);
  }
}
