import type { TreeEntry } from '../../agent/messages.ts';
import { bytes } from '../output.ts';

/** Milliseconds until a copy counts as long, and between two lines. */
const BEGIN = 1_000;
const PACE = 200;

/** Counts what is copied, and tells of long copies on a terminal. */
export class Progress implements Disposable {
  entries = 0;
  bytes = 0;
  readonly #terminal: NodeJS.WriteStream | undefined;
  #next = performance.now() + BEGIN;
  #shown = false;

  /** @param terminal to tell on, where it is one */
  constructor(terminal: NodeJS.WriteStream | undefined) {
    this.#terminal = terminal?.isTTY === true ? terminal : undefined;
  }

  /** The same entries, counted as their contents pass. */
  async *count<T extends TreeEntry & { readonly content?: AsyncIterable<Uint8Array> | Iterable<Uint8Array> }>(
    entries: AsyncIterable<T>,
  ): AsyncGenerator<T & { content: AsyncIterable<Uint8Array> }, void, undefined> {
    for await (const entry of entries) {
      yield { ...entry, content: this.countBytes(entry.content ?? []) };
      this.entries++;
    }
  }

  /** The same bytes. */
  async *countBytes(
    chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of chunks) {
      yield chunk;
      this.bytes += chunk.length;
      this.#tell();
    }
  }

  /** Leaves nothing on the terminal. */
  [Symbol.dispose](): void {
    if (this.#shown) this.#terminal?.write('\r\x1b[K');
    this.#shown = false;
  }

  #tell(): void {
    if (this.#terminal === undefined || performance.now() < this.#next) return;
    this.#next = performance.now() + PACE;
    this.#shown = true;
    const count = this.entries > 0 ? `, ${this.entries} files` : '';
    this.#terminal.write(`\r\x1b[Kcopied ${bytes(this.bytes)}${count}`);
  }
}
