// Numbers taken apart and put together (Arm ARM shared pseudocode: FPUnpack, FPRound, FPProcessNaN).
import {
  alternativeHalf, defaultNaNMode, flushToZero, FPSR_IDC, FPSR_IOC, FPSR_IXC, FPSR_OFC, FPSR_UFC, raise,
  ROUND_AWAY, ROUND_DOWN, ROUND_NEAREST, ROUND_ODD, ROUND_UP,
} from './fp-state';

export const HALF: u32 = 0;
export const SINGLE: u32 = 1;
export const DOUBLE: u32 = 2;

/** FPType, in an order that makes `>= QNAN` mean any NaN. */
export const ZERO: u32 = 0;
export const FINITE: u32 = 1;
export const INFINITE: u32 = 2;
export const QNAN: u32 = 3;
export const SNAN: u32 = 4;

const TOP: u64 = 1 << 63;

// @ts-ignore: decorator
@inline export function fractionBits(format: u32): u32 {
  return format == DOUBLE ? 52 : format == SINGLE ? 23 : 10;
}

/** Exponent field of infinities and NaNs. */
// @ts-ignore: decorator
@inline export function exponentMax(format: u32): i32 {
  return format == DOUBLE ? 2047 : format == SINGLE ? 255 : 31;
}

// @ts-ignore: decorator
@inline export function signShift(format: u32): u32 {
  return format == DOUBLE ? 63 : format == SINGLE ? 31 : 15;
}

// @ts-ignore: decorator
@inline export function signOf(format: u32, bits: u64): u32 {
  return <u32>(bits >> signShift(format)) & 1;
}

// @ts-ignore: decorator
@inline export function negate(format: u32, bits: u64): u64 {
  return bits ^ (<u64>1 << signShift(format));
}

// @ts-ignore: decorator
@inline export function zeroOf(format: u32, sign: u32): u64 {
  return <u64>sign << signShift(format);
}

// @ts-ignore: decorator
@inline export function infinityOf(format: u32, sign: u32): u64 {
  return (<u64>sign << signShift(format)) | (<u64>exponentMax(format) << fractionBits(format));
}

// @ts-ignore: decorator
@inline export function defaultNaN(format: u32): u64 {
  return format == DOUBLE ? 0x7ff8000000000000 : format == SINGLE ? 0x7fc00000 : 0x7e00;
}

/** The default NaN as the result of an invalid operation. */
export function invalid(format: u32): u64 {
  raise(FPSR_IOC);
  return defaultNaN(format);
}

/** What `unpack` found: value = significand / 2^63 * 2^exponent, with bit 63 of the significand set when finite. */
export let unpackedExponent: i32 = 0;
export let unpackedSignificand: u64 = 0;

/** Class of a number; finite ones leave exponent and significand. Flushes denormals as FPCR.FZ says (not of HALF). */
export function unpack(format: u32, bits: u64): u32 {
  const width = fractionBits(format);
  const most = exponentMax(format);
  const fraction = bits & ((<u64>1 << width) - 1);
  const exponent = <i32>(bits >> width) & most;
  if (exponent == 0) {
    if (fraction == 0) return ZERO;
    if (format != HALF && flushToZero()) {
      raise(FPSR_IDC);
      return ZERO;
    }
    const by = <i32>clz(fraction);
    unpackedSignificand = fraction << by;
    unpackedExponent = 64 - (most >> 1) - <i32>width - by;
    return FINITE;
  }
  if (exponent == most && !(format == HALF && alternativeHalf())) {
    if (fraction == 0) return INFINITE;
    return (fraction >> (width - 1)) & 1 ? QNAN : SNAN;
  }
  unpackedSignificand = TOP | (fraction << (63 - width));
  unpackedExponent = exponent - (most >> 1);
  return FINITE;
}

/** FPProcessNaN(). */
export function processNaN(format: u32, type: u32, bits: u64): u64 {
  if (type == SNAN) raise(FPSR_IOC);
  if (defaultNaNMode()) return defaultNaN(format);
  return bits | (<u64>1 << (fractionBits(format) - 1));
}

/** FPProcessNaNs() for operands of which at least one is a NaN. */
export function processNaNs(format: u32, typeA: u32, a: u64, typeB: u32, b: u64): u64 {
  if (typeA == SNAN) return processNaN(format, typeA, a);
  if (typeB == SNAN) return processNaN(format, typeB, b);
  return typeA == QNAN ? processNaN(format, typeA, a) : processNaN(format, typeB, b);
}

/** FPProcessNaNs3() for operands of which at least one is a NaN. */
export function processNaNs3(format: u32, typeA: u32, a: u64, typeB: u32, b: u64, typeC: u32, c: u64): u64 {
  if (typeA == SNAN) return processNaN(format, typeA, a);
  if (typeB == SNAN) return processNaN(format, typeB, b);
  if (typeC == SNAN) return processNaN(format, typeC, c);
  if (typeA == QNAN) return processNaN(format, typeA, a);
  return processNaNs(format, typeB, b, typeC, c);
}

/** Shifted right; bit 0 says whether anything was lost as well. */
// @ts-ignore: decorator
@inline export function shiftRightSticky(value: u64, by: i32): u64 {
  if (by == 0) return value;
  if (by > 63) return u64(value != 0);
  return (value >> by) | u64((value << (64 - by)) != 0);
}

/** Whether a value with last kept bit `odd` and `rest` after it (`half` is half a unit) is rounded away from 0. */
// @ts-ignore: decorator
@inline export function roundsAway(mode: u32, sign: u32, odd: bool, rest: u64, half: u64): bool {
  switch (mode) {
    case ROUND_NEAREST: return rest > half || (rest == half && odd);
    case ROUND_UP: return !sign && rest != 0;
    case ROUND_DOWN: return sign != 0 && rest != 0;
    case ROUND_AWAY: return rest >= half;
    default: return false;
  }
}

/** FPRound(): bit 63 of `significand` is set and bit 0 sticky; value = significand / 2^63 * 2^exponent. */
export function roundPack(format: u32, sign: u32, exponent: i32, significand: u64, mode: u32): u64 {
  const width = fractionBits(format);
  const most = exponentMax(format);
  const signBit = <u64>sign << signShift(format);
  let biased = exponent + (most >> 1);
  const tiny = biased < 1;
  if (tiny) {
    if (format != HALF && flushToZero()) {
      raise(FPSR_UFC);
      return signBit;
    }
    significand = shiftRightSticky(significand, 1 - biased);
    biased = 0;
  }
  const drop = 63 - width;
  const half = <u64>1 << (drop - 1);
  const rest = significand & ((half << 1) - 1);
  let kept = significand >> drop;
  if (roundsAway(mode, sign, <bool>(kept & 1), rest, half)) kept += 1;
  else if (mode == ROUND_ODD && rest != 0) kept |= 1;
  // The leading 1 of a normal number counts as one in the exponent field; so does a carry.
  const magnitude = kept + (tiny ? 0 : <u64>(biased - 1) << width);
  if (<i32>(magnitude >> width) >= most) {
    if (format == HALF && alternativeHalf()) {
      if (<i32>(magnitude >> width) > most) {
        raise(FPSR_IOC);
        return signBit | 0x7fff;
      }
    } else {
      raise(FPSR_OFC | FPSR_IXC);
      const toInfinity = mode == ROUND_NEAREST || mode == ROUND_AWAY || (mode == ROUND_UP && !sign)
        || (mode == ROUND_DOWN && sign != 0);
      return infinityOf(format, sign) - u64(!toInfinity);
    }
  }
  if (rest) raise(tiny ? FPSR_UFC | FPSR_IXC : FPSR_IXC);
  return signBit | magnitude;
}
