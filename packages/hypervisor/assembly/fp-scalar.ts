// Scalar floating point (Arm ARM C4.1.96: "Conversion between floating-point and ...", "Floating-point ...").
import { condition, getX, setNZCV, setX } from './state';
import { CPU_V } from './layout';
import { beginFp, ROUND_AWAY, ROUND_ZERO, roundingMode } from './fp-state';
import { DOUBLE, HALF, negate, SINGLE } from './fp-round';
import {
  add32, add64, div32, div64, mul32, mul64, mulAdd32, mulAdd64, sqrt32, sqrt64, sub32, sub64,
} from './fp-arith';
import { compare, compare64, extreme, extremeNumber, max64, min64 } from './fp-compare';
import { convert, fromFixed, narrow64, roundInteger, toFixed, truncate32, truncate64, widen32 } from './fp-convert';
import { fieldRd, fieldRm, fieldRn, readD64, readS, writeScalar } from './simd-regs';

// 2^63 and 2^32 as doubles.
const ABOVE_I64: u64 = 0x43e0000000000000;
const ABOVE_U32: u64 = 0x41f0000000000000;

/** Executes an instruction with bits 30 and 28:25 = 0 and 1111; false when unallocated. */
export function execScalarFp(cpu: usize, insn: u32): bool {
  if (insn & 0x01000000) return insn & 0xa0800000 ? false : threeSource(cpu, insn);
  if (insn & 0x20000000) return false;
  if (!(insn & 0x00200000)) return fixedPoint(cpu, insn);
  const op = (insn >> 10) & 0x3f;
  if (op == 0) return integer(cpu, insn);
  if (insn >> 31) return false;
  switch (op & 3) {
    case 1: return conditionalCompare(cpu, insn);
    case 2: return twoSource(cpu, insn);
    case 3: return conditionalSelect(cpu, insn);
  }
  if (op & 4) return immediate(cpu, insn);
  if (op & 8) return compareNumbers(cpu, insn);
  return op & 16 ? oneSource(cpu, insn) : false;
}

// Format of the type field (bits 23:22), or 3 when the field has no arithmetic in Armv8.0.
// @ts-ignore: decorator
@inline function formatOf(insn: u32): u32 {
  return insn & 0x00800000 ? 3 : SINGLE + ((insn >> 22) & 1);
}

// @ts-ignore: decorator
@inline function read(cpu: usize, format: u32, n: u32): u64 {
  return format == DOUBLE ? readD64(cpu, n) : readS(cpu, n);
}

function twoSource(cpu: usize, insn: u32): bool {
  const op = (insn >> 12) & 15;
  if (insn & 0x00800000 || op > 8) return false;
  const rd = fieldRd(insn);
  beginFp(cpu);
  if (insn & 0x00400000) {
    const n = readD64(cpu, fieldRn(insn));
    const m = readD64(cpu, fieldRm(insn));
    let r: u64;
    switch (op) {
      case 0: r = mul64(n, m); break;
      case 1: r = div64(n, m); break;
      case 2: r = add64(n, m); break;
      case 3: r = sub64(n, m); break;
      case 4: r = max64(n, m); break;
      case 5: r = min64(n, m); break;
      case 6: r = extremeNumber(DOUBLE, n, m, false); break;
      case 7: r = extremeNumber(DOUBLE, n, m, true); break;
      default: r = negate(DOUBLE, mul64(n, m));
    }
    writeScalar(cpu, rd, r);
  } else {
    const n = readS(cpu, fieldRn(insn));
    const m = readS(cpu, fieldRm(insn));
    let r: u32;
    switch (op) {
      case 0: r = mul32(n, m); break;
      case 1: r = div32(n, m); break;
      case 2: r = add32(n, m); break;
      case 3: r = sub32(n, m); break;
      case 4: r = <u32>extreme(SINGLE, n, m, false); break;
      case 5: r = <u32>extreme(SINGLE, n, m, true); break;
      case 6: r = <u32>extremeNumber(SINGLE, n, m, false); break;
      case 7: r = <u32>extremeNumber(SINGLE, n, m, true); break;
      default: r = mul32(n, m) ^ 0x80000000;
    }
    writeScalar(cpu, rd, r);
  }
  return true;
}

/** FMADD, FMSUB, FNMADD, FNMSUB. */
function threeSource(cpu: usize, insn: u32): bool {
  const format = formatOf(insn);
  let n = read(cpu, format, fieldRn(insn));
  let a = read(cpu, format, (insn >> 10) & 31);
  const m = read(cpu, format, fieldRm(insn));
  if (insn & 0x00200000) a = negate(format, a);
  if (((insn >> 15) ^ (insn >> 21)) & 1) n = negate(format, n);
  beginFp(cpu);
  writeScalar(cpu, fieldRd(insn), format == DOUBLE ? mulAdd64(a, n, m) : mulAdd32(<u32>a, <u32>n, <u32>m));
  return true;
}

function oneSource(cpu: usize, insn: u32): bool {
  const op = (insn >> 15) & 0x3f;
  const rd = fieldRd(insn);
  const rn = fieldRn(insn);
  if (insn & 0x00800000) {
    if (!(insn & 0x00400000) || (op != 4 && op != 5)) return false;
    beginFp(cpu);
    writeScalar(cpu, rd, convert(HALF, op == 5 ? DOUBLE : SINGLE, readS(cpu, rn) & 0xffff, roundingMode()));
    return true;
  }
  const format = formatOf(insn);
  const n = read(cpu, format, rn);
  let r: u64;
  beginFp(cpu);
  switch (op) {
    case 0: r = n; break;
    case 1: r = format == DOUBLE ? n & 0x7fffffffffffffff : n & 0x7fffffff; break;
    case 2: r = negate(format, n); break;
    case 3: r = format == DOUBLE ? sqrt64(n) : sqrt32(<u32>n); break;
    case 4: {
      if (format != DOUBLE) return false;
      r = narrow64(n);
      break;
    }
    case 5: {
      if (format != SINGLE) return false;
      r = widen32(<u32>n);
      break;
    }
    case 7: r = convert(format, HALF, n, roundingMode()); break;
    case 8: case 9: case 10: case 11: r = roundInteger(format, n, op & 3, false); break;
    case 12: r = roundInteger(format, n, ROUND_AWAY, false); break;
    case 14: r = roundInteger(format, n, roundingMode(), true); break;
    case 15: r = roundInteger(format, n, roundingMode(), false); break;
    default: return false;
  }
  writeScalar(cpu, rd, r);
  return true;
}

function compareOperands(cpu: usize, format: u32, n: u64, m: u64, signalling: bool): u32 {
  beginFp(cpu);
  const nzcv = format == DOUBLE ? compare64(n, m, signalling) : compare(SINGLE, n, m, signalling);
  return nzcv;
}

/** FCMP, FCMPE. */
function compareNumbers(cpu: usize, insn: u32): bool {
  if (insn & 0x0080c007) return false;
  const format = formatOf(insn);
  const m = insn & 8 ? 0 : read(cpu, format, fieldRm(insn));
  setNZCV(cpu, compareOperands(cpu, format, read(cpu, format, fieldRn(insn)), m, (insn & 16) != 0));
  return true;
}

/** FCCMP, FCCMPE. */
function conditionalCompare(cpu: usize, insn: u32): bool {
  if (insn & 0x00800000) return false;
  if (!condition(cpu, (insn >> 12) & 15)) {
    setNZCV(cpu, insn << 28);
    return true;
  }
  const format = formatOf(insn);
  const n = read(cpu, format, fieldRn(insn));
  setNZCV(cpu, compareOperands(cpu, format, n, read(cpu, format, fieldRm(insn)), (insn & 16) != 0));
  return true;
}

/** FCSEL. */
function conditionalSelect(cpu: usize, insn: u32): bool {
  if (insn & 0x00800000) return false;
  const from = condition(cpu, (insn >> 12) & 15) ? fieldRn(insn) : fieldRm(insn);
  writeScalar(cpu, fieldRd(insn), read(cpu, formatOf(insn), from));
  return true;
}

/** FMOV (scalar, immediate): VFPExpandImm(). */
function immediate(cpu: usize, insn: u32): bool {
  if (insn & 0x008003e0) return false;
  const imm8: u64 = (insn >> 13) & 0xff;
  const sign = imm8 >> 7;
  const fraction = imm8 & 0x3f;
  const r = insn & 0x00400000
    ? (sign << 63) | ((imm8 & 0x40 ? <u64>0xff : <u64>0x100) << 54) | (fraction << 48)
    : (sign << 31) | ((imm8 & 0x40 ? <u64>0x1f : <u64>0x20) << 25) | (fraction << 19);
  writeScalar(cpu, fieldRd(insn), r);
  return true;
}

// Xn, or Wn extended to 64 bits.
// @ts-ignore: decorator
@inline function integerOperand(cpu: usize, insn: u32, unsigned: bool): u64 {
  const x = getX(cpu, fieldRn(insn));
  if (insn >> 31) return x;
  return unsigned ? x & 0xffffffff : <u64><i64><i32>x;
}

/** FCVT* to integers, SCVTF, UCVTF, FMOV between register files. */
function integer(cpu: usize, insn: u32): bool {
  const op = (insn >> 16) & 31;
  const rn = fieldRn(insn);
  const rd = fieldRd(insn);
  const wide = <bool>(insn >> 31);
  switch (op) {
    case 6: case 7: {
      if (((insn >> 22) & 3) != u32(wide)) return false;
      if (op == 7) writeScalar(cpu, rd, wide ? getX(cpu, rn) : getX(cpu, rn) & 0xffffffff);
      else setX(cpu, rd, wide ? readD64(cpu, rn) : readS(cpu, rn));
      return true;
    }
    case 14: case 15: {
      if (!wide || (insn & 0x00c00000) != 0x00800000) return false;
      if (op == 15) store<u64>(cpu + (rd << 4), getX(cpu, rn), CPU_V + 8);
      else setX(cpu, rd, load<u64>(cpu + (rn << 4), CPU_V + 8));
      return true;
    }
  }
  const format = formatOf(insn);
  if (format == 3) return false;
  const unsigned = <bool>(op & 1);
  let mode = op >> 3;
  switch (op & 7) {
    case 0: case 1: break;
    case 2: case 3: {
      if (mode) return false;
      beginFp(cpu);
      writeScalar(cpu, rd, fromFixed(format, integerOperand(cpu, insn, unsigned), 0, unsigned));
      return true;
    }
    case 4: case 5: {
      if (mode) return false;
      mode = ROUND_AWAY;
      break;
    }
    default: return false;
  }
  beginFp(cpu);
  const n = read(cpu, format, rn);
  let r: u64;
  // Of numbers that are not negative, the signed conversions say the same where they do not saturate.
  if (op == 24 && format == DOUBLE) r = wide ? truncate64(n) : truncate32(n);
  else if (op == 25 && format == DOUBLE && (wide ? ABOVE_I64 : ABOVE_U32) > n) r = truncate64(n);
  else r = toFixed(format, n, 0, unsigned, mode, wide);
  setX(cpu, rd, r);
  return true;
}

/** FCVTZS, FCVTZU, SCVTF, UCVTF with a scale. */
function fixedPoint(cpu: usize, insn: u32): bool {
  const wide = <bool>(insn >> 31);
  const format = formatOf(insn);
  if (format == 3 || (!wide && !(insn & 0x8000))) return false;
  const fractional = 64 - ((insn >> 10) & 63);
  const rd = fieldRd(insn);
  const op = (insn >> 16) & 31;
  const unsigned = <bool>(op & 1);
  beginFp(cpu);
  switch (op) {
    case 2: case 3: {
      writeScalar(cpu, rd, fromFixed(format, integerOperand(cpu, insn, unsigned), fractional, unsigned));
      break;
    }
    case 24: case 25: {
      setX(cpu, rd, toFixed(format, read(cpu, format, fieldRn(insn)), fractional, unsigned, ROUND_ZERO, wide));
      break;
    }
    default: return false;
  }
  return true;
}
