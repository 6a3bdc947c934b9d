/** Seeded generator (xorshift128) for reproducible cases. */
export class Random {
  readonly #s: Uint32Array;

  constructor(seed: number) {
    this.#s = Uint32Array.of(seed ^ 0x9e3779b9, seed ^ 0x243f6a88, 0xb7e15162, 0x8aed2a6a);
    for (let i = 0; i < 16; i++) this.u32();
  }

  u32(): number {
    const s = this.#s;
    let t = s[3]!;
    t ^= t << 11;
    t ^= t >>> 8;
    s.copyWithin(1, 0, 3);
    s[0] = t ^ s[0]! ^ (s[0]! >>> 19);
    return s[0];
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return this.u32() % n;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}
