// Comparison, minimum and maximum (Arm ARM shared pseudocode: FPCompare, FPMax, FPMaxNum and their like).
import { flushToZero, FPSR_IOC, raise } from './fp-state';
import {
  DOUBLE, infinityOf, processNaNs, QNAN, signOf, signShift, SNAN, unpack, ZERO, zeroOf,
} from './fp-round';

const LESS: u32 = 0x80000000;
const EQUAL: u32 = 0x60000000;
const GREATER: u32 = 0x20000000;
const UNORDERED: u32 = 0x30000000;

/** FPCompare(): NZCV in bits 31:28; `signalling` makes quiet NaNs invalid too. */
export function compare(format: u32, a: u64, b: u64, signalling: bool): u32 {
  const typeA = unpack(format, a);
  const typeB = unpack(format, b);
  if (typeA >= QNAN || typeB >= QNAN) {
    if (signalling || typeA == SNAN || typeB == SNAN) raise(FPSR_IOC);
    return UNORDERED;
  }
  const x = ordered(format, typeA, a);
  const y = ordered(format, typeB, b);
  return x == y ? EQUAL : x < y ? LESS : GREATER;
}

/** A number that is no NaN as an integer that compares as it does. */
function ordered(format: u32, type: u32, bits: u64): i64 {
  if (type == ZERO) return 0;
  const magnitude = <i64>(bits & ((<u64>1 << signShift(format)) - 1));
  return signOf(format, bits) ? -magnitude : magnitude;
}

/** FPMax(), or FPMin(). */
export function extreme(format: u32, a: u64, b: u64, minimum: bool): u64 {
  const typeA = unpack(format, a);
  const typeB = unpack(format, b);
  if (typeA >= QNAN || typeB >= QNAN) return processNaNs(format, typeA, a, typeB, b);
  const signA = signOf(format, a);
  const signB = signOf(format, b);
  const x = ordered(format, typeA, a);
  const y = ordered(format, typeB, b);
  if (minimum ? x < y : x > y) return typeA == ZERO ? zeroOf(format, signA) : a;
  if (x != y) return typeB == ZERO ? zeroOf(format, signB) : b;
  if (typeA == ZERO) return zeroOf(format, minimum ? signA | signB : signA & signB);
  return a;
}

/** FPMaxNum(), or FPMinNum(): a quiet NaN gives way to a number. */
export function extremeNumber(format: u32, a: u64, b: u64, minimum: bool): u64 {
  const typeA = unpack(format, a);
  const typeB = unpack(format, b);
  if (typeA == QNAN && typeB != QNAN) return extreme(format, infinityOf(format, u32(!minimum)), b, minimum);
  if (typeB == QNAN && typeA != QNAN) return extreme(format, a, infinityOf(format, u32(!minimum)), minimum);
  return extreme(format, a, b, minimum);
}

/** The same for doubles or singles, in the host's arithmetic where it says the same. */
export function max64(a: u64, b: u64): u64 {
  const r = max<f64>(reinterpret<f64>(a), reinterpret<f64>(b));
  return r == r && !flushToZero() ? reinterpret<u64>(r) : extreme(DOUBLE, a, b, false);
}

export function min64(a: u64, b: u64): u64 {
  const r = min<f64>(reinterpret<f64>(a), reinterpret<f64>(b));
  return r == r && !flushToZero() ? reinterpret<u64>(r) : extreme(DOUBLE, a, b, true);
}

/** FPCompare() for doubles. */
export function compare64(a: u64, b: u64, signalling: bool): u32 {
  const x = reinterpret<f64>(a);
  const y = reinterpret<f64>(b);
  if (!flushToZero()) {
    if (x == y) return EQUAL;
    if (x < y) return LESS;
    if (x > y) return GREATER;
  }
  return compare(DOUBLE, a, b, signalling);
}

/** FPCompareEQ(), FPCompareGE(), FPCompareGT(): `relation` 0, 1, 2. */
export function related(format: u32, relation: u32, a: u64, b: u64): bool {
  switch (relation) {
    case 0: return compare(format, a, b, false) == EQUAL;
    case 1: {
      const r = compare(format, a, b, true);
      return r == EQUAL || r == GREATER;
    }
    default: return compare(format, a, b, true) == GREATER;
  }
}
