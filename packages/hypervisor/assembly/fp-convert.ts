// Conversions between formats, to and from integers, and to integral values (Arm ARM shared pseudocode: FPConvert,
// FPToFixed, FixedToFP, FPRoundInt).
import {
  alternativeHalf, defaultNaNMode, FPSR_IOC, FPSR_IXC, flushToZero, plainMode, raise, ROUND_AWAY,
  ROUND_DOWN, ROUND_NEAREST, ROUND_UP, ROUND_ZERO, roundingMode,
} from './fp-state';
import {
  defaultNaN, DOUBLE, FINITE, fractionBits, HALF, INFINITE, infinityOf, processNaN, QNAN, roundPack, roundsAway, signOf,
  SINGLE, SNAN, unpack, unpackedExponent, unpackedSignificand, ZERO, zeroOf,
} from './fp-round';

/** FPConvert() with the rounding mode given. */
export function convert(from: u32, to: u32, bits: u64, mode: u32): u64 {
  const type = unpack(from, bits);
  const sign = signOf(from, bits);
  const alternative = to == HALF && alternativeHalf();
  switch (type) {
    case ZERO: return zeroOf(to, sign);
    case FINITE: return roundPack(to, sign, unpackedExponent, unpackedSignificand, mode);
    case INFINITE: {
      if (!alternative) return infinityOf(to, sign);
      raise(FPSR_IOC);
      return zeroOf(to, sign) | 0x7fff;
    }
    default: {
      if (type == SNAN || alternative) raise(FPSR_IOC);
      if (alternative) return zeroOf(to, sign);
      if (defaultNaNMode()) return defaultNaN(to);
      const payload = (bits << (64 - fractionBits(from))) >> (64 - fractionBits(to));
      return infinityOf(to, sign) | payload | (<u64>1 << (fractionBits(to) - 1));
    }
  }
}

/** Single to double by FPCR. */
export function widen32(a: u32): u64 {
  const x = reinterpret<f32>(a);
  if (x == x && !flushToZero()) return reinterpret<u64>(<f64>x);
  return convert(SINGLE, DOUBLE, a, roundingMode());
}

/** Double to single by FPCR. */
export function narrow64(a: u64): u32 {
  const x = reinterpret<f64>(a);
  const r = <f32>x;
  const exponent = (reinterpret<u32>(r) >> 23) & 0xff;
  if (plainMode() && ((exponent > 1 && exponent < 255) || x == 0)) {
    if (<f64>r != x) raise(FPSR_IXC);
    return reinterpret<u32>(r);
  }
  return <u32>convert(DOUBLE, SINGLE, a, roundingMode());
}

/** What `integral` lost, besides the integer that it returns. */
let lostFraction: bool = false;

/** Integer nearest to significand / 2^63 * 2^exponent (exponent below 64) in the direction of `mode`. */
function integral(sign: u32, exponent: i32, significand: u64, mode: u32): u64 {
  let kept: u64 = 0;
  let rest: u64 = 1;
  let half: u64 = 2;
  if (exponent >= 0) {
    const drop = 63 - exponent;
    kept = significand >> drop;
    half = drop ? <u64>1 << (drop - 1) : 1;
    rest = drop ? significand & ((half << 1) - 1) : 0;
  } else if (exponent == -1) {
    half = 1 << 63;
    rest = significand;
  }
  lostFraction = rest != 0;
  return kept + u64(roundsAway(mode, sign, <bool>(kept & 1), rest, half));
}

/** FPToFixed(): an integer of 32 or 64 bits, in the low bits. */
export function toFixed(format: u32, bits: u64, fractional: u32, unsigned: bool, mode: u32, wide: bool): u64 {
  const type = unpack(format, bits);
  if (type == ZERO) return 0;
  const sign = signOf(format, bits);
  const most: u64 = unsigned ? (wide ? u64.MAX_VALUE : u32.MAX_VALUE) : wide ? i64.MAX_VALUE : i32.MAX_VALUE;
  // The magnitude that the sign allows.
  const limit: u64 = sign ? (unsigned ? 0 : most + 1) : most;
  if (type >= QNAN) {
    raise(FPSR_IOC);
    return 0;
  }
  if (type == FINITE && unpackedExponent + <i32>fractional < 64) {
    const magnitude = integral(sign, unpackedExponent + fractional, unpackedSignificand, mode);
    if (magnitude <= limit) {
      if (lostFraction) raise(FPSR_IXC);
      const value = sign ? 0 - magnitude : magnitude;
      return wide ? value : value & 0xffffffff;
    }
  }
  raise(FPSR_IOC);
  const value = sign ? 0 - limit : limit;
  return wide ? value : value & 0xffffffff;
}

/** FCVTZS of a double to 64 bits. */
export function truncate64(a: u64): u64 {
  const x = reinterpret<f64>(a);
  if (Math.abs(x) < 9223372036854775808.0 && !flushToZero()) {
    const r = <i64>x;
    if (<f64>r != x) raise(FPSR_IXC);
    return r;
  }
  return toFixed(DOUBLE, a, 0, false, ROUND_ZERO, true);
}

/** FCVTZS of a double to 32 bits. */
export function truncate32(a: u64): u64 {
  const x = reinterpret<f64>(a);
  if (Math.abs(x) < 2147483648.0 && !flushToZero()) {
    const r = <i32>x;
    if (<f64>r != x) raise(FPSR_IXC);
    return <u32>r;
  }
  return toFixed(DOUBLE, a, 0, false, ROUND_ZERO, false);
}

/** FixedToFP(): `value` is sign- or zero-extended to 64 bits. */
export function fromFixed(format: u32, value: u64, fractional: u32, unsigned: bool): u64 {
  if (value == 0) return 0;
  const sign = unsigned ? 0 : <u32>(value >> 63);
  const magnitude = sign ? 0 - value : value;
  const by = <i32>clz(magnitude);
  if (by > 10 && format == DOUBLE && fractional == 0) {
    return reinterpret<u64>(unsigned ? <f64>value : <f64><i64>value);
  }
  return roundPack(format, sign, 63 - by - <i32>fractional, magnitude << by, roundingMode());
}

/** FPRoundInt(): `exact` makes a change of value raise Inexact. */
export function roundInt(format: u32, bits: u64, mode: u32, exact: bool): u64 {
  const type = unpack(format, bits);
  const sign = signOf(format, bits);
  if (type >= QNAN) return processNaN(format, type, bits);
  if (type == ZERO) return zeroOf(format, sign);
  if (type == INFINITE || unpackedExponent >= <i32>fractionBits(format)) return bits;
  const magnitude = integral(sign, unpackedExponent, unpackedSignificand, mode);
  if (exact && lostFraction) raise(FPSR_IXC);
  if (magnitude == 0) return zeroOf(format, sign);
  const by = <i32>clz(magnitude);
  return roundPack(format, sign, 63 - by, magnitude << by, ROUND_ZERO);
}

/** The same in the host's arithmetic where it says the same. */
export function roundInteger(format: u32, bits: u64, mode: u32, exact: bool): u64 {
  if (mode != ROUND_AWAY && !flushToZero()) {
    const x = format == DOUBLE ? reinterpret<f64>(bits) : <f64>reinterpret<f32>(<u32>bits);
    if (x == x) {
      let r: f64;
      switch (mode) {
        case ROUND_NEAREST: r = nearest<f64>(x); break;
        case ROUND_UP: r = ceil<f64>(x); break;
        case ROUND_DOWN: r = floor<f64>(x); break;
        default: r = trunc<f64>(x);
      }
      if (exact && r != x) raise(FPSR_IXC);
      return format == DOUBLE ? reinterpret<u64>(r) : reinterpret<u32>(<f32>r);
    }
  }
  return roundInt(format, bits, mode, exact);
}
