import type { Readable, Writable } from 'node:stream';
import type { ConsoleLog } from './log.ts';

/** Takes what the guest prints, at once. */
export type Viewer = (bytes: Uint8Array) => void;

/** Brings what the guest prints to the log and to any number of viewers, and what they type to the guest. */
export class ConsoleHub {
  readonly log: ConsoleLog;
  /** Bytes that the guest printed. */
  bytes = 0;
  readonly #input: Writable | undefined;
  readonly #viewers = new Set<Viewer>();

  /** @param input takes what viewers type; without it that is dropped */
  constructor(log: ConsoleLog, input?: Writable) {
    this.log = log;
    this.#input = input;
  }

  get viewers(): number {
    return this.#viewers.size;
  }

  /**
   * Takes all that a stream of the guest's carries, beside its other readers. The stream flows from now on: readers that
   * want the guest to wait pause it.
   */
  tap(stream: Readable): void {
    stream.on('data', (bytes: Uint8Array) => this.#output(bytes));
  }

  /** Something to be told beside what the guest prints. */
  note(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.log.write(bytes);
    for (const viewer of this.#viewers) viewer(bytes);
  }

  /** @returns what ends it */
  watch(viewer: Viewer): () => void {
    this.#viewers.add(viewer);
    return () => void this.#viewers.delete(viewer);
  }

  /** Types; resolves when the guest takes more, or the signal aborts. */
  async type(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const input = this.#input;
    if (input === undefined || !input.writable || input.write(bytes) || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        input.off('drain', done).off('close', done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      input.on('drain', done).on('close', done);
      signal.addEventListener('abort', done);
    });
  }

  #output(bytes: Uint8Array): void {
    this.bytes += bytes.length;
    this.log.write(bytes);
    for (const viewer of this.#viewers) viewer(bytes);
  }
}
