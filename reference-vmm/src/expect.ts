import { reasonOf } from './abort.ts';
import { VmmError } from './errors.ts';

/** Output that is kept for {@link ConsoleExpect.expect} to look at, in bytes or, once it is text, in UTF-16 units. */
const WINDOW = 64 * 1024;
/** Pieces of output that are kept apart. */
const MOST_PIECES = 512;
/** As much of the output is told by an error. */
const SHOWN = 300;

export interface ExpectOptions {
  /** Milliseconds, 0 to 2^31 - 1; default no limit. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Where a pattern was found in the console's output. */
export interface ConsoleMatch {
  /** What the pattern matched. */
  readonly text: string;
  /** What its groups matched, the first one at 0. */
  readonly groups: readonly (string | undefined)[];
  /** What its named groups matched. */
  readonly named: Readonly<Record<string, string | undefined>>;
  /** Output before it, from the end of the match before it: its last 64 Ki characters. */
  readonly before: string;
}

type Found = ConsoleMatch & { readonly start: number; readonly end: number };

interface Waiter {
  readonly pattern: string | RegExp;
  /** Where it looks from, counted from the start of all output. */
  from: number;
  readonly resolve: (match: ConsoleMatch) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Looks for patterns in the console's output. A match takes the output up to its end: who asks next looks behind it. Those
 * who wait at the same time look at the same output, each from where it was when they asked.
 */
export class ConsoleExpect {
  /** Called with true when somebody waits, and with false when nobody does any more. */
  onWaiting: (waiting: boolean) => void = () => undefined;
  readonly #waiters = new Set<Waiter>();
  readonly #decoder = new TextDecoder();
  /** Output that nobody has looked at, as it came: text is made of it when somebody waits. */
  #bytes: Uint8Array[] = [];
  #byteCount = 0;
  /** The end of it, where it comes in pieces. */
  #pieces: Uint8Array[] = [];
  /** What came before that. */
  #older: Uint8Array[] = [];
  #text = '';
  /** Of the text's first unit, from the start of all output. */
  #start = 0;
  /** End of the last match. */
  #taken = 0;
  #due = false;
  #ended = false;

  /** Output of the console; the bytes do not change any more. */
  push(bytes: Uint8Array): void {
    if (this.#ended || bytes.length === 0) return;
    this.#pieces.push(bytes);
    if (this.#pieces.length === MOST_PIECES) this.#join();
    this.#byteCount += bytes.length;
    if (this.#waiters.size === 0) {
      this.#forgetBytes();
      return;
    }
    // One search for all that comes in a turn of the event loop.
    if (this.#due) return;
    this.#due = true;
    setImmediate(() => this.#search());
  }

  /** There is no more output: whoever still waits is told so. */
  end(): void {
    if (this.#ended) return;
    this.#search();
    this.#ended = true;
    for (const waiter of [...this.#waiters]) {
      waiter.reject(
        new VmmError('ENDED', `the VM ended before its console showed ${this.#described(waiter.pattern)}`),
      );
    }
  }

  /**
   * Waits until the console shows `pattern`. Of a regular expression the flags `g` and `y` do not count.
   *
   * @throws (rejects with) VmmError `TIMED_OUT`, `ENDED` when the VM ended without, `INVALID_REQUEST`; the signal's reason
   */
  expect(pattern: string | RegExp, options: ExpectOptions = {}): Promise<ConsoleMatch> {
    const { timeout, signal } = options;
    if (timeout !== undefined && !(timeout >= 0 && timeout < 2 ** 31))
      return Promise.reject(new VmmError('INVALID_REQUEST', `expect: a timeout of ${timeout} ms`));
    if (signal?.aborted === true) return Promise.reject(reasonOf(signal));
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
        if (this.#waiters.delete(waiter) && this.#waiters.size === 0) this.onWaiting(false);
      };
      const waiter: Waiter = {
        pattern: typeof pattern === 'string' ? pattern : withoutState(pattern),
        from: this.#taken,
        resolve: (match) => {
          settle();
          resolve(match);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const aborted = (): void => waiter.reject(reasonOf(signal));
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiters.add(waiter);
      if (this.#waiters.size === 1) this.onWaiting(true);
      this.#search();
      if (!this.#waiters.has(waiter)) return;
      if (this.#ended) {
        waiter.reject(new VmmError('ENDED', `the VM ended without ${this.#described(waiter.pattern)}`));
      } else if (timeout !== undefined) {
        timer = setTimeout(() => {
          const what = this.#described(waiter.pattern);
          waiter.reject(new VmmError('TIMED_OUT', `${timeout} ms: the console did not show ${what}`));
        }, timeout);
      }
    });
  }

  #search(): void {
    this.#due = false;
    if (this.#waiters.size === 0) return;
    for (const bytes of [...this.#older, ...this.#bytes, ...this.#pieces])
      this.#text += this.#decoder.decode(bytes, { stream: true });
    this.#older = [];
    this.#bytes = [];
    this.#pieces = [];
    this.#byteCount = 0;
    for (const waiter of [...this.#waiters]) {
      const from = Math.max(waiter.from - this.#start, 0);
      const found = find(waiter.pattern, from === 0 ? this.#text : this.#text.slice(from));
      if (found === undefined) continue;
      const { start, end, ...match } = found;
      this.#taken = Math.max(this.#taken, this.#start + from + end);
      waiter.resolve({ ...match, before: match.before.slice(Math.max(start - WINDOW, 0)) });
    }
    this.#forgetText();
  }

  /** What was looked at in vain is kept, as a match may begin in it; what is before the window is not. */
  #forgetText(): void {
    const oldest = Math.min(this.#taken, ...[...this.#waiters].map(({ from }) => from));
    const drop = Math.max(oldest - this.#start, this.#text.length - WINDOW, 0);
    if (drop === 0) return;
    this.#text = this.#text.slice(drop);
    this.#start += drop;
  }

  /** Output may come a character at a time. */
  #join(): void {
    this.#bytes.push(Buffer.concat(this.#pieces));
    this.#pieces = [];
  }

  /** Two halves, the older of which goes when the newer is full. */
  #forgetBytes(): void {
    if (this.#byteCount < WINDOW) return;
    if (this.#older.length > 0) {
      // What is left does not follow the text.
      this.#start += this.#text.length;
      this.#text = '';
      this.#taken = Math.max(this.#taken, this.#start);
      this.#decoder.decode();
    }
    this.#join();
    this.#older = this.#bytes;
    this.#bytes = [];
    this.#byteCount = 0;
  }

  #described(pattern: string | RegExp): string {
    const shown = typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern);
    const tail = this.#text.slice(-SHOWN);
    return tail === ''
      ? `${shown}: it showed nothing more`
      : `${shown}: last it showed ${JSON.stringify(tail)}`;
  }
}

function find(pattern: string | RegExp, text: string): Found | undefined {
  if (typeof pattern === 'string') {
    const start = text.indexOf(pattern);
    if (start < 0) return undefined;
    const end = start + pattern.length;
    return { text: pattern, groups: [], named: {}, before: text.slice(0, start), start, end };
  }
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [found, ...groups] = match;
  return {
    text: found,
    groups,
    named: { ...match.groups },
    before: text.slice(0, match.index),
    start: match.index,
    end: match.index + found.length,
  };
}

/** A copy that begins to look at the start each time. */
function withoutState(pattern: RegExp): RegExp {
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ''));
}
