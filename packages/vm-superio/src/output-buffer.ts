/** Most bytes that are handed to the sink at once, and that are kept while it is blocked. */
export const OUTPUT_BUFFER_SIZE = 4096;

/** Brings bytes that the guest sends one by one together, until the end of the current turn of the event loop. */
export class OutputBuffer {
  readonly #sink: (bytes: Uint8Array) => void;
  readonly #bytes = new Uint8Array(OUTPUT_BUFFER_SIZE);
  #count = 0;
  #scheduled = false;
  #blocked = false;
  #lost = 0;

  constructor(sink: (bytes: Uint8Array) => void) {
    this.#sink = sink;
  }

  get blocked(): boolean {
    return this.#blocked;
  }

  /** Bytes dropped because the buffer was full while the sink was blocked. */
  get lost(): number {
    return this.#lost;
  }

  push(byte: number): void {
    if (this.#count === OUTPUT_BUFFER_SIZE) {
      this.#lost++;
      return;
    }
    this.#bytes[this.#count++] = byte;
    if (this.#count === OUTPUT_BUFFER_SIZE) this.flush();
    else this.#schedule();
  }

  flush(): void {
    if (this.#blocked || this.#count === 0) return;
    const bytes = this.toBytes();
    this.#count = 0;
    this.#sink(bytes);
  }

  block(): void {
    this.#blocked = true;
  }

  resume(): void {
    this.#blocked = false;
    this.flush();
  }

  /** A copy of what waits. */
  toBytes(): Uint8Array {
    return this.#bytes.slice(0, this.#count);
  }

  /** Replaces what waits; nothing is blocked afterwards. */
  set(bytes: Uint8Array): void {
    this.#bytes.set(bytes);
    this.#count = bytes.length;
    this.#blocked = false;
    if (bytes.length > 0) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#blocked) return;
    this.#scheduled = true;
    void Promise.resolve().then(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
