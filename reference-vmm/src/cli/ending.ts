import { constants } from 'node:os';
import { EXIT_SIGNAL, EXIT_TIMEOUT } from './exit-codes.ts';
import { say } from './messages.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Milliseconds within which a signal is the same one: timeout(1) and terminals that close send it to group and process. */
const ECHO = 100;

let outside = false;

/** A signal or the timeout ends this process's command, or whoever sat at its terminal has left. */
export function endedFromOutside(): boolean {
  return outside;
}

/**
 * What ends a command from outside: a signal or the timeout. Where the command has something to end in good order, the
 * first signal begins with that and the next one ends the command at once; one more does not even wait for that.
 */
export class Ending implements Disposable {
  code = 0;
  readonly cause: Error = new Error('ended from outside');
  readonly #ended: Promise<never>;
  #reject: (cause: Error) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #inOrder: (() => Promise<unknown>) | undefined;
  /** Of the last signal that was no echo. */
  #when = Number.NEGATIVE_INFINITY;
  #signalled = false;
  #over = false;
  readonly #handlers: (() => void)[] = [];

  constructor() {
    this.#ended = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#ended.catch(() => undefined);
    for (const signal of SIGNALS) {
      const handler = (): void => this.#signal(signal);
      process.on(signal, handler);
      this.#handlers.push(() => process.off(signal, handler));
    }
  }

  /** @param end what the first signal begins with; when it cannot, the command ends at once */
  inOrder(end: () => Promise<unknown>): void {
    this.#inOrder = end;
  }

  after(milliseconds: number, text: string): void {
    this.#timer = setTimeout(() => this.end(EXIT_TIMEOUT, `timeout of ${text} ran out`), milliseconds);
  }

  end(code: number, message: string | undefined): void {
    this.#over = true;
    outside = true;
    this.code = code;
    if (message !== undefined) say(message);
    this.#reject(this.cause);
  }

  /** The exit code of a command that came to its end: its own, or that of the signal for which it did. */
  exitCode(own: number): number {
    return this.#signalled ? this.code : own;
  }

  race<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([work, this.#ended]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    // Until the process is gone, signals have its exit code and not their own effect.
    if (this.#over) return;
    for (const remove of this.#handlers) remove();
  }

  #signal(signal: (typeof SIGNALS)[number]): void {
    const now = performance.now();
    if (now - this.#when < ECHO) return;
    this.#when = now;
    const code = EXIT_SIGNAL + constants.signals[signal];
    // Handlers of the process's exit restore terminals and remove what is on disk.
    if (this.#over) process.exit(code);
    if (this.#signalled || this.#inOrder === undefined) {
      this.end(code, `ended by ${signal}`);
      return;
    }
    this.#signalled = true;
    this.code = code;
    say(`ended by ${signal}: the guest is to power off; once more ends it at once`);
    this.#inOrder().catch(() => this.end(code, undefined));
  }
}
