// Arithmetic in integers, for every rounding mode, class of operand and flag (Arm ARM shared pseudocode: FPAdd, FPMul,
// FPDiv, FPSqrt, FPMulAdd, FPMulX, FPRecipStepFused, FPRSqrtStepFused).
import { FPSR_DZC, raise, ROUND_DOWN, roundingMode } from './fp-state';
import {
  FINITE, INFINITE, infinityOf, invalid, negate, processNaN, processNaNs, processNaNs3, QNAN, roundPack,
  shiftRightSticky, signOf, DOUBLE, unpack, unpackedExponent, unpackedSignificand, ZERO, zeroOf,
} from './fp-round';

const TOP: u64 = 1 << 63;

/** High half of a product; the low half is a * b. */
// @ts-ignore: decorator
@inline export function mulHigh(a: u64, b: u64): u64 {
  const al = a & 0xffffffff;
  const ah = a >> 32;
  const bl = b & 0xffffffff;
  const bh = b >> 32;
  const middle = ah * bl + ((al * bl) >> 32);
  const other = al * bh + (middle & 0xffffffff);
  return ah * bh + (middle >> 32) + (other >> 32);
}

/** The zero that an exact cancellation leaves. */
function cancelled(format: u32): u64 {
  return zeroOf(format, u32(roundingMode() == ROUND_DOWN));
}

/** a + b, or a - b. */
export function softAdd(format: u32, a: u64, b: u64, subtract: bool): u64 {
  const typeA = unpack(format, a);
  let exponentA = unpackedExponent;
  let significandA = unpackedSignificand;
  const typeB = unpack(format, b);
  let exponentB = unpackedExponent;
  let significandB = unpackedSignificand;
  if (typeA >= QNAN || typeB >= QNAN) return processNaNs(format, typeA, a, typeB, b);
  let signA = signOf(format, a);
  let signB = signOf(format, b) ^ u32(subtract);
  if (typeA == INFINITE) {
    return typeB == INFINITE && signA != signB ? invalid(format) : infinityOf(format, signA);
  }
  if (typeB == INFINITE) return infinityOf(format, signB);
  const mode = roundingMode();
  if (typeB == ZERO) {
    if (typeA == ZERO) return signA == signB ? zeroOf(format, signA) : cancelled(format);
    return roundPack(format, signA, exponentA, significandA, mode);
  }
  if (typeA == ZERO) return roundPack(format, signB, exponentB, significandB, mode);
  if (exponentB > exponentA || (exponentB == exponentA && significandB > significandA)) {
    const exponent = exponentA;
    exponentA = exponentB;
    exponentB = exponent;
    const significand = significandA;
    significandA = significandB;
    significandB = significand;
    const sign = signA;
    signA = signB;
    signB = sign;
  }
  const smaller = shiftRightSticky(significandB >> 1, exponentA - exponentB);
  const sum = signA == signB ? (significandA >> 1) + smaller : (significandA >> 1) - smaller;
  if (sum == 0) return cancelled(format);
  const by = <i32>clz(sum);
  return roundPack(format, signA, exponentA + 1 - by, sum << by, mode);
}

/** a * b; `extended` is FPMulX: 0 * infinity is 2. */
export function softMul(format: u32, a: u64, b: u64, extended: bool): u64 {
  const typeA = unpack(format, a);
  const exponentA = unpackedExponent;
  const significandA = unpackedSignificand;
  const typeB = unpack(format, b);
  if (typeA >= QNAN || typeB >= QNAN) return processNaNs(format, typeA, a, typeB, b);
  const sign = signOf(format, a) ^ signOf(format, b);
  if (typeA == INFINITE || typeB == INFINITE) {
    if (typeA != ZERO && typeB != ZERO) return infinityOf(format, sign);
    return extended ? zeroOf(format, sign) | (format == DOUBLE ? 0x4000000000000000 : 0x40000000) : invalid(format);
  }
  if (typeA == ZERO || typeB == ZERO) return zeroOf(format, sign);
  let exponent = exponentA + unpackedExponent + 1;
  let hi = mulHigh(significandA, unpackedSignificand);
  let lo = significandA * unpackedSignificand;
  if (!(hi >> 63)) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    exponent -= 1;
  }
  return roundPack(format, sign, exponent, hi | u64(lo != 0), roundingMode());
}

/** a / b. */
export function softDiv(format: u32, a: u64, b: u64): u64 {
  const typeA = unpack(format, a);
  let exponent = unpackedExponent;
  let rest = unpackedSignificand;
  const typeB = unpack(format, b);
  if (typeA >= QNAN || typeB >= QNAN) return processNaNs(format, typeA, a, typeB, b);
  const sign = signOf(format, a) ^ signOf(format, b);
  if (typeA == INFINITE) return typeB == INFINITE ? invalid(format) : infinityOf(format, sign);
  if (typeB == INFINITE) return zeroOf(format, sign);
  if (typeB == ZERO) {
    if (typeA == ZERO) return invalid(format);
    raise(FPSR_DZC);
    return infinityOf(format, sign);
  }
  if (typeA == ZERO) return zeroOf(format, sign);
  exponent -= unpackedExponent;
  // Both have 53 significant bits at most, so there is room to double the remainder.
  const divisor = unpackedSignificand >> 2;
  rest >>= 2;
  if (rest < divisor) {
    rest <<= 1;
    exponent -= 1;
  }
  let quotient: u64 = 0;
  for (let bit = 0; bit < 56; bit++) {
    quotient <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1;
    }
    rest <<= 1;
  }
  return roundPack(format, sign, exponent, (quotient << 8) | u64(rest != 0), roundingMode());
}

export function softSqrt(format: u32, a: u64): u64 {
  const type = unpack(format, a);
  if (type >= QNAN) return processNaN(format, type, a);
  const sign = signOf(format, a);
  if (type == ZERO) return zeroOf(format, sign);
  if (sign) return invalid(format);
  if (type == INFINITE) return infinityOf(format, 0);
  const exponent = unpackedExponent;
  // Digit by digit: the radicand is 1.x or 1x.x, the root starts with its leading 1 at bit 60.
  let rest = unpackedSignificand >> (exponent & 1 ? 2 : 3);
  let root: u64 = 0;
  let bit: u64 = 1 << 60;
  while (bit > 32) {
    const trial = root + bit;
    if (rest >= trial) {
      rest -= trial;
      root = trial + bit;
    }
    rest <<= 1;
    bit >>= 1;
  }
  // `root` holds twice the digits found.
  return roundPack(format, 0, exponent >> 1, (root << 2) | u64(rest != 0), roundingMode());
}

/**
 * Rounds product + addend: the product is hi:lo with bit 127 set, at `exponentP` as in `unpack`; the addend a
 * significand with bit 63 set. `scale` is added to the exponent of the exact sum.
 */
function roundSum(
  format: u32, signP: u32, exponentP: i32, hi: u64, lo: u64, signC: u32, exponentC: i32, significandC: u64, scale: i32,
): u64 {
  let cHi = significandC >> 1;
  let cLo = significandC << 63;
  lo = (lo >> 1) | (hi << 63) | (lo & 1);
  hi >>= 1;
  const distance = exponentP - exponentC;
  const exponent = distance > 0 ? exponentP : exponentC;
  if (distance > 0) {
    if (distance > 63) {
      cLo = shiftRightSticky(cHi, distance - 64) | u64(cLo != 0);
      cHi = 0;
    } else {
      cLo = (cLo >> distance) | (cHi << (64 - distance)) | u64(cLo << (64 - distance) != 0);
      cHi >>= distance;
    }
  } else if (distance < 0) {
    const by = -distance;
    if (by > 63) {
      lo = shiftRightSticky(hi, by - 64) | u64(lo != 0);
      hi = 0;
    } else {
      lo = (lo >> by) | (hi << (64 - by)) | u64(lo << (64 - by) != 0);
      hi >>= by;
    }
  }
  let sign = signP;
  if (signP == signC) {
    const sum = lo + cLo;
    hi = hi + cHi + u64(sum < lo);
    lo = sum;
  } else if (hi > cHi || (hi == cHi && lo >= cLo)) {
    hi = hi - cHi - u64(lo < cLo);
    lo -= cLo;
  } else {
    sign = signC;
    hi = cHi - hi - u64(cLo < lo);
    lo = cLo - lo;
  }
  if ((hi | lo) == 0) return cancelled(format);
  let by = 0;
  if (hi == 0) {
    hi = lo;
    lo = 0;
    by = 64;
  }
  const left = <i32>clz(hi);
  if (left) {
    hi = (hi << left) | (lo >> (64 - left));
    lo <<= left;
  }
  return roundPack(format, sign, exponent + 1 - by - left + scale, hi | u64(lo != 0), roundingMode());
}

/** c + a * b with one rounding. */
export function softMulAdd(format: u32, c: u64, a: u64, b: u64): u64 {
  const typeC = unpack(format, c);
  const exponentC = unpackedExponent;
  const significandC = unpackedSignificand;
  const typeA = unpack(format, a);
  const exponentA = unpackedExponent;
  const significandA = unpackedSignificand;
  const typeB = unpack(format, b);
  const noProduct = (typeA == INFINITE && typeB == ZERO) || (typeA == ZERO && typeB == INFINITE);
  if (typeC >= QNAN || typeA >= QNAN || typeB >= QNAN) {
    if (typeC == QNAN && noProduct) return invalid(format);
    return processNaNs3(format, typeC, c, typeA, a, typeB, b);
  }
  const signC = signOf(format, c);
  const signP = signOf(format, a) ^ signOf(format, b);
  const infiniteP = typeA == INFINITE || typeB == INFINITE;
  if (noProduct || (typeC == INFINITE && infiniteP && signC != signP)) return invalid(format);
  if (typeC == INFINITE) return infinityOf(format, signC);
  if (infiniteP) return infinityOf(format, signP);
  if (typeA == ZERO || typeB == ZERO) {
    if (typeC == FINITE) return roundPack(format, signC, exponentC, significandC, roundingMode());
    return signC == signP ? zeroOf(format, signC) : cancelled(format);
  }
  let exponent = exponentA + unpackedExponent + 1;
  let hi = mulHigh(significandA, unpackedSignificand);
  let lo = significandA * unpackedSignificand;
  if (!(hi >> 63)) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    exponent -= 1;
  }
  if (typeC == ZERO) return roundPack(format, signP, exponent, hi | u64(lo != 0), roundingMode());
  return roundSum(format, signP, exponent, hi, lo, signC, exponentC, significandC, 0);
}

/** FRECPS: 2 - a * b; FRSQRTS (`half`): (3 - a * b) / 2; fused. */
export function softStep(format: u32, a: u64, b: u64, half: bool): u64 {
  const negated = negate(format, a);
  const typeA = unpack(format, negated);
  const exponentA = unpackedExponent;
  const significandA = unpackedSignificand;
  const typeB = unpack(format, b);
  if (typeA >= QNAN || typeB >= QNAN) return processNaNs(format, typeA, negated, typeB, b);
  const sign = signOf(format, negated) ^ signOf(format, b);
  if ((typeA == INFINITE && typeB != ZERO) || (typeB == INFINITE && typeA != ZERO)) return infinityOf(format, sign);
  if (typeA == ZERO || typeB == ZERO) {
    if (half) return format == DOUBLE ? 0x3ff8000000000000 : 0x3fc00000;
    return format == DOUBLE ? 0x4000000000000000 : 0x40000000;
  }
  let exponent = exponentA + unpackedExponent + 1;
  let hi = mulHigh(significandA, unpackedSignificand);
  let lo = significandA * unpackedSignificand;
  if (!(hi >> 63)) {
    hi = (hi << 1) | (lo >> 63);
    lo <<= 1;
    exponent -= 1;
  }
  return roundSum(format, sign, exponent, hi, lo, 0, 1, half ? TOP | (TOP >> 1) : TOP, half ? -1 : 0);
}
