// Advanced SIMD three same, integer operations (Arm ARM C4.1.96, "Advanced SIMD three same").
// The kernel works on whole registers; the callers zero the lanes that an instruction does not have.
import { setSaturated } from './simd-regs';
import {
  addV, absDiffV, eqV, evenLanes, geV, gtV, lowPair, maxV, minV, mulV, oddLanes, shrV, subV,
} from './simd-lanes';
import { shiftByRegister } from './simd-shift-reg';

// Bit per operation (U in bit 5, opcode in bits 4:0) that exists for lanes of 8, of 16 and 32, and of 64 bits.
const SAME_8: u64 = 0x003fffff00bfffff;
const SAME_16_32: u64 = 0x0077ffff00ffffff;
const SAME_64: u64 = 0x00030fea00830fea;

/** Whether the integer operation `op` (U in bit 5, opcode in bits 4:0) exists for lanes of 8 << size bits. */
// @ts-ignore: decorator
@inline export function threeSameAllocated(op: u32, size: u32): bool {
  return <bool>(((size == 3 ? SAME_64 : size ? SAME_16_32 : SAME_8) >> op) & 1);
}

/** Whether the scalar form of `op` exists for a lane of 8 << size bits. */
export function scalarThreeSameAllocated(op: u32, size: u32): bool {
  switch (op & 0x1f) {
    case 0x01: case 0x05: case 0x09: case 0x0b: return true;
    case 0x06: case 0x07: case 0x08: case 0x0a: case 0x10: case 0x11: return size == 3;
    case 0x16: return size == 1 || size == 2;
    default: return false;
  }
}

/**
 * Result of the integer operation `op` (U in bit 5, opcode in bits 4:0) over lanes of 8 << size bits; `d` is the old
 * destination. `full` says that pairwise operations pair all 128 bits. The combination must be allocated.
 */
export function threeSame(cpu: usize, op: u32, size: u32, full: bool, n: v128, m: v128, d: v128): v128 {
  switch (op) {
    case 0x00: return addV(size, v128.and(n, m), shrV(size, v128.xor(n, m), 1, false));
    case 0x20: return addV(size, v128.and(n, m), shrV(size, v128.xor(n, m), 1, true));
    case 0x01: return signedAddSaturate(cpu, size, n, m);
    case 0x21: return unsignedAddSaturate(cpu, size, n, m);
    case 0x02: return subV(size, v128.or(n, m), shrV(size, v128.xor(n, m), 1, false));
    case 0x22: return subV(size, v128.or(n, m), shrV(size, v128.xor(n, m), 1, true));
    case 0x03: {
      switch (size) {
        case 0: return v128.and(n, m);
        case 1: return v128.andnot(n, m);
        case 2: return v128.or(n, m);
        default: return v128.or(n, v128.not(m));
      }
    }
    case 0x23: {
      switch (size) {
        case 0: return v128.xor(n, m);
        case 1: return v128.bitselect(n, m, d);
        case 2: return v128.bitselect(n, d, m);
        default: return v128.bitselect(d, n, m);
      }
    }
    case 0x04: return halvingSub(size, n, m, false);
    case 0x24: return halvingSub(size, n, m, true);
    case 0x05: return signedSubSaturate(cpu, size, n, m);
    case 0x25: return unsignedSubSaturate(cpu, size, n, m);
    case 0x06: return gtV(size, n, m, false);
    case 0x26: return gtV(size, n, m, true);
    case 0x07: return geV(size, n, m, false);
    case 0x27: return geV(size, n, m, true);
    case 0x08: case 0x09: case 0x0a: case 0x0b:
    case 0x28: case 0x29: case 0x2a: case 0x2b:
      return shiftByRegister(cpu, size, <bool>(op >> 5), <bool>((op >> 1) & 1), <bool>(op & 1), n, m);
    case 0x0c: return maxV(size, n, m, false);
    case 0x2c: return maxV(size, n, m, true);
    case 0x0d: return minV(size, n, m, false);
    case 0x2d: return minV(size, n, m, true);
    case 0x0e: return absDiffV(size, n, m, false);
    case 0x2e: return absDiffV(size, n, m, true);
    case 0x0f: return addV(size, d, absDiffV(size, n, m, false));
    case 0x2f: return addV(size, d, absDiffV(size, n, m, true));
    case 0x10: return addV(size, n, m);
    case 0x30: return subV(size, n, m);
    case 0x11: return v128.not(eqV(size, v128.and(n, m), i64x2.splat(0)));
    case 0x31: return eqV(size, n, m);
    case 0x12: return addV(size, d, mulV(size, n, m));
    case 0x32: return subV(size, d, mulV(size, n, m));
    case 0x13: return mulV(size, n, m);
    case 0x33: return polynomialMul(n, m);
    case 0x14: case 0x34: case 0x15: case 0x35: case 0x17: {
      let even: v128, odd: v128;
      if (full) {
        even = evenLanes(size, n, m);
        odd = oddLanes(size, n, m);
      } else {
        const pair = lowPair(n, m);
        even = evenLanes(size, pair, i64x2.splat(0));
        odd = oddLanes(size, pair, i64x2.splat(0));
      }
      switch (op) {
        case 0x14: return maxV(size, even, odd, false);
        case 0x34: return maxV(size, even, odd, true);
        case 0x15: return minV(size, even, odd, false);
        case 0x35: return minV(size, even, odd, true);
        default: return addV(size, even, odd);
      }
    }
    case 0x16: return doublingMulHigh(cpu, size, n, m, false);
    case 0x36: return doublingMulHigh(cpu, size, n, m, true);
    default: return unreachable();
  }
}

function halvingSub(size: u32, n: v128, m: v128, unsigned: bool): v128 {
  const borrow = v128.andnot(m, n);
  const one = shrV(size, i64x2.splat(-1), (<i32>8 << size) - 1, true);
  return subV(size, subV(size, shrV(size, n, 1, unsigned), shrV(size, m, 1, unsigned)), v128.and(borrow, one));
}

// @ts-ignore: decorator
@inline function noteDifference(cpu: usize, a: v128, b: v128): void {
  if (v128.any_true(v128.xor(a, b))) setSaturated(cpu);
}

// Where `overflow` has its sign bit set, the extreme value on the side of n's sign.
function signedExtreme(size: u32, overflow: v128, n: v128, wrapped: v128): v128 {
  const top = (<i32>8 << size) - 1;
  const extreme = v128.xor(shrV(size, n, top, false), shrV(size, i64x2.splat(-1), 1, true));
  return v128.bitselect(extreme, wrapped, shrV(size, overflow, top, false));
}

export function signedAddSaturate(cpu: usize, size: u32, n: v128, m: v128): v128 {
  const sum = addV(size, n, m);
  let result: v128;
  if (size == 0) result = i8x16.add_sat_s(n, m);
  else if (size == 1) result = i16x8.add_sat_s(n, m);
  else result = signedExtreme(size, v128.andnot(v128.xor(n, sum), v128.xor(n, m)), n, sum);
  noteDifference(cpu, sum, result);
  return result;
}

export function signedSubSaturate(cpu: usize, size: u32, n: v128, m: v128): v128 {
  const difference = subV(size, n, m);
  let result: v128;
  if (size == 0) result = i8x16.sub_sat_s(n, m);
  else if (size == 1) result = i16x8.sub_sat_s(n, m);
  else result = signedExtreme(size, v128.and(v128.xor(n, difference), v128.xor(n, m)), n, difference);
  noteDifference(cpu, difference, result);
  return result;
}

function unsignedAddSaturate(cpu: usize, size: u32, n: v128, m: v128): v128 {
  const sum = addV(size, n, m);
  const result = v128.or(sum, gtV(size, n, sum, true));
  noteDifference(cpu, sum, result);
  return result;
}

function unsignedSubSaturate(cpu: usize, size: u32, n: v128, m: v128): v128 {
  const difference = subV(size, n, m);
  const result = v128.and(difference, geV(size, n, m, true));
  noteDifference(cpu, difference, result);
  return result;
}

/** Carry-less products of bytes, low half of each (Arm ARM PolynomialMult). */
function polynomialMul(n: v128, m: v128): v128 {
  let result = i64x2.splat(0);
  for (let bit = 0; bit < 8; bit++) {
    const chosen = i8x16.shr_s(i8x16.shl(m, 7 - bit), 7);
    result = v128.xor(result, v128.and(i8x16.shl(n, bit), chosen));
  }
  return result;
}

function doublingMulHigh(cpu: usize, size: u32, n: v128, m: v128, rounding: bool): v128 {
  if (size == 1) {
    const low = i32x4.extmul_low_i16x8_s(n, m);
    const high = i32x4.extmul_high_i16x8_s(n, m);
    const round = i32x4.splat(rounding ? 1 << 14 : 0);
    // Only -1 * -1 leaves the range, and the saturating narrow brings it back.
    const result = i16x8.narrow_i32x4_s(i32x4.shr_s(i32x4.add(low, round), 15), i32x4.shr_s(i32x4.add(high, round), 15));
    const lowest = i16x8.splat(i16.MIN_VALUE);
    if (v128.any_true(v128.and(i16x8.eq(n, lowest), i16x8.eq(m, lowest)))) setSaturated(cpu);
    return result;
  }
  const low = i64x2.extmul_low_i32x4_s(n, m);
  const high = i64x2.extmul_high_i32x4_s(n, m);
  const round = i64x2.splat(rounding ? 1 << 30 : 0);
  const a = i64x2.shr_s(i64x2.add(low, round), 31);
  const b = i64x2.shr_s(i64x2.add(high, round), 31);
  const lowest = i32x4.splat(i32.MIN_VALUE);
  const saturate = v128.and(i32x4.eq(n, lowest), i32x4.eq(m, lowest));
  if (v128.any_true(saturate)) setSaturated(cpu);
  return v128.xor(v128.shuffle<u32>(a, b, 0, 2, 4, 6), saturate);
}
