// Advanced SIMD two-register miscellaneous (integer) and across lanes (Arm ARM C4.1.96).
import { signedSubSaturate } from './simd-same';
import {
  fieldQ, fieldRd, fieldRn, fieldSize, readQ, readV, setSaturated, writeQ, writeScalar, writeV,
} from './simd-regs';
import { addV, eqV, evenLanes, gtV, laneOf, lowPair, maxV, minV, shlV, shrV, subV, widenLow } from './simd-lanes';

/** Whether the integer operation `op` (U in bit 5, opcode in bits 4:0) exists as a vector operation. */
function miscAllocated(op: u32, size: u32, q: u32): bool {
  switch (op) {
    case 0x00: case 0x02: case 0x22: case 0x04: case 0x24: case 0x06: case 0x26: return size != 3;
    case 0x20: return size < 2;
    case 0x01: case 0x05: return size == 0;
    case 0x25: return size < 2;
    case 0x03: case 0x23: case 0x07: case 0x27: case 0x08: case 0x09: case 0x0a: case 0x0b:
    case 0x28: case 0x29: case 0x2b: return size != 3 || q != 0;
    default: return false;
  }
}

/** Two-register miscellaneous, vector, integer; false when unallocated. */
export function execMisc(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 12) & 0x1f);
  const size = fieldSize(insn);
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  switch (op) {
    case 0x12: case 0x32: case 0x14: case 0x34: {
      if (size == 3) return false;
      const narrow = narrowV(cpu, op, size, readV(cpu, fieldRn(insn)));
      if (q) writeV(cpu, rd, lowPair(readV(cpu, rd), narrow));
      else writeQ(cpu, rd, 0, narrow);
      return true;
    }
    case 0x33: {
      if (size == 3) return false;
      const n = upperPart(cpu, insn);
      writeV(cpu, rd, shlV(size + 1, widenLow(size, n, true), 8 << size));
      return true;
    }
  }
  if (!miscAllocated(op, size, q)) return false;
  writeQ(cpu, rd, q, misc(cpu, op, size, readQ(cpu, fieldRn(insn), q), readV(cpu, rd)));
  return true;
}

/** The half of Vn that a widening instruction takes, in the low 64 bits. */
// @ts-ignore: decorator
@inline export function upperPart(cpu: usize, insn: u32): v128 {
  const n = readV(cpu, fieldRn(insn));
  return fieldQ(insn) ? v128.shuffle<u64>(n, n, 1, 1) : n;
}

/** Result of an integer miscellaneous operation; the operands of a short vector are zero above it. */
export function misc(cpu: usize, op: u32, size: u32, n: v128, d: v128): v128 {
  const zero = i64x2.splat(0);
  switch (op) {
    case 0x00: {
      if (size == 0) return v128.shuffle<u8>(n, n, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
      if (size == 1) return v128.shuffle<u16>(n, n, 3, 2, 1, 0, 7, 6, 5, 4);
      return v128.shuffle<u32>(n, n, 1, 0, 3, 2);
    }
    case 0x20: {
      if (size == 0) return v128.shuffle<u8>(n, n, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
      return v128.shuffle<u16>(n, n, 1, 0, 3, 2, 5, 4, 7, 6);
    }
    case 0x01: return v128.shuffle<u8>(n, n, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
    case 0x02: return addLongPairs(size, n, false);
    case 0x22: return addLongPairs(size, n, true);
    case 0x06: return addV(size + 1, d, addLongPairs(size, n, false));
    case 0x26: return addV(size + 1, d, addLongPairs(size, n, true));
    case 0x03: return addMixed(cpu, size, d, n);
    case 0x23: return addMixedUnsigned(cpu, size, d, n);
    case 0x04: return countLeading(size, v128.xor(shlV(size, n, 1), shlV(size, shrV(size, n, 1, false), 1)), true);
    case 0x24: return countLeading(size, n, false);
    case 0x05: return i8x16.popcnt(n);
    case 0x25: return size ? reverseBits(n) : v128.not(n);
    case 0x07: {
      const negative = shrV(size, n, (<i32>8 << size) - 1, false);
      const result = signedSubSaturate(cpu, size, v128.xor(n, negative), negative);
      return result;
    }
    case 0x27: return signedSubSaturate(cpu, size, zero, n);
    case 0x08: return gtV(size, n, zero, false);
    case 0x28: return v128.not(gtV(size, zero, n, false));
    case 0x09: return eqV(size, n, zero);
    case 0x29: return v128.not(gtV(size, n, zero, false));
    case 0x0a: return gtV(size, zero, n, false);
    case 0x0b: {
      const negative = shrV(size, n, (<i32>8 << size) - 1, false);
      return subV(size, v128.xor(n, negative), negative);
    }
    case 0x2b: return subV(size, zero, n);
    default: return unreachable();
  }
}

/** Whether the integer operation exists as a scalar operation. */
export function scalarMiscAllocated(op: u32, size: u32): bool {
  switch (op) {
    case 0x03: case 0x23: case 0x07: case 0x27: return true;
    case 0x08: case 0x09: case 0x0a: case 0x0b: case 0x28: case 0x29: case 0x2b: return size == 3;
    case 0x14: case 0x34: case 0x32: return size != 3;
    default: return false;
  }
}

function addLongPairs(size: u32, n: v128, unsigned: bool): v128 {
  switch (size) {
    case 0: return unsigned ? i16x8.extadd_pairwise_i8x16_u(n) : i16x8.extadd_pairwise_i8x16_s(n);
    case 1: return unsigned ? i32x4.extadd_pairwise_i16x8_u(n) : i32x4.extadd_pairwise_i16x8_s(n);
    default: {
      const even = v128.shuffle<u32>(n, n, 0, 2, 0, 2);
      const odd = v128.shuffle<u32>(n, n, 1, 3, 1, 3);
      return i64x2.add(widenLow(2, even, unsigned), widenLow(2, odd, unsigned));
    }
  }
}

/** SUQADD: signed `d` plus unsigned `n`, saturated as signed. */
function addMixed(cpu: usize, size: u32, d: v128, n: v128): v128 {
  const sum = addV(size, d, n);
  const most = shrV(size, i64x2.splat(-1), 1, true);
  // As unsigned numbers offset by the sign bit, the sum overflows exactly when it becomes smaller.
  const overflow = gtV(size, d, sum, false);
  if (v128.any_true(overflow)) setSaturated(cpu);
  return v128.bitselect(most, sum, overflow);
}

/** USQADD: unsigned `d` plus signed `n`, saturated as unsigned. */
function addMixedUnsigned(cpu: usize, size: u32, d: v128, n: v128): v128 {
  const sum = addV(size, d, n);
  const negative = shrV(size, n, (<i32>8 << size) - 1, false);
  const over = v128.andnot(gtV(size, d, sum, true), negative);
  const under = v128.and(gtV(size, sum, d, true), negative);
  if (v128.any_true(v128.or(over, under))) setSaturated(cpu);
  return v128.andnot(v128.or(sum, over), under);
}

function reverseBits(n: v128): v128 {
  let r = v128.or(
    v128.and(i8x16.shr_u(n, 1), i8x16.splat(0x55)), i8x16.shl(v128.and(n, i8x16.splat(0x55)), 1));
  r = v128.or(v128.and(i8x16.shr_u(r, 2), i8x16.splat(0x33)), i8x16.shl(v128.and(r, i8x16.splat(0x33)), 2));
  return v128.or(i8x16.shr_u(r, 4), i8x16.shl(r, 4));
}

// Leading zeros of each lane; `sign` leaves one out, because bit 0 of `n` stands for none.
function countLeading(size: u32, n: v128, sign: bool): v128 {
  let low: u64 = 0;
  let high: u64 = 0;
  const bits: u32 = 8 << size;
  const lanes: u32 = 16 >> size;
  for (let i: u32 = 0; i < lanes; i++) {
    const value = laneOf(size, n, i);
    const count: u64 = sign ? clz((value << (64 - bits)) | (<u64>1 << (64 - bits))) : value ? clz(value) - (64 - bits) : bits;
    const at = i << (3 + size);
    if (at < 64) low |= count << at;
    else high |= count << (at - 64);
  }
  return i64x2.replace_lane(i64x2.splat(low), 1, high);
}

/** XTN, SQXTUN, SQXTN, UQXTN: lanes of 16 << size bits to half, in the low 64 bits; zero above. */
export function narrowV(cpu: usize, op: u32, size: u32, n: v128): v128 {
  const zero = i64x2.splat(0);
  const bits: i32 = 8 << size;
  const truncated = evenLanes(size, n, zero);
  if (op == 0x12) return truncated;
  let result: v128, back: v128;
  if (op == 0x14) {
    if (size == 0) result = i8x16.narrow_i16x8_s(n, zero);
    else if (size == 1) result = i16x8.narrow_i32x4_s(n, zero);
    else result = narrow64(n, i64x2.splat(i32.MIN_VALUE), i64x2.splat(i32.MAX_VALUE));
    back = widenLow(size, result, false);
  } else if (op == 0x32) {
    if (size == 0) result = i8x16.narrow_i16x8_u(n, zero);
    else if (size == 1) result = i16x8.narrow_i32x4_u(n, zero);
    else result = narrow64(n, zero, i64x2.splat(<i64>u32.MAX_VALUE));
    back = widenLow(size, result, true);
  } else {
    const over = v128.not(eqV(size + 1, shrV(size + 1, n, bits, true), zero));
    result = evenLanes(size, v128.or(n, over), zero);
    back = widenLow(size, result, true);
  }
  if (v128.any_true(v128.xor(back, n))) setSaturated(cpu);
  return result;
}

function narrow64(n: v128, least: v128, most: v128): v128 {
  const atMost = v128.bitselect(most, n, i64x2.gt_s(n, most));
  const clamped = v128.bitselect(least, atMost, i64x2.lt_s(atMost, least));
  return evenLanes(2, clamped, i64x2.splat(0));
}

/** Across lanes, integer; false when unallocated. */
export function execAcross(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 12) & 0x1f);
  const size = fieldSize(insn);
  const q = fieldQ(insn);
  if (size == 3 || (size == 2 && !q)) return false;
  const n = readQ(cpu, fieldRn(insn), q);
  const rd = fieldRd(insn);
  switch (op) {
    case 0x03: case 0x23: {
      const unsigned = op == 0x23;
      let sum = addLongPairs(size, n, unsigned);
      if (size == 0) sum = addLongPairs(1, sum, unsigned);
      if (size < 2) sum = addLongPairs(2, sum, unsigned);
      const total = i64x2.extract_lane(sum, 0) + i64x2.extract_lane(sum, 1);
      writeScalar(cpu, rd, <u64>total & (<u64>-1 >> (64 - (16 << size))));
      return true;
    }
    case 0x0a: case 0x2a: case 0x1a: case 0x3a: {
      const unsigned = <bool>(op >> 5);
      let r = q ? n : v128.shuffle<u64>(n, n, 0, 0);
      r = extremeOf(op, size, r, v128.shuffle<u64>(r, r, 1, 0), unsigned);
      r = extremeOf(op, size, r, v128.shuffle<u32>(r, r, 1, 0, 3, 2), unsigned);
      if (size < 2) r = extremeOf(op, size, r, v128.shuffle<u16>(r, r, 1, 0, 3, 2, 5, 4, 7, 6), unsigned);
      if (size == 0) r = extremeOf(op, size, r, i16x8.shr_u(r, 8), unsigned);
      writeScalar(cpu, rd, laneOf(size, r, 0));
      return true;
    }
    case 0x1b: {
      let sum = addV(size, n, v128.shuffle<u64>(n, n, 1, 0));
      sum = addV(size, sum, v128.shuffle<u32>(sum, sum, 1, 0, 3, 2));
      if (size < 2) sum = addV(size, sum, v128.shuffle<u16>(sum, sum, 1, 0, 3, 2, 5, 4, 7, 6));
      if (size == 0) sum = addV(size, sum, i16x8.shr_u(sum, 8));
      writeScalar(cpu, rd, laneOf(size, sum, 0));
      return true;
    }
    default: return false;
  }
}

function extremeOf(op: u32, size: u32, a: v128, b: v128, unsigned: bool): v128 {
  return op & 0x10 ? minV(size, a, b, unsigned) : maxV(size, a, b, unsigned);
}
