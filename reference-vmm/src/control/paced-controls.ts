import { type TerminalSize } from '../agent/messages.ts';
import type { GuestCommand } from '../agent/output.ts';

/** Milliseconds between two messages to a guest, which need not take them. */
const PACE = 10;
const MAX_SIGNAL = 64;

/**
 * Passes signals and sizes on to a command, no faster than is of use: what comes meanwhile is joined, as a kernel joins
 * signals that are pending. So a client cannot have them pile up.
 */
export class PacedControls implements Disposable {
  readonly #command: GuestCommand;
  readonly #signals = new Set<number>();
  #size: TerminalSize | undefined;
  #timer: NodeJS.Timeout | undefined;
  #disposed = false;

  constructor(command: GuestCommand) {
    this.#command = command;
  }

  resize(size: TerminalSize): void {
    this.#size = size;
    this.#next();
  }

  /** @param payload one byte, the signal's number @throws Error for what is none */
  kill(payload: Uint8Array): void {
    const [signal = 0] = payload;
    if (payload.length !== 1 || signal < 1 || signal > MAX_SIGNAL) throw new Error('no signal');
    this.#signals.add(signal);
    this.#next();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearTimeout(this.#timer);
  }

  #next(): void {
    if (this.#disposed || this.#timer !== undefined) return;
    const size = this.#size;
    this.#size = undefined;
    if (size !== undefined) this.#command.resize(size);
    for (const signal of this.#signals) this.#command.kill(signal);
    const idle = size === undefined && this.#signals.size === 0;
    this.#signals.clear();
    if (idle) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#next();
    }, PACE);
  }
}
