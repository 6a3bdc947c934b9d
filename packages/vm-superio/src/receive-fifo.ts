/** The receive FIFO of a UART: characters with their error bits. */
export class ReceiveFifo {
  readonly #entries: Uint16Array;
  #first = 0;
  #count = 0;

  /** @param depth number of places */
  constructor(depth: number) {
    this.#entries = new Uint16Array(depth);
  }

  get count(): number {
    return this.#count;
  }

  /** The oldest entry. Only when there is one. */
  get first(): number {
    return this.#entries[this.#first]!;
  }

  set first(entry: number) {
    this.#entries[this.#first] = entry;
  }

  /** Only while a place is free. */
  push(entry: number): void {
    this.#entries[(this.#first + this.#count) % this.#entries.length] = entry;
    this.#count++;
  }

  /** Only when there is an entry. */
  shift(): number {
    const entry = this.#entries[this.#first]!;
    this.#first = (this.#first + 1) % this.#entries.length;
    this.#count--;
    return entry;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Entries, oldest first. */
  toArray(): number[] {
    const depth = this.#entries.length;
    return Array.from({ length: this.#count }, (_, i) => this.#entries[(this.#first + i) % depth]!);
  }
}
