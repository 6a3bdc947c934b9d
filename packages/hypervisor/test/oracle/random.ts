/** Seeded pseudo-random numbers (xorshift128+ on 32-bit halves): the same seed gives the same sequences anywhere. */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  constructor(seed: number) {
    this.a = seed >>> 0;
    this.b = 0x9e3779b9;
    this.c = 0x243f6a88;
    this.d = 0xb7e15162;
    for (let i = 0; i < 16; i++) this.u32();
  }

  /** 0 to 2^32 - 1. */
  u32(): number {
    let t = this.a ^ (this.a << 11);
    this.a = this.b;
    this.b = this.c;
    this.c = this.d;
    t ^= t >>> 8;
    this.d = (this.d ^ (this.d >>> 19) ^ t) >>> 0;
    return (this.d + Math.imul(this.a, 0x2545f491)) >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 to limit - 1, limit at most 2^31. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.u32() < probability * 2 ** 32;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** `width` bits, with small and nearly-all-ones values more frequent than in a uniform draw. */
  bits(width: number): number {
    const uniform = width === 32 ? this.u32() : this.below(2 ** width);
    if (width < 5) return uniform;
    const kept = this.below(width + 1);
    const low = kept === 32 ? uniform : uniform & (2 ** kept - 1);
    switch (this.below(3)) {
      case 0:
        return low >>> 0;
      case 1:
        return (2 ** width - 1 - (low >>> 0)) >>> 0;
      default:
        return uniform;
    }
  }

  shuffle<T>(list: readonly T[]): T[] {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const other = out[j];
      const own = out[i];
      if (other === undefined || own === undefined) continue;
      out[i] = other;
      out[j] = own;
    }
    return out;
  }
}
