// Reciprocal and reciprocal square root estimates (Arm ARM shared pseudocode: FPRecipEstimate, FPRSqrtEstimate, FPRecpX,
// UnsignedRecipEstimate, UnsignedRSqrtEstimate).
import {
  flushToZero, FPSR_DZC, FPSR_IXC, FPSR_OFC, FPSR_UFC, raise, ROUND_DOWN, ROUND_NEAREST, ROUND_UP, roundingMode,
} from './fp-state';
import {
  exponentMax, fractionBits, INFINITE, infinityOf, invalid, processNaN, QNAN, signOf, unpack, unpackedExponent,
  unpackedSignificand, ZERO, zeroOf,
} from './fp-round';

/** RecipEstimate(): 256 to 511 of `a` from 256 to 511. */
function recipEstimate(a: u32): u32 {
  return ((1 << 19) / (2 * a + 1) + 1) >> 1;
}

/** RecipSqrtEstimate(): 256 to 511 of `a` from 128 to 511. */
function recipSqrtEstimate(a: u32): u32 {
  a = a < 256 ? 2 * a + 1 : ((a >> 1) * 2 + 1) * 2;
  // The largest b with a * b * b < 2^28, from just below it.
  let b = <u32>(16384.0 / sqrt<f64>(a)) - 1;
  while (a * (b + 1) * (b + 1) < 1 << 28) b++;
  return (b + 1) >> 1;
}

/** FRECPE. */
export function recip(format: u32, bits: u64): u64 {
  const type = unpack(format, bits);
  const sign = signOf(format, bits);
  if (type >= QNAN) return processNaN(format, type, bits);
  if (type == INFINITE) return zeroOf(format, sign);
  if (type == ZERO) {
    raise(FPSR_DZC);
    return infinityOf(format, sign);
  }
  const bias = exponentMax(format) >> 1;
  const exponent = unpackedExponent;
  if (exponent < -bias - 1) {
    const mode = roundingMode();
    const toInfinity = mode == ROUND_NEAREST || (mode == ROUND_UP && !sign) || (mode == ROUND_DOWN && sign != 0);
    raise(FPSR_OFC | FPSR_IXC);
    return infinityOf(format, sign) - u64(!toInfinity);
  }
  if (flushToZero() && exponent >= bias - 1) {
    raise(FPSR_UFC);
    return zeroOf(format, sign);
  }
  const width = fractionBits(format);
  const estimate = recipEstimate(<u32>(unpackedSignificand >> 55));
  const result = bias - 1 - exponent;
  const fraction = <u64>(estimate & 0xff) << (width - 8);
  // Results below the normal numbers keep their leading 1 in the fraction.
  if (result > 0) return zeroOf(format, sign) | (<u64>result << width) | fraction;
  return zeroOf(format, sign) | (((<u64>1 << width) | fraction) >> (1 - result));
}

/** FRSQRTE. */
export function recipSqrt(format: u32, bits: u64): u64 {
  const type = unpack(format, bits);
  const sign = signOf(format, bits);
  if (type >= QNAN) return processNaN(format, type, bits);
  if (type == ZERO) {
    raise(FPSR_DZC);
    return infinityOf(format, sign);
  }
  if (sign) return invalid(format);
  if (type == INFINITE) return 0;
  const bias = exponentMax(format) >> 1;
  const exponent = unpackedExponent + bias;
  const scaled = <u32>(unpackedSignificand >> (exponent & 1 ? 56 : 55));
  const result = (3 * bias - 1 - exponent) >> 1;
  const width = fractionBits(format);
  return (<u64>result << width) | (<u64>(recipSqrtEstimate(scaled) & 0xff) << (width - 8));
}

/** FRECPX. */
export function recipExponent(format: u32, bits: u64): u64 {
  const type = unpack(format, bits);
  if (type >= QNAN) return processNaN(format, type, bits);
  const width = fractionBits(format);
  const most = exponentMax(format);
  const exponent = <u32>(bits >> width) & most;
  return zeroOf(format, signOf(format, bits)) | (<u64>(exponent ? ~exponent & most : most - 1) << width);
}

/** URECPE of one lane. */
export function unsignedRecip(a: u32): u32 {
  return a >> 31 ? recipEstimate(a >> 23) << 23 : u32.MAX_VALUE;
}

/** URSQRTE of one lane. */
export function unsignedRecipSqrt(a: u32): u32 {
  return a >> 30 ? recipSqrtEstimate(a >> 23) << 23 : u32.MAX_VALUE;
}
