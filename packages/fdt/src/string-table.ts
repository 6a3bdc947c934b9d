/**
 * The strings block (Devicetree Specification v0.4 §5.5) with dtc's sharing: a name is stored at the end
 * unless it equals an earlier name or the tail of one, and then the lowest such offset stands for it. A name
 * never replaces an earlier tail of its own.
 */
export class StringTable {
  #length = 0;
  readonly #names: string[] = [];
  readonly #offsets = new Map<string, number>();

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** Offset of an ASCII name, which is added when it is not there. */
  offsetOf(name: string): number {
    const known = this.#offsets.get(name);
    if (known !== undefined) return known;
    const offset = this.#length;
    for (let start = 0; start < name.length; start++) {
      const tail = name.slice(start);
      if (!this.#offsets.has(tail)) this.#offsets.set(tail, offset + start);
    }
    this.#names.push(name);
    this.#length += name.length + 1;
    return offset;
  }

  copyTo(target: Uint8Array, offset: number): void {
    let at = offset;
    for (const name of this.#names) {
      for (let index = 0; index < name.length; index++) target[at++] = name.charCodeAt(index);
      target[at++] = 0;
    }
  }
}
