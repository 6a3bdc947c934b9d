// Advanced SIMD shift by immediate, integer forms (Arm ARM C4.1.96).
import { shiftByRegister } from './simd-shift-reg';
import { narrowV, upperPart } from './simd-misc';
import { fieldQ, fieldRd, fieldRn, readQ, readV, setSaturated, writeQ, writeV } from './simd-regs';
import { addV, lowLaneMask, lowPair, shlV, shrV, splatV, widenLow } from './simd-lanes';

/** Lanes shifted right by 1 to the lane width. */
function shiftRight(size: u32, n: v128, by: i32, unsigned: bool): v128 {
  const bits: i32 = 8 << size;
  if (by == bits) return unsigned ? i64x2.splat(0) : shrV(size, n, bits - 1, false);
  return shrV(size, n, by, unsigned);
}

/** The same, rounded: the last bit shifted out is added. */
function shiftRightRounded(size: u32, n: v128, by: i32, unsigned: bool): v128 {
  const carry = v128.and(shrV(size, n, by - 1, true), splatV(size, 1));
  return addV(size, shiftRight(size, n, by, unsigned), carry);
}

/** Whether the shift `op` (U in bit 5, opcode in bits 4:0) exists with results as wide as operands. */
function sameWidthAllocated(op: u32): bool {
  switch (op & 0x1f) {
    case 0x00: case 0x02: case 0x04: case 0x06: case 0x0a: case 0x0e: return true;
    case 0x08: case 0x0c: return op >= 0x20;
    default: return false;
  }
}

/** Shifts with results as wide as the operands; `immediate` is immh:immb. */
function shiftSame(cpu: usize, op: u32, size: u32, immediate: i32, n: v128, d: v128): v128 {
  const unsigned = <bool>(op >> 5);
  const bits: i32 = 8 << size;
  const right = 2 * bits - immediate;
  const left = immediate - bits;
  switch (op & 0x1f) {
    case 0x00: return shiftRight(size, n, right, unsigned);
    case 0x02: return addV(size, d, shiftRight(size, n, right, unsigned));
    case 0x04: return shiftRightRounded(size, n, right, unsigned);
    case 0x06: return addV(size, d, shiftRightRounded(size, n, right, unsigned));
    case 0x08: {
      const mask = shiftRight(size, i64x2.splat(-1), right, true);
      return v128.bitselect(shiftRight(size, n, right, true), d, mask);
    }
    case 0x0a: {
      const r = shlV(size, n, left);
      return unsigned ? v128.bitselect(r, d, shlV(size, i64x2.splat(-1), left)) : r;
    }
    case 0x0c: {
      const negative = shrV(size, n, bits - 1, false);
      if (v128.any_true(negative)) setSaturated(cpu);
      return shiftByRegister(cpu, size, true, false, true, v128.andnot(n, negative), i8x16.splat(<i8>left));
    }
    default: return shiftByRegister(cpu, size, unsigned, false, true, n, i8x16.splat(<i8>left));
  }
}

/** Narrowing shifts: `op` in bits 4:0 is 0x10-0x13; result in the low 64 bits, zero above. */
function shiftNarrow(cpu: usize, op: u32, size: u32, immediate: i32, n: v128): v128 {
  const right = (16 << size) - immediate;
  const unsigned = op == 0x32 || op == 0x33;
  const wide = size + 1;
  const r = op & 1 ? shiftRightRounded(wide, n, right, unsigned) : shiftRight(wide, n, right, unsigned);
  switch (op) {
    case 0x10: case 0x11: return narrowV(cpu, 0x12, size, r);
    case 0x30: case 0x31: return narrowV(cpu, 0x32, size, r);
    case 0x12: case 0x13: return narrowV(cpu, 0x14, size, r);
    default: return narrowV(cpu, 0x34, size, r);
  }
}

/** Shift by immediate, vector, integer; immh must not be 0. False when unallocated. */
export function execShift(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 11) & 0x1f);
  const immediate = (insn >> 16) & 0x7f;
  const size: u32 = 28 - clz(immediate);
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  switch (op & 0x1f) {
    case 0x14: {
      if (size == 3) return false;
      const wide = widenLow(size, upperPart(cpu, insn), <bool>(op >> 5));
      writeV(cpu, rd, shlV(size + 1, wide, immediate - (8 << size)));
      return true;
    }
    case 0x10: case 0x11: case 0x12: case 0x13: {
      if (size == 3) return false;
      const r = shiftNarrow(cpu, op, size, immediate, readV(cpu, fieldRn(insn)));
      writeV(cpu, rd, q ? lowPair(readV(cpu, rd), r) : r);
      return true;
    }
  }
  if (!sameWidthAllocated(op) || (size == 3 && !q)) return false;
  writeQ(cpu, rd, q, shiftSame(cpu, op, size, immediate, readQ(cpu, fieldRn(insn), q), readV(cpu, rd)));
  return true;
}

/** Shift by immediate, scalar, integer; immh must not be 0. False when unallocated. */
export function execScalarShift(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 11) & 0x1f);
  const immediate = (insn >> 16) & 0x7f;
  const size: u32 = 28 - clz(immediate);
  const rd = fieldRd(insn);
  const n = readV(cpu, fieldRn(insn));
  switch (op) {
    case 0x12: case 0x13: case 0x30: case 0x31: case 0x32: case 0x33: {
      if (size == 3) return false;
      writeV(cpu, rd, shiftNarrow(cpu, op, size, immediate, v128.and(n, lowLaneMask(size + 1))));
      return true;
    }
  }
  if (!sameWidthAllocated(op)) return false;
  if (size != 3 && (op & 0x1f) != 0x0c && (op & 0x1f) != 0x0e) return false;
  const lane = lowLaneMask(size);
  writeV(cpu, rd, v128.and(shiftSame(cpu, op, size, immediate, v128.and(n, lane), readV(cpu, rd)), lane));
  return true;
}
