import { constants } from 'node:os';
import { EXIT_SIGNAL, EXIT_TIMEOUT } from './exit-codes.ts';
import { say } from './messages.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** What ends a command from outside: a signal or the timeout. */
export class Ending implements Disposable {
  code = 0;
  readonly cause: Error = new Error('ended from outside');
  readonly #ended: Promise<never>;
  #reject: (cause: Error) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #handlers: (() => void)[] = [];

  constructor() {
    this.#ended = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#ended.catch(() => undefined);
    for (const signal of SIGNALS) {
      const handler = (): void => this.end(EXIT_SIGNAL + constants.signals[signal], `ended by ${signal}`);
      process.on(signal, handler);
      this.#handlers.push(() => process.off(signal, handler));
    }
  }

  after(milliseconds: number, text: string): void {
    this.#timer = setTimeout(() => this.end(EXIT_TIMEOUT, `timeout of ${text} ran out`), milliseconds);
  }

  end(code: number, message: string | undefined): void {
    this.code = code;
    if (message !== undefined) say(message);
    this.#reject(this.cause);
  }

  race<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    return Promise.race([work, this.#ended]);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const remove of this.#handlers) remove();
  }
}
