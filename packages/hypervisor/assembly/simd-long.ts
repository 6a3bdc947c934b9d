// Advanced SIMD three different, and integer operations by element (Arm ARM C4.1.96).
import { signedAddSaturate, signedSubSaturate, threeSame } from './simd-same';
import { fieldQ, fieldRd, fieldRm, fieldRn, fieldSize, readQ, readV, writeQ, writeV } from './simd-regs';
import {
  absDiffV, addV, evenLanes, laneOf, lowLaneMask, lowPair, mulLow, shrV, splatV, subV, widenLow,
} from './simd-lanes';

/** Three different, vector; false when unallocated. */
export function execThreeDifferent(cpu: usize, insn: u32): bool {
  const op = ((insn >> 25) & 0x10) | ((insn >> 12) & 0xf);
  const size = fieldSize(insn);
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  if (size == 3) return false;
  let n = readV(cpu, fieldRn(insn));
  let m = readV(cpu, fieldRm(insn));
  switch (op) {
    case 0x04: case 0x14: case 0x06: case 0x16: {
      let r = op & 2 ? subV(size + 1, n, m) : addV(size + 1, n, m);
      const bits: i32 = 8 << size;
      if (op & 0x10) r = addV(size + 1, r, splatV(size + 1, <u64>1 << (bits - 1)));
      r = evenLanes(size, shrV(size + 1, r, bits, true), i64x2.splat(0));
      if (q) writeV(cpu, rd, lowPair(readV(cpu, rd), r));
      else writeV(cpu, rd, r);
      return true;
    }
    case 0x0e: if (size != 0) return false; break;
    case 0x09: case 0x0b: case 0x0d: if (size == 0) return false; break;
    case 0x19: case 0x1b: case 0x1d: case 0x1e: case 0x0f: case 0x1f: return false;
  }
  if (q) {
    m = v128.shuffle<u64>(m, m, 1, 1);
    if ((op & 0xd) != 1) n = v128.shuffle<u64>(n, n, 1, 1);
  }
  writeV(cpu, rd, long(cpu, op, size, n, m, readV(cpu, rd)));
  return true;
}

/**
 * Widening operation `op` (U in bit 4, opcode in bits 3:0) on the low halves of `n` and `m` (wide forms: all of `n`);
 * `d` is the old destination.
 */
function long(cpu: usize, op: u32, size: u32, n: v128, m: v128, d: v128): v128 {
  const unsigned = <bool>(op >> 4);
  const wide = size + 1;
  switch (op & 0xf) {
    case 0x0: return addV(wide, widenLow(size, n, unsigned), widenLow(size, m, unsigned));
    case 0x1: return addV(wide, n, widenLow(size, m, unsigned));
    case 0x2: return subV(wide, widenLow(size, n, unsigned), widenLow(size, m, unsigned));
    case 0x3: return subV(wide, n, widenLow(size, m, unsigned));
    case 0x5: return addV(wide, d, widenLow(size, absDiffV(size, n, m, unsigned), true));
    case 0x7: return widenLow(size, absDiffV(size, n, m, unsigned), true);
    case 0x8: return addV(wide, d, mulLow(size, n, m, unsigned));
    case 0xa: return subV(wide, d, mulLow(size, n, m, unsigned));
    case 0xc: return mulLow(size, n, m, unsigned);
    case 0x9: return signedAddSaturate(cpu, wide, d, doublingMulLong(cpu, size, n, m));
    case 0xb: return signedSubSaturate(cpu, wide, d, doublingMulLong(cpu, size, n, m));
    case 0xd: return doublingMulLong(cpu, size, n, m);
    case 0xe: return polynomialMulLong(n, m);
    default: return unreachable();
  }
}

function doublingMulLong(cpu: usize, size: u32, n: v128, m: v128): v128 {
  const product = mulLow(size, n, m, false);
  return signedAddSaturate(cpu, size + 1, product, product);
}

function polynomialMulLong(n: v128, m: v128): v128 {
  const a = i16x8.extend_low_i8x16_u(n);
  const b = i16x8.extend_low_i8x16_u(m);
  let result = i64x2.splat(0);
  for (let bit = 0; bit < 8; bit++) {
    const chosen = i16x8.shr_s(i16x8.shl(b, 15 - bit), 15);
    result = v128.xor(result, v128.and(i16x8.shl(a, bit), chosen));
  }
  return result;
}

/** Scalar three different: SQDMLAL, SQDMLSL, SQDMULL; false when unallocated. */
export function execScalarThreeDifferent(cpu: usize, insn: u32): bool {
  const op = ((insn >> 25) & 0x10) | ((insn >> 12) & 0xf);
  const size = fieldSize(insn);
  if ((op != 0x9 && op != 0xb && op != 0xd) || size == 0 || size == 3) return false;
  scalarLong(cpu, op, size, fieldRd(insn), readV(cpu, fieldRn(insn)), readV(cpu, fieldRm(insn)));
  return true;
}

function scalarLong(cpu: usize, op: u32, size: u32, rd: u32, n: v128, m: v128): void {
  const lane = lowLaneMask(size);
  const d = v128.and(readV(cpu, rd), lowLaneMask(size + 1));
  writeV(cpu, rd, long(cpu, op, size, v128.and(n, lane), v128.and(m, lane), d));
}

/** The element that an integer operation by element takes, in every lane. */
function element(cpu: usize, insn: u32, size: u32): v128 {
  let index = ((insn >> 10) & 2) | ((insn >> 21) & 1);
  let rm = fieldRm(insn);
  if (size == 1) {
    index = (index << 1) | ((insn >> 20) & 1);
    rm &= 15;
  }
  return splatV(size, laneOf(size, readV(cpu, rm), index));
}

// Operation by element as an operation of three same (integer): U in bit 5.
function sameOperation(op: u32): u32 {
  switch (op) {
    case 0x08: return 0x13;
    case 0x0c: return 0x16;
    case 0x0d: return 0x36;
    case 0x10: return 0x12;
    case 0x14: return 0x32;
    default: return 0;
  }
}

// Operation by element as an operation of three different: U in bit 4.
function longOperation(op: u32): u32 {
  switch (op) {
    case 0x02: return 0x08;
    case 0x03: return 0x09;
    case 0x06: return 0x0a;
    case 0x07: return 0x0b;
    case 0x0a: return 0x0c;
    case 0x0b: return 0x0d;
    case 0x12: return 0x18;
    case 0x16: return 0x1a;
    case 0x1a: return 0x1c;
    default: return 0;
  }
}

/** Integer operations by element, vector; false when unallocated. */
export function execByElement(cpu: usize, insn: u32): bool {
  const op = ((insn >> 25) & 0x10) | ((insn >> 12) & 0xf);
  const size = fieldSize(insn);
  if (size == 0 || size == 3) return false;
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  const same = sameOperation(op);
  if (same) {
    const n = readQ(cpu, fieldRn(insn), q);
    writeQ(cpu, rd, q, threeSame(cpu, same, size, true, n, element(cpu, insn, size), readV(cpu, rd)));
    return true;
  }
  const wide = longOperation(op);
  if (!wide) return false;
  let n = readV(cpu, fieldRn(insn));
  if (q) n = v128.shuffle<u64>(n, n, 1, 1);
  writeV(cpu, rd, long(cpu, wide, size, n, element(cpu, insn, size), readV(cpu, rd)));
  return true;
}

/** Integer operations by element, scalar: SQDMULL, SQDMLAL, SQDMLSL, SQDMULH, SQRDMULH; false when unallocated. */
export function execScalarByElement(cpu: usize, insn: u32): bool {
  const op = ((insn >> 25) & 0x10) | ((insn >> 12) & 0xf);
  const size = fieldSize(insn);
  if (size == 0 || size == 3) return false;
  const rd = fieldRd(insn);
  const m = element(cpu, insn, size);
  switch (op) {
    case 0x0c: case 0x0d: {
      const n = v128.and(readV(cpu, fieldRn(insn)), lowLaneMask(size));
      const r = threeSame(cpu, sameOperation(op), size, true, n, m, n);
      writeV(cpu, rd, v128.and(r, lowLaneMask(size)));
      return true;
    }
    case 0x03: case 0x07: case 0x0b: {
      scalarLong(cpu, longOperation(op), size, rd, readV(cpu, fieldRn(insn)), m);
      return true;
    }
    default: return false;
  }
}
