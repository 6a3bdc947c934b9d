const GROUP_SEPARATOR = 0x1d;
/** Milliseconds within which the second Ctrl-] has to follow the first. */
const ESCAPE_WINDOW = 1000;

/**
 * Finds Ctrl-] pressed twice in what is typed. A single one is held back until it is clear that no second
 * one follows, and then goes to the guest.
 */
export class EscapeFilter {
  readonly #forward: (bytes: Uint8Array) => void;
  readonly #leave: () => void;
  #held: NodeJS.Timeout | undefined;

  constructor(forward: (bytes: Uint8Array) => void, leave: () => void) {
    this.#forward = forward;
    this.#leave = leave;
  }

  push(bytes: Uint8Array): void {
    let start = 0;
    for (let index = 0; index < bytes.length; index++) {
      if (bytes[index] === GROUP_SEPARATOR) {
        if (index > start) this.#forward(bytes.subarray(start, index));
        start = index + 1;
        if (this.#held !== undefined) {
          this.dispose();
          this.#leave();
          return;
        }
        this.#held = setTimeout(() => this.#release(), ESCAPE_WINDOW);
      } else {
        this.#release();
      }
    }
    if (start < bytes.length) this.#forward(bytes.subarray(start));
  }

  /** Forgets a held key. */
  dispose(): void {
    clearTimeout(this.#held);
    this.#held = undefined;
  }

  #release(): void {
    if (this.#held === undefined) return;
    this.dispose();
    this.#forward(Uint8Array.of(GROUP_SEPARATOR));
  }
}

/** Puts the terminal into raw mode until it is disposed of; the process's end restores it too. */
export class RawTerminal implements Disposable {
  readonly #input: NodeJS.ReadStream;
  readonly #restore = (): void => this[Symbol.dispose]();
  #raw = true;

  constructor(input: NodeJS.ReadStream) {
    this.#input = input;
    input.setRawMode(true);
    process.once('exit', this.#restore);
  }

  [Symbol.dispose](): void {
    if (!this.#raw) return;
    this.#raw = false;
    process.off('exit', this.#restore);
    this.#input.setRawMode(false);
  }
}
