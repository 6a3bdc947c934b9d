// Advanced SIMD floating point: two-register miscellaneous, fixed-point conversions, and their scalar forms (C4.1.96).
import {
  beginFp, ROUND_AWAY, ROUND_DOWN, ROUND_NEAREST, ROUND_ODD, ROUND_UP, ROUND_ZERO, roundingMode,
} from './fp-state';
import { DOUBLE, HALF, SINGLE } from './fp-round';
import { sqrt32, sqrt64 } from './fp-arith';
import { related } from './fp-compare';
import { convert, fromFixed, roundInteger, toFixed } from './fp-convert';
import { recip, recipExponent, recipSqrt, unsignedRecip, unsignedRecipSqrt } from './fp-estimate';
import { fieldQ, fieldRd, fieldRn, readV, writeQ, writeScalar, writeV } from './simd-regs';
import { lowPair } from './simd-lanes';

/** What a lane operation needs beside the lane: set by the instruction, of this instance only. */
let laneMode: u32 = 0;
let laneFraction: u32 = 0;

// Lane operations.
const COMPARE_EQ: u32 = 0;
const COMPARE_GE: u32 = 1;
const COMPARE_GT: u32 = 2;
const COMPARE_LE: u32 = 3;
const COMPARE_LT: u32 = 4;
const ABS: u32 = 5;
const NEG: u32 = 6;
const ROUND: u32 = 7;
const ROUND_EXACT: u32 = 8;
const TO_SIGNED: u32 = 9;
const TO_UNSIGNED: u32 = 10;
const FROM_SIGNED: u32 = 11;
const FROM_UNSIGNED: u32 = 12;
const RECIP: u32 = 13;
const RECIP_SQRT: u32 = 14;
const RECIP_EXPONENT: u32 = 15;
const SQRT: u32 = 16;
const UNSIGNED_RECIP: u32 = 17;
const UNSIGNED_RECIP_SQRT: u32 = 18;
const NONE: u32 = 19;

function lane(op: u32, format: u32, n: u64): u64 {
  const ones: u64 = format == DOUBLE ? u64.MAX_VALUE : u32.MAX_VALUE;
  const sign: u64 = format == DOUBLE ? 0x8000000000000000 : 0x80000000;
  switch (op) {
    case COMPARE_EQ: return related(format, 0, n, 0) ? ones : 0;
    case COMPARE_GE: return related(format, 1, n, 0) ? ones : 0;
    case COMPARE_GT: return related(format, 2, n, 0) ? ones : 0;
    case COMPARE_LE: return related(format, 1, 0, n) ? ones : 0;
    case COMPARE_LT: return related(format, 2, 0, n) ? ones : 0;
    case ABS: return n & ~sign;
    case NEG: return n ^ sign;
    case ROUND: return roundInteger(format, n, laneMode, false);
    case ROUND_EXACT: return roundInteger(format, n, laneMode, true);
    case TO_SIGNED: return toFixed(format, n, laneFraction, false, laneMode, format == DOUBLE);
    case TO_UNSIGNED: return toFixed(format, n, laneFraction, true, laneMode, format == DOUBLE);
    case FROM_SIGNED: return fromFixed(format, format == DOUBLE ? n : <u64><i64><i32>n, laneFraction, false);
    case FROM_UNSIGNED: return fromFixed(format, n, laneFraction, true);
    case RECIP: return recip(format, n);
    case RECIP_SQRT: return recipSqrt(format, n);
    case RECIP_EXPONENT: return recipExponent(format, n);
    case SQRT: return format == DOUBLE ? sqrt64(n) : sqrt32(<u32>n);
    case UNSIGNED_RECIP: return unsignedRecip(<u32>n);
    default: return unsignedRecipSqrt(<u32>n);
  }
}

/** `op` on the lanes that the instruction has, and the result written. */
function run(cpu: usize, insn: u32, op: u32, double: u32, scalar: bool): bool {
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  if (!scalar && double && !q) return false;
  const n = readV(cpu, fieldRn(insn));
  const low: u64 = i64x2.extract_lane(n, 0);
  beginFp(cpu);
  if (scalar) {
    writeScalar(cpu, rd, double ? lane(op, DOUBLE, low) : lane(op, SINGLE, low & 0xffffffff));
  } else if (double) {
    const first = lane(op, DOUBLE, low);
    writeV(cpu, rd, i64x2.replace_lane(i64x2.splat(first), 1, lane(op, DOUBLE, i64x2.extract_lane(n, 1))));
  } else {
    let r = i64x2.splat(lane(op, SINGLE, low & 0xffffffff) | (lane(op, SINGLE, low >> 32) << 32));
    if (q) {
      const high: u64 = i64x2.extract_lane(n, 1);
      r = i64x2.replace_lane(r, 1, lane(op, SINGLE, high & 0xffffffff) | (lane(op, SINGLE, high >> 32) << 32));
    }
    writeQ(cpu, rd, q, r);
  }
  return true;
}

// Lane operation of a two-register miscellaneous instruction; sets its rounding mode.
function miscOperation(insn: u32): u32 {
  const unsigned = <bool>((insn >> 29) & 1);
  const high = <bool>((insn >> 23) & 1);
  switch ((insn >> 12) & 31) {
    case 0x0c: return !high ? NONE : unsigned ? COMPARE_GE : COMPARE_GT;
    case 0x0d: return !high ? NONE : unsigned ? COMPARE_LE : COMPARE_EQ;
    case 0x0e: return !high || unsigned ? NONE : COMPARE_LT;
    case 0x0f: return !high ? NONE : unsigned ? NEG : ABS;
    case 0x18: {
      if (unsigned && high) return NONE;
      laneMode = unsigned ? ROUND_AWAY : high ? ROUND_UP : ROUND_NEAREST;
      return ROUND;
    }
    case 0x19: {
      laneMode = unsigned ? -1 : high ? ROUND_ZERO : ROUND_DOWN;
      return unsigned && !high ? ROUND_EXACT : ROUND;
    }
    case 0x1a: {
      laneMode = high ? ROUND_UP : ROUND_NEAREST;
      return unsigned ? TO_UNSIGNED : TO_SIGNED;
    }
    case 0x1b: {
      laneMode = high ? ROUND_ZERO : ROUND_DOWN;
      return unsigned ? TO_UNSIGNED : TO_SIGNED;
    }
    case 0x1c: {
      if (high) return insn & 0x00400000 ? NONE : unsigned ? UNSIGNED_RECIP_SQRT : UNSIGNED_RECIP;
      laneMode = ROUND_AWAY;
      return unsigned ? TO_UNSIGNED : TO_SIGNED;
    }
    case 0x1d: {
      if (high) return unsigned ? RECIP_SQRT : RECIP;
      return unsigned ? FROM_UNSIGNED : FROM_SIGNED;
    }
    case 0x1f: return !high ? NONE : unsigned ? SQRT : RECIP_EXPONENT;
    default: return NONE;
  }
}

/** Two-register miscellaneous, floating point; false when unallocated. */
export function execFpMisc(cpu: usize, insn: u32, scalar: bool): bool {
  switch ((insn >> 12) & 31) {
    case 0x16: return convertNarrow(cpu, insn, scalar);
    case 0x17: return scalar || insn & 0x20800000 ? false : convertLong(cpu, insn);
  }
  laneFraction = 0;
  laneMode = 0;
  const op = miscOperation(insn);
  if (op == NONE) return false;
  if (scalar) {
    if (op == ABS || op == NEG || op == ROUND || op == ROUND_EXACT || op == SQRT || op >= UNSIGNED_RECIP) return false;
  } else if (op == RECIP_EXPONENT) {
    return false;
  }
  if (laneMode == -1) {
    beginFp(cpu);
    laneMode = roundingMode();
  }
  return run(cpu, insn, op, insn & 0x00400000, scalar);
}

/** FCVTN, FCVTXN and their second-half forms. */
function convertNarrow(cpu: usize, insn: u32, scalar: bool): bool {
  const toOdd = <bool>((insn >> 29) & 1);
  const double = insn & 0x00400000;
  if (insn & 0x00800000 || (toOdd && !double) || (scalar && !toOdd)) return false;
  const rd = fieldRd(insn);
  const n = readV(cpu, fieldRn(insn));
  const low: u64 = i64x2.extract_lane(n, 0);
  const high: u64 = i64x2.extract_lane(n, 1);
  beginFp(cpu);
  const mode = toOdd ? ROUND_ODD : roundingMode();
  let r: u64;
  if (double) {
    r = convert(DOUBLE, SINGLE, low, mode);
    if (!scalar) r |= convert(DOUBLE, SINGLE, high, mode) << 32;
  } else {
    r = convert(SINGLE, HALF, low & 0xffffffff, mode) | (convert(SINGLE, HALF, low >> 32, mode) << 16)
      | (convert(SINGLE, HALF, high & 0xffffffff, mode) << 32) | (convert(SINGLE, HALF, high >> 32, mode) << 48);
  }
  if (!scalar && fieldQ(insn)) writeV(cpu, rd, lowPair(readV(cpu, rd), i64x2.splat(r)));
  else writeScalar(cpu, rd, r);
  return true;
}

/** FCVTL, FCVTL2. */
function convertLong(cpu: usize, insn: u32): bool {
  const n = readV(cpu, fieldRn(insn));
  const half: u64 = fieldQ(insn) ? i64x2.extract_lane(n, 1) : i64x2.extract_lane(n, 0);
  beginFp(cpu);
  const mode = roundingMode();
  let low: u64, high: u64;
  if (insn & 0x00400000) {
    low = convert(SINGLE, DOUBLE, half & 0xffffffff, mode);
    high = convert(SINGLE, DOUBLE, half >> 32, mode);
  } else {
    low = convert(HALF, SINGLE, half & 0xffff, mode) | (convert(HALF, SINGLE, (half >> 16) & 0xffff, mode) << 32);
    high = convert(HALF, SINGLE, (half >> 32) & 0xffff, mode) | (convert(HALF, SINGLE, half >> 48, mode) << 32);
  }
  writeV(cpu, fieldRd(insn), i64x2.replace_lane(i64x2.splat(low), 1, high));
  return true;
}

/** Shift by immediate, opcodes 111xx: SCVTF, UCVTF, FCVTZS, FCVTZU with fraction bits; false when unallocated. */
export function execFpShift(cpu: usize, insn: u32, scalar: bool): bool {
  const unsigned = <bool>((insn >> 29) & 1);
  const immediate = (insn >> 16) & 0x7f;
  const double = immediate & 0x40;
  if (immediate < 0x20) return false;
  laneFraction = (double ? 128 : 64) - immediate;
  laneMode = ROUND_ZERO;
  switch ((insn >> 11) & 31) {
    case 0x1c: return run(cpu, insn, unsigned ? FROM_UNSIGNED : FROM_SIGNED, double, scalar);
    case 0x1f: return run(cpu, insn, unsigned ? TO_UNSIGNED : TO_SIGNED, double, scalar);
    default: return false;
  }
}
