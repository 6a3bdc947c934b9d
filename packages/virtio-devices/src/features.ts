import { VirtioDeviceError } from './errors.ts';

/** An immutable set of the feature bits 0 to 63 (VIRTIO 1.3 §2.2), as two unsigned 32-bit halves. */
export class FeatureSet {
  static readonly EMPTY: FeatureSet = new FeatureSet(0, 0);

  /** Bits 31:0. */
  readonly low: number;
  /** Bits 63:32. */
  readonly high: number;

  constructor(low: number, high: number) {
    this.low = low >>> 0;
    this.high = high >>> 0;
  }

  /**
   * @param bits numbers of the bits, 0 to 63
   * @throws VirtioDeviceError `INVALID_ARGUMENT`
   */
  static of(...bits: readonly number[]): FeatureSet {
    let low = 0;
    let high = 0;
    for (const bit of bits) {
      if (!Number.isInteger(bit) || bit < 0 || bit > 63) {
        throw new VirtioDeviceError('INVALID_ARGUMENT', `a feature bit is from 0 to 63, not ${bit}`);
      }
      if (bit < 32) low |= 1 << bit;
      else high |= 1 << (bit - 32);
    }
    return new FeatureSet(low, high);
  }

  has(bit: number): boolean {
    return (((bit < 32 ? this.low : this.high) >>> (bit & 31)) & 1) === 1;
  }

  union(other: FeatureSet): FeatureSet {
    return new FeatureSet(this.low | other.low, this.high | other.high);
  }

  intersection(other: FeatureSet): FeatureSet {
    return new FeatureSet(this.low & other.low, this.high & other.high);
  }

  minus(other: FeatureSet): FeatureSet {
    return new FeatureSet(this.low & ~other.low, this.high & ~other.high);
  }

  isSubsetOf(other: FeatureSet): boolean {
    return (this.low & ~other.low) === 0 && (this.high & ~other.high) === 0;
  }

  equals(other: FeatureSet): boolean {
    return this.low === other.low && this.high === other.high;
  }

  toString(): string {
    return `0x${this.high.toString(16).padStart(8, '0')}${this.low.toString(16).padStart(8, '0')}`;
  }
}
