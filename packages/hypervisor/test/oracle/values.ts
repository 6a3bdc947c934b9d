import type { Random } from './random.ts';
import { FILL_TABLE } from './state.ts';

const FILL: readonly bigint[] = [...FILL_TABLE];

/** A 64-bit value of a kind that integer instructions have corner cases for. */
export function interesting(random: Random): bigint {
  switch (random.below(6)) {
    case 0:
      return random.pick(FILL);
    case 1:
      return BigInt(random.below(256)) - 128n;
    case 2:
      return (1n << BigInt(random.below(64))) - BigInt(random.below(3));
    case 3:
      return BigInt(random.u32());
    case 4:
      return random.u64() >> BigInt(random.below(64));
    default:
      return random.u64();
  }
}

/** Half a vector register: one interesting value, or lanes of interesting values. */
export function interestingVector(random: Random): bigint {
  const lanes = (bits: number, lane: () => bigint): bigint => {
    let value = 0n;
    for (let at = 0; at < 64; at += bits) value |= BigInt.asUintN(bits, lane()) << BigInt(at);
    return value;
  };
  const corner = (bits: number) => () =>
    random.chance(0.5) ? random.pick(FILL) >> BigInt(64 - bits) : random.u64();
  switch (random.below(10)) {
    case 0:
      return random.pick(FILL);
    case 1:
      return lanes(32, corner(32));
    case 2:
      return lanes(16, corner(16));
    case 3:
      return lanes(8, corner(8));
    case 4:
    case 5:
      return float(random, 11, 52);
    case 6:
    case 7:
      return lanes(32, () => float(random, 8, 23));
    case 8:
      return lanes(16, () => float(random, 5, 10));
    default:
      return random.u64();
  }
}

/** A floating-point number where results overflow, underflow, cancel or lie between two representable ones. */
function float(random: Random, exponentBits: number, fractionBits: number): bigint {
  const largest = 2 ** exponentBits - 1;
  const bias = largest >> 1;
  const near = (exponent: number, by: number): number => exponent + random.below(2 * by + 1) - by;
  const all = (1n << BigInt(fractionBits)) - 1n;
  const bit = (): bigint => 1n << BigInt(random.below(fractionBits));
  const exponent = (): number => {
    switch (random.below(10)) {
      case 0:
        return random.below(3);
      case 1:
        return largest - random.below(3);
      case 2:
        return near(bias, fractionBits + 4);
      case 3:
        return near(bias + fractionBits, 3);
      // Squares and quotients of these come close to the smallest and largest numbers.
      case 4:
        return near(bias >> 1, 3);
      case 5:
        return near(bias + (bias >> 1), 3);
      case 6:
        return random.below(largest);
      default:
        return near(bias, 3);
    }
  };
  const fraction = (): bigint => {
    switch (random.below(8)) {
      case 0:
        return random.chance(0.5) ? 0n : all;
      case 1:
        return bit();
      case 2:
        return all ^ bit();
      case 3:
        return all - BigInt(random.below(4));
      case 4:
        return BigInt(random.below(4));
      // Few significant bits, so that products and sums are exact or ties.
      case 5:
        return random.u64() & all & ~((bit() << 1n) - 1n);
      default:
        return random.u64() & all;
    }
  };
  const sign = BigInt(random.below(2));
  const clamped = BigInt(Math.min(Math.max(exponent(), 0), largest));
  return (((sign << BigInt(exponentBits)) | clamped) << BigInt(fractionBits)) | fraction();
}
