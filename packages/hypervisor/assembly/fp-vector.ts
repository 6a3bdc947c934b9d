// Advanced SIMD floating point: three same, by element, pairwise, across lanes, and their scalar forms (C4.1.96).
import { beginFp, flushToZero, inexactKnown, plainMode } from './fp-state';
import { DOUBLE, negate, SINGLE } from './fp-round';
import { softMul, softStep } from './fp-soft';
import { add32, add64, div32, div64, mul32, mul64, mulAdd32, mulAdd64, sub32, sub64 } from './fp-arith';
import { extreme, extremeNumber, related } from './fp-compare';
import { fieldQ, fieldRd, fieldRm, fieldRn, readV, writeQ, writeScalar } from './simd-regs';
import { evenLanes, laneOf, lowPair, oddLanes, splatV } from './simd-lanes';

// Operations of three same: opcode bits 2:0, size bit 1 in bit 3, U in bit 4. The pairwise ones run as their
// elementwise counterparts on rearranged operands.
const FMAXNM: u32 = 0;
const FMLA: u32 = 1;
const FADD: u32 = 2;
const FMULX: u32 = 3;
const FCMEQ: u32 = 4;
const FMAX: u32 = 6;
const FRECPS: u32 = 7;
const FMINNM: u32 = 8;
const FMLS: u32 = 9;
const FSUB: u32 = 10;
const FMIN: u32 = 14;
const FRSQRTS: u32 = 15;
const FMUL: u32 = 19;
const FCMGE: u32 = 20;
const FACGE: u32 = 21;
const FDIV: u32 = 23;
const FABD: u32 = 26;
const FCMGT: u32 = 28;
const FACGT: u32 = 29;
const NONE: u32 = 32;

/** Elementwise counterpart of a pairwise operation, or NONE. */
function pairwiseOf(op: u32): u32 {
  switch (op) {
    case 16: return FMAXNM;
    case 18: return FADD;
    case 22: return FMAX;
    case 24: return FMINNM;
    case 30: return FMIN;
    default: return NONE;
  }
}

function lane64(op: u32, d: u64, n: u64, m: u64): u64 {
  switch (op) {
    case FMAXNM: return extremeNumber(DOUBLE, n, m, false);
    case FMINNM: return extremeNumber(DOUBLE, n, m, true);
    case FMAX: return extreme(DOUBLE, n, m, false);
    case FMIN: return extreme(DOUBLE, n, m, true);
    case FMLA: return mulAdd64(d, n, m);
    case FMLS: return mulAdd64(d, negate(DOUBLE, n), m);
    case FADD: return add64(n, m);
    case FSUB: return sub64(n, m);
    case FMUL: return mul64(n, m);
    case FDIV: return div64(n, m);
    case FABD: return sub64(n, m) & 0x7fffffffffffffff;
    case FMULX: return softMul(DOUBLE, n, m, true);
    case FRECPS: return softStep(DOUBLE, n, m, false);
    case FRSQRTS: return softStep(DOUBLE, n, m, true);
    default: return relation(DOUBLE, op, n, m, 0x7fffffffffffffff) ? -1 : 0;
  }
}

function lane32(op: u32, d: u32, n: u32, m: u32): u32 {
  switch (op) {
    case FMAXNM: return <u32>extremeNumber(SINGLE, n, m, false);
    case FMINNM: return <u32>extremeNumber(SINGLE, n, m, true);
    case FMAX: return <u32>extreme(SINGLE, n, m, false);
    case FMIN: return <u32>extreme(SINGLE, n, m, true);
    case FMLA: return mulAdd32(d, n, m);
    case FMLS: return mulAdd32(d, n ^ 0x80000000, m);
    case FADD: return add32(n, m);
    case FSUB: return sub32(n, m);
    case FMUL: return mul32(n, m);
    case FDIV: return div32(n, m);
    case FABD: return sub32(n, m) & 0x7fffffff;
    case FMULX: return <u32>softMul(SINGLE, n, m, true);
    case FRECPS: return <u32>softStep(SINGLE, n, m, false);
    case FRSQRTS: return <u32>softStep(SINGLE, n, m, true);
    default: return relation(SINGLE, op, n, m, 0x7fffffff) ? -1 : 0;
  }
}

function relation(format: u32, op: u32, n: u64, m: u64, magnitude: u64): bool {
  switch (op) {
    case FCMEQ: return related(format, 0, n, m);
    case FCMGE: return related(format, 1, n, m);
    case FCMGT: return related(format, 2, n, m);
    case FACGE: return related(format, 1, n & magnitude, m & magnitude);
    default: return related(format, 2, n & magnitude, m & magnitude);
  }
}

/** `op` on the lowest `count` lanes; zero above. */
function lanes(op: u32, double: u32, count: u32, d: v128, n: v128, m: v128): v128 {
  if (double) {
    const low = lane64(op, i64x2.extract_lane(d, 0), i64x2.extract_lane(n, 0), i64x2.extract_lane(m, 0));
    const r = i64x2.replace_lane(i64x2.splat(0), 0, low);
    if (count == 1) return r;
    const high = lane64(op, i64x2.extract_lane(d, 1), i64x2.extract_lane(n, 1), i64x2.extract_lane(m, 1));
    return i64x2.replace_lane(r, 1, high);
  }
  const first = lane32(op, i32x4.extract_lane(d, 0), i32x4.extract_lane(n, 0), i32x4.extract_lane(m, 0));
  let r = i32x4.replace_lane(i64x2.splat(0), 0, first);
  if (count == 1) return r;
  const second = lane32(op, i32x4.extract_lane(d, 1), i32x4.extract_lane(n, 1), i32x4.extract_lane(m, 1));
  r = i32x4.replace_lane(r, 1, second);
  if (count == 2) return r;
  const third = lane32(op, i32x4.extract_lane(d, 2), i32x4.extract_lane(n, 2), i32x4.extract_lane(m, 2));
  r = i32x4.replace_lane(r, 2, third);
  return i32x4.replace_lane(
    r, 3, lane32(op, i32x4.extract_lane(d, 3), i32x4.extract_lane(n, 3), i32x4.extract_lane(m, 3)));
}

// Whether all lanes have exponents from 2 to the largest: results that can raise only Inexact.
function ordinary(double: u32, r: v128): bool {
  if (double) {
    const exponents = v128.and(i64x2.shr_u(r, 52), i64x2.splat(0x7ff));
    return !v128.any_true(v128.or(i64x2.lt_s(exponents, i64x2.splat(2)), i64x2.eq(exponents, i64x2.splat(0x7ff))));
  }
  const exponents = i32x4.sub(v128.and(i32x4.shr_u(r, 23), i32x4.splat(0xff)), i32x4.splat(2));
  return i32x4.all_true(i32x4.lt_u(exponents, i32x4.splat(0xfd)));
}

// @ts-ignore: decorator
@inline function spread(v: v128, q: u32): v128 {
  return q ? v : v128.shuffle<u64>(v, v, 0, 0);
}

/** `op` on the lanes of a vector of 128 bits, or of 64 when `q` is 0; what is above means nothing. */
function vector(op: u32, double: u32, q: u32, d: v128, n: v128, m: v128): v128 {
  const count = double || !q ? 2 : 4;
  let r: v128;
  // The host's operations work on 128 bits: unused lanes repeat the used ones, so that they decide nothing.
  n = spread(n, q);
  m = spread(m, q);
  switch (op) {
    case FADD: r = double ? f64x2.add(n, m) : f32x4.add(n, m); break;
    case FSUB: r = double ? f64x2.sub(n, m) : f32x4.sub(n, m); break;
    case FMUL: r = double ? f64x2.mul(n, m) : f32x4.mul(n, m); break;
    case FDIV: r = double ? f64x2.div(n, m) : f32x4.div(n, m); break;
    case FCMEQ: case FCMGE: case FCMGT: {
      const numbers = double
        ? v128.and(f64x2.eq(n, n), f64x2.eq(m, m)) : v128.and(f32x4.eq(n, n), f32x4.eq(m, m));
      if (flushToZero() || !i32x4.all_true(numbers)) return lanes(op, double, count, d, n, m);
      if (op == FCMEQ) return double ? f64x2.eq(n, m) : f32x4.eq(n, m);
      if (op == FCMGE) return double ? f64x2.ge(n, m) : f32x4.ge(n, m);
      return double ? f64x2.gt(n, m) : f32x4.gt(n, m);
    }
    default: return lanes(op, double, count, d, n, m);
  }
  if (plainMode() && inexactKnown() && ordinary(double, r)) return r;
  return lanes(op, double, count, d, n, m);
}

// Whether the operation `op` of three same is allocated, as a scalar or as a vector.
function sameAllocated(op: u32, scalar: bool): bool {
  switch (op) {
    case FMULX: case FCMEQ: case FRECPS: case FRSQRTS: case FCMGE: case FACGE: case FCMGT: case FACGT: case FABD:
      return true;
    case FMAXNM: case FMLA: case FADD: case FMAX: case FMINNM: case FMLS: case FSUB: case FMIN: case FMUL: case FDIV:
      return !scalar;
    default: return false;
  }
}

/** Three same, floating point (opcode 11xxx); false when unallocated. */
export function execFpThreeSame(cpu: usize, insn: u32, scalar: bool): bool {
  let op = ((insn >> 11) & 7) | ((insn >> 20) & 8) | ((insn >> 25) & 16);
  const double = insn & 0x00400000;
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  let n = readV(cpu, fieldRn(insn));
  let m = readV(cpu, fieldRm(insn));
  if (scalar) {
    if (!sameAllocated(op, true)) return false;
    beginFp(cpu);
    const r = lanes(op, double, 1, n, n, m);
    writeScalar(cpu, rd, i64x2.extract_lane(r, 0));
    return true;
  }
  if (double && !q) return false;
  if (!sameAllocated(op, false)) {
    op = pairwiseOf(op);
    if (op == NONE) return false;
    const size = double ? 3 : 2;
    const first = q ? n : lowPair(n, m);
    const second = q ? m : first;
    n = evenLanes(size, first, second);
    m = oddLanes(size, first, second);
  }
  beginFp(cpu);
  writeQ(cpu, rd, q, vector(op, double, q, readV(cpu, rd), n, m));
  return true;
}

/** FMLA, FMLS, FMUL, FMULX by element; false when unallocated. */
export function execFpByElement(cpu: usize, insn: u32, scalar: bool): bool {
  const q = fieldQ(insn);
  const double = insn & 0x00400000;
  const x = insn & 0x20000000;
  let op: u32;
  switch ((insn >> 12) & 15) {
    case 1: op = FMLA; break;
    case 5: op = FMLS; break;
    default: op = x ? FMULX : FMUL;
  }
  if (!(insn & 0x00800000) || (x && op != FMULX)) return false;
  if (double && ((insn & 0x00200000) != 0 || (!q && !scalar))) return false;
  const index = double ? (insn >> 11) & 1 : ((insn >> 10) & 2) | ((insn >> 21) & 1);
  const size = double ? 3 : 2;
  const rd = fieldRd(insn);
  const n = readV(cpu, fieldRn(insn));
  const m = splatV(size, laneOf(size, readV(cpu, fieldRm(insn)), index));
  const d = readV(cpu, rd);
  beginFp(cpu);
  if (scalar) writeScalar(cpu, rd, i64x2.extract_lane(lanes(op, double, 1, d, n, m), 0));
  else writeQ(cpu, rd, q, vector(op, double, q, d, n, m));
  return true;
}

/** Scalar pairwise: FMAXNMP, FADDP, FMAXP, FMINNMP, FMINP; false when unallocated. */
export function execFpPairwise(cpu: usize, insn: u32): bool {
  const op = reductionOf(insn, true);
  if (op == NONE || !(insn & 0x20000000)) return false;
  const double = insn & 0x00400000;
  const n = readV(cpu, fieldRn(insn));
  const m = double ? v128.shuffle<u64>(n, n, 1, 1) : v128.shuffle<u32>(n, n, 1, 1, 1, 1);
  beginFp(cpu);
  writeScalar(cpu, fieldRd(insn), i64x2.extract_lane(lanes(op, double, 1, n, n, m), 0));
  return true;
}

function reductionOf(insn: u32, withAdd: bool): u32 {
  const minimum = insn & 0x00800000;
  switch ((insn >> 12) & 31) {
    case 0x0c: return minimum ? FMINNM : FMAXNM;
    case 0x0d: return withAdd && !minimum ? FADD : NONE;
    case 0x0f: return minimum ? FMIN : FMAX;
    default: return NONE;
  }
}

/** FMAXNMV, FMAXV, FMINNMV, FMINV: of halves, which are reduced first; false when unallocated. */
export function execFpAcross(cpu: usize, insn: u32): bool {
  const op = reductionOf(insn, false);
  if (op == NONE || !fieldQ(insn) || !(insn & 0x20000000) || insn & 0x00400000) return false;
  const n = readV(cpu, fieldRn(insn));
  beginFp(cpu);
  const low = lane32(op, 0, i32x4.extract_lane(n, 0), i32x4.extract_lane(n, 1));
  const high = lane32(op, 0, i32x4.extract_lane(n, 2), i32x4.extract_lane(n, 3));
  writeScalar(cpu, fieldRd(insn), lane32(op, 0, low, high));
  return true;
}
