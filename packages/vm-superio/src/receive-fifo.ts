import { FIFO_DEPTH } from './pl011-registers.ts';

/** The UART's receive FIFO: characters with their error bits, as UARTDR shows them. */
export class ReceiveFifo {
  readonly #entries = new Uint16Array(FIFO_DEPTH);
  #first = 0;
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** Only below {@link FIFO_DEPTH} entries. */
  push(entry: number): void {
    this.#entries[(this.#first + this.#count) % FIFO_DEPTH] = entry;
    this.#count++;
  }

  /** Only when there is an entry. */
  shift(): number {
    const entry = this.#entries[this.#first]!;
    this.#first = (this.#first + 1) % FIFO_DEPTH;
    this.#count--;
    return entry;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Entries, oldest first. */
  toArray(): number[] {
    return Array.from({ length: this.#count }, (_, i) => this.#entries[(this.#first + i) % FIFO_DEPTH]!);
  }
}
