import { constants } from 'node:os';
import type { CommandExit } from '../agent/messages.ts';
import { EXIT_SIGNAL } from './exit-codes.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;
/** So many signals end the client whatever the command does: its VM may be paused. */
const PATIENCE = 3;

/** Passes the signals that this process gets on to a command elsewhere. */
export class CommandSignals implements Disposable {
  /** Why the client is to end. */
  readonly reason: Error = new Error('ended by signals');
  /** Its exit code then. */
  code = 0;
  readonly #handlers: (() => void)[] = [];
  #received = 0;

  /** @param leave is called when signals are to end this client itself */
  constructor(pass: (signal: NodeJS.Signals) => void, leave: (reason: Error) => void) {
    for (const signal of SIGNALS) {
      const handler = (): void => {
        this.#received++;
        this.code = EXIT_SIGNAL + constants.signals[signal];
        if (this.#received < PATIENCE) pass(signal);
        else leave(this.reason);
      };
      process.on(signal, handler);
      this.#handlers.push(() => process.off(signal, handler));
    }
  }

  [Symbol.dispose](): void {
    for (const remove of this.#handlers) remove();
  }
}

/** As a shell tells it. */
export function codeOfExit(exit: CommandExit): number {
  if ('code' in exit) return exit.code;
  const known: Readonly<Partial<Record<string, number>>> = constants.signals;
  // Signals without a name in Node are named by their number.
  return EXIT_SIGNAL + (known[exit.signal] ?? Number(exit.signal.slice('SIG'.length)));
}
