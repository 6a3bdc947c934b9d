/** Hands out guest memory for a mock driver's buffers; what is freed is used again. */
export class Arena {
  readonly #end: number;
  readonly #free = new Map<number, number[]>();
  readonly #sizes = new Map<number, number>();
  #next: number;

  /** @param start guest address, a multiple of 16 */
  constructor(start: number, end: number) {
    this.#next = start;
    this.#end = end;
  }

  /** @returns the address of at least `size` bytes, a multiple of 16 */
  allocate(size: number): number {
    const rounded = 2 ** Math.ceil(Math.log2(Math.max(size, 16)));
    let address = this.#free.get(rounded)?.pop();
    if (address === undefined) {
      address = this.#next;
      if (address + rounded > this.#end) {
        throw new RangeError(`mock driver: no guest memory left for ${size} bytes`);
      }
      this.#next += rounded;
    }
    this.#sizes.set(address, rounded);
    return address;
  }

  free(address: number): void {
    const size = this.#sizes.get(address);
    if (size === undefined) throw new RangeError(`mock driver: nothing allocated at ${address}`);
    this.#sizes.delete(address);
    const list = this.#free.get(size);
    if (list === undefined) this.#free.set(size, [address]);
    else list.push(address);
  }
}
