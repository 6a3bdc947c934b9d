// Arithmetic on doubles and singles: the host's where its result is known to be the architecture's, else fp-soft.ts.
// A result that is neither NaN, infinity nor near the denormals can raise only Inexact, which is sticky: whether it is
// exact has to be found out only until IXC is set.
import { FPSR_IXC, inexactKnown, plainMode, raise } from './fp-state';
import { DOUBLE, shiftRightSticky, SINGLE } from './fp-round';
import { mulHigh, softAdd, softDiv, softMul, softMulAdd, softSqrt } from './fp-soft';

// @ts-ignore: decorator
@inline function exponent64(bits: u64): u32 {
  return <u32>(bits >> 52) & 0x7ff;
}

// @ts-ignore: decorator
@inline function exponent32(bits: u32): u32 {
  return (bits >> 23) & 0xff;
}

/** Significant bits of a normal double as an odd integer. */
// @ts-ignore: decorator
@inline function odd64(bits: u64): u64 {
  const significand = (bits & 0x000fffffffffffff) | 0x0010000000000000;
  return significand >> ctz(significand);
}

// @ts-ignore: decorator
@inline function bitLength(value: u64): u32 {
  return 64 - <u32>clz(value);
}

/** Whether the product of two odd integers of at most 53 bits is the odd integer `c` of at most 53 bits. */
// @ts-ignore: decorator
@inline function isProduct(a: u64, b: u64, c: u64): bool {
  return bitLength(a) + bitLength(b) <= 54 && a * b == c;
}

/** Error of a sum that did not overflow: 0 when exact. */
// @ts-ignore: decorator
@inline function sumError<T>(a: T, b: T, sum: T): T {
  const part = <T>(sum - a);
  return <T>(<T>(a - <T>(sum - part)) + <T>(b - part));
}

export function add64(a: u64, b: u64): u64 {
  const x = reinterpret<f64>(a);
  const y = reinterpret<f64>(b);
  const r = x + y;
  const bits = reinterpret<u64>(r);
  if (!plainMode() || exponent64(bits) == 0x7ff) return softAdd(DOUBLE, a, b, false);
  if (!inexactKnown() && sumError<f64>(x, y, r) != 0) raise(FPSR_IXC);
  return bits;
}

export function sub64(a: u64, b: u64): u64 {
  const x = reinterpret<f64>(a);
  const y = -reinterpret<f64>(b);
  const r = x + y;
  const bits = reinterpret<u64>(r);
  if (!plainMode() || exponent64(bits) == 0x7ff) return softAdd(DOUBLE, a, b, true);
  if (!inexactKnown() && sumError<f64>(x, y, r) != 0) raise(FPSR_IXC);
  return bits;
}

export function mul64(a: u64, b: u64): u64 {
  const r = reinterpret<f64>(a) * reinterpret<f64>(b);
  const bits = reinterpret<u64>(r);
  if (!plainMode() || exponent64(bits) - 2 >= 0x7fd) return softMul(DOUBLE, a, b, false);
  if (!inexactKnown()) {
    // Denormal operands make normal results too; nothing cheap is known of them.
    if (exponent64(a) == 0 || exponent64(b) == 0) return softMul(DOUBLE, a, b, false);
    if (!isProduct(odd64(a), odd64(b), odd64(bits))) raise(FPSR_IXC);
  }
  return bits;
}

export function div64(a: u64, b: u64): u64 {
  const r = reinterpret<f64>(a) / reinterpret<f64>(b);
  const bits = reinterpret<u64>(r);
  if (!plainMode() || exponent64(bits) - 2 >= 0x7fd) return softDiv(DOUBLE, a, b);
  if (!inexactKnown()) {
    if (exponent64(a) == 0 || exponent64(b) == 0) return softDiv(DOUBLE, a, b);
    if (!isProduct(odd64(bits), odd64(b), odd64(a))) raise(FPSR_IXC);
  }
  return bits;
}

export function sqrt64(a: u64): u64 {
  const bits = reinterpret<u64>(sqrt<f64>(reinterpret<f64>(a)));
  if (!plainMode() || exponent64(bits) - 1 >= 0x7fe || exponent64(a) == 0) return softSqrt(DOUBLE, a);
  if (!inexactKnown() && !isProduct(odd64(bits), odd64(bits), odd64(a))) raise(FPSR_IXC);
  return bits;
}

export function add32(a: u32, b: u32): u32 {
  const x = reinterpret<f32>(a);
  const y = reinterpret<f32>(b);
  const r = x + y;
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) == 0xff) return <u32>softAdd(SINGLE, a, b, false);
  if (!inexactKnown() && sumError<f32>(x, y, r) != 0) raise(FPSR_IXC);
  return bits;
}

export function sub32(a: u32, b: u32): u32 {
  const x = reinterpret<f32>(a);
  const y = -reinterpret<f32>(b);
  const r = x + y;
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) == 0xff) return <u32>softAdd(SINGLE, a, b, true);
  if (!inexactKnown() && sumError<f32>(x, y, r) != 0) raise(FPSR_IXC);
  return bits;
}

// A product of two singles is exact as a double, which settles whether the single result is.

export function mul32(a: u32, b: u32): u32 {
  const x = reinterpret<f32>(a);
  const y = reinterpret<f32>(b);
  const r = x * y;
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) - 2 >= 0xfd) return <u32>softMul(SINGLE, a, b, false);
  if (!inexactKnown() && <f64>x * <f64>y != <f64>r) raise(FPSR_IXC);
  return bits;
}

export function div32(a: u32, b: u32): u32 {
  const x = reinterpret<f32>(a);
  const y = reinterpret<f32>(b);
  const r = x / y;
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) - 2 >= 0xfd) return <u32>softDiv(SINGLE, a, b);
  if (!inexactKnown() && <f64>r * <f64>y != <f64>x) raise(FPSR_IXC);
  return bits;
}

export function sqrt32(a: u32): u32 {
  const x = reinterpret<f32>(a);
  const r = sqrt<f32>(x);
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) - 1 >= 0xfe) return <u32>softSqrt(SINGLE, a);
  if (!inexactKnown() && <f64>r * <f64>r != <f64>x) raise(FPSR_IXC);
  return bits;
}

/** c + a * b, fused. */
export function mulAdd32(c: u32, a: u32, b: u32): u32 {
  const x = reinterpret<f32>(c);
  const product = <f64>reinterpret<f32>(a) * <f64>reinterpret<f32>(b);
  const sum = product + x;
  const error = sumError<f64>(product, x, sum);
  // Rounded to odd, the double keeps what the second rounding must know.
  let odd = reinterpret<u64>(sum);
  if (error != 0 && !(odd & 1)) odd += (error > 0) == (sum > 0) ? 1 : -1;
  const r = <f32>reinterpret<f64>(odd);
  const bits = reinterpret<u32>(r);
  if (!plainMode() || exponent32(bits) - 2 >= 0xfd) return <u32>softMulAdd(SINGLE, c, a, b);
  if (<f64>r != sum || error != 0) raise(FPSR_IXC);
  return bits;
}

/** c + a * b, fused. */
export function mulAdd64(c: u64, a: u64, b: u64): u64 {
  const exponentA = <i32>exponent64(a);
  const exponentB = <i32>exponent64(b);
  const exponentC = <i32>exponent64(c);
  if (
    !plainMode() || <u32>(exponentA - 1) >= 0x7fe || <u32>(exponentB - 1) >= 0x7fe || <u32>(exponentC - 1) >= 0x7fe
  ) return softMulAdd(DOUBLE, c, a, b);
  // The product at bit 126 or 125 of hi:lo, the addend at bit 125; both exact.
  const factor = ((a << 10) | (1 << 62)) & 0x7fffffffffffffff;
  const other = ((b << 11) | (1 << 63));
  let hi = mulHigh(factor, other);
  let lo = factor * other;
  let exponent = exponentA + exponentB - 1023;
  let cHi = ((c << 9) | (1 << 61)) & 0x3fffffffffffffff;
  let cLo: u64 = 0;
  const distance = exponent - exponentC;
  if (distance > 0) {
    if (distance >= 128) {
      cLo = 1;
      cHi = 0;
    } else if (distance >= 64) {
      cLo = shiftRightSticky(cHi, distance - 64);
      cHi = 0;
    } else {
      cLo = cHi << (64 - distance);
      cHi >>= distance;
    }
  } else if (distance < 0) {
    exponent = exponentC;
    const by = -distance;
    if (by >= 64) {
      lo = shiftRightSticky(hi, by - 64) | u64(lo != 0);
      hi = 0;
    } else {
      lo = (lo >> by) | (hi << (64 - by)) | u64(lo << (64 - by) != 0);
      hi >>= by;
    }
  }
  let sign = (a ^ b) & 0x8000000000000000;
  if (<i64>(sign ^ c) >= 0) {
    lo += cLo;
    hi += cHi + u64(lo < cLo);
  } else {
    const below = u64(lo < cLo);
    lo -= cLo;
    hi = hi - cHi - below;
    if (<i64>hi < 0) {
      sign ^= 0x8000000000000000;
      lo = 0 - lo;
      hi = ~hi + u64(lo == 0);
    }
  }
  // A deep cancellation is rare, and so is a result near the ends of the range.
  if (hi == 0) return softMulAdd(DOUBLE, c, a, b);
  const left = <i32>clz(hi);
  exponent += 2 - left;
  if (<u32>(exponent - 2) >= 0x7fc) return softMulAdd(DOUBLE, c, a, b);
  const significand = (hi << left) | (lo >> 1 >> (63 - left)) | u64(lo << left != 0);
  const rest = significand & 0x7ff;
  let bits = (significand >> 11) + (<u64>(exponent - 1) << 52);
  if (rest) {
    raise(FPSR_IXC);
    bits += u64(rest > 0x400 || (rest == 0x400 && (bits & 1) != 0));
  }
  return sign | bits;
}
