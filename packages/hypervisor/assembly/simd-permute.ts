// Advanced SIMD copy, modified immediate, EXT, ZIP/UZP/TRN and TBL/TBX (Arm ARM C4.1.96).
import { getX, setX } from './state';
import { fieldQ, fieldRd, fieldRm, fieldRn, fieldSize, readV, writeQ, writeScalar, writeV } from './simd-regs';
import { evenLanes, laneOf, lowPair, oddLanes, splatV } from './simd-lanes';
import { CPU_V } from './layout';

// @ts-ignore: decorator
@inline function byteIndices(): v128 {
  return i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/** DUP, INS, SMOV, UMOV; false when unallocated. */
export function execCopy(cpu: usize, insn: u32): bool {
  const imm5 = fieldRm(insn);
  const size: u32 = ctz(imm5);
  if (size > 3) return false;
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  const index = imm5 >> (size + 1);
  if (insn & 0x20000000) {
    if (!q) return false;
    const source = laneOf(size, readV(cpu, fieldRn(insn)), (insn >> 11 & 15) >> size);
    insert(cpu, rd, size, index, source);
    return true;
  }
  switch ((insn >> 11) & 15) {
    case 0: {
      if (size == 3 && !q) return false;
      writeQ(cpu, rd, q, splatV(size, laneOf(size, readV(cpu, fieldRn(insn)), index)));
      return true;
    }
    case 1: {
      if (size == 3 && !q) return false;
      writeQ(cpu, rd, q, splatV(size, getX(cpu, fieldRn(insn))));
      return true;
    }
    case 3: {
      if (!q) return false;
      insert(cpu, rd, size, index, getX(cpu, fieldRn(insn)));
      return true;
    }
    case 5: {
      if (size > (q ? 2 : 1)) return false;
      const unused = 64 - (8 << size);
      const value = <i64>(laneOf(size, readV(cpu, fieldRn(insn)), index) << unused) >> unused;
      setX(cpu, rd, q ? <u64>value : <u64>value & 0xffffffff);
      return true;
    }
    case 7: {
      if ((size == 3) != (q != 0)) return false;
      setX(cpu, rd, laneOf(size, readV(cpu, fieldRn(insn)), index));
      return true;
    }
    default: return false;
  }
}

function insert(cpu: usize, rd: u32, size: u32, index: u32, value: u64): void {
  const at = cpu + (rd << 4) + (index << size);
  switch (size) {
    case 0: store<u8>(at, <u8>value, CPU_V); break;
    case 1: store<u16>(at, <u16>value, CPU_V); break;
    case 2: store<u32>(at, <u32>value, CPU_V); break;
    default: store<u64>(at, value, CPU_V);
  }
}

/** Scalar DUP (element); false when unallocated. */
export function execScalarCopy(cpu: usize, insn: u32): bool {
  const imm5 = fieldRm(insn);
  const size: u32 = ctz(imm5);
  if (size > 3 || (insn & 0x20007800) != 0) return false;
  writeScalar(cpu, fieldRd(insn), laneOf(size, readV(cpu, fieldRn(insn)), imm5 >> (size + 1)));
  return true;
}

/** AdvSIMDExpandImm() with op in bit 4 and cmode in bits 3:0. */
function expandImmediate(cmode: u32, imm8: u64): u64 {
  switch (cmode >> 1) {
    case 0: case 8: return imm8 * 0x0000000100000001;
    case 1: case 9: return imm8 * 0x0000010000000100;
    case 2: case 10: return imm8 * 0x0001000000010000;
    case 3: case 11: return imm8 * 0x0100000001000000;
    case 4: case 12: return imm8 * 0x0001000100010001;
    case 5: case 13: return imm8 * 0x0100010001000100;
    case 6: case 14: {
      return cmode & 1 ? ((imm8 << 16) | 0xffff) * 0x0000000100000001 : ((imm8 << 8) | 0xff) * 0x0000000100000001;
    }
    case 7: {
      if (!(cmode & 1)) return imm8 * 0x0101010101010101;
      const exponent: u64 = imm8 & 0x40 ? 0x1f : 0x20;
      return (((imm8 >> 7) << 31) | (exponent << 25) | ((imm8 & 0x3f) << 19)) * 0x0000000100000001;
    }
    default: {
      if (!(cmode & 1)) {
        // Each bit becomes a byte: spread the bits out, then widen each to eight.
        let bits = (imm8 & 0x7f) * 0x0002040810204081 & 0x0101010101010101;
        bits |= (imm8 >> 7) << 56;
        return bits * 0xff;
      }
      const exponent: u64 = imm8 & 0x40 ? 0xff : 0x100;
      return ((imm8 >> 7) << 63) | (exponent << 54) | ((imm8 & 0x3f) << 48);
    }
  }
}

/** MOVI, MVNI, ORR, BIC, FMOV (vector, immediate); false when unallocated. */
export function execModifiedImmediate(cpu: usize, insn: u32): bool {
  const cmode = ((insn >> 12) & 15) | ((insn >> 25) & 16);
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  if (insn & 0x800 || (cmode == 0x1f && !q)) return false;
  const value = i64x2.splat(expandImmediate(cmode, ((insn >> 11) & 0xe0) | ((insn >> 5) & 0x1f)));
  if (cmode & 1 && (cmode & 15) < 12) {
    const d = readV(cpu, rd);
    writeQ(cpu, rd, q, cmode & 16 ? v128.andnot(d, value) : v128.or(d, value));
  } else {
    writeQ(cpu, rd, q, cmode & 16 && (cmode & 15) < 14 ? v128.not(value) : value);
  }
  return true;
}

/** EXT; false when unallocated. */
export function execExtract(cpu: usize, insn: u32): bool {
  const q = fieldQ(insn);
  const index = (insn >> 11) & 15;
  if (insn & 0x00c00000 || (!q && index > 7)) return false;
  const n = readV(cpu, fieldRn(insn));
  const m = readV(cpu, fieldRm(insn));
  const from = i8x16.add(byteIndices(), i8x16.splat(<i8>index));
  if (q) {
    // Indices beyond 15 select zero.
    const high = v128.swizzle(m, i8x16.sub(from, i8x16.splat(16)));
    writeV(cpu, fieldRd(insn), v128.or(v128.swizzle(n, from), high));
  } else {
    writeQ(cpu, fieldRd(insn), 0, v128.swizzle(lowPair(n, m), from));
  }
  return true;
}

/** ZIP, UZP, TRN; false when unallocated. */
export function execPermute(cpu: usize, insn: u32): bool {
  const q = fieldQ(insn);
  const size = fieldSize(insn);
  const op = (insn >> 12) & 7;
  if ((op & 3) == 0 || (size == 3 && !q)) return false;
  const n = readV(cpu, fieldRn(insn));
  const m = readV(cpu, fieldRm(insn));
  let r: v128;
  switch (op) {
    case 1: r = q ? evenLanes(size, n, m) : evenLanes(size, lowPair(n, m), n); break;
    case 5: r = q ? oddLanes(size, n, m) : oddLanes(size, lowPair(n, m), n); break;
    case 2: r = trn1(size, n, m); break;
    case 6: r = trn2(size, n, m); break;
    case 3: r = zip1(size, n, m); break;
    default: {
      if (q) r = zip2(size, n, m);
      else {
        const zipped = zip1(size, n, m);
        r = v128.shuffle<u64>(zipped, zipped, 1, 1);
      }
    }
  }
  writeQ(cpu, fieldRd(insn), q, r);
  return true;
}

function zip1(size: u32, n: v128, m: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(n, m, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    case 1: return v128.shuffle<u16>(n, m, 0, 8, 1, 9, 2, 10, 3, 11);
    case 2: return v128.shuffle<u32>(n, m, 0, 4, 1, 5);
    default: return v128.shuffle<u64>(n, m, 0, 2);
  }
}

function zip2(size: u32, n: v128, m: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(n, m, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    case 1: return v128.shuffle<u16>(n, m, 4, 12, 5, 13, 6, 14, 7, 15);
    case 2: return v128.shuffle<u32>(n, m, 2, 6, 3, 7);
    default: return v128.shuffle<u64>(n, m, 1, 3);
  }
}

function trn1(size: u32, n: v128, m: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(n, m, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    case 1: return v128.shuffle<u16>(n, m, 0, 8, 2, 10, 4, 12, 6, 14);
    case 2: return v128.shuffle<u32>(n, m, 0, 4, 2, 6);
    default: return v128.shuffle<u64>(n, m, 0, 2);
  }
}

function trn2(size: u32, n: v128, m: v128): v128 {
  switch (size) {
    case 0: return v128.shuffle<u8>(n, m, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    case 1: return v128.shuffle<u16>(n, m, 1, 9, 3, 11, 5, 13, 7, 15);
    case 2: return v128.shuffle<u32>(n, m, 1, 5, 3, 7);
    default: return v128.shuffle<u64>(n, m, 1, 3);
  }
}

/** TBL, TBX; false when unallocated. */
export function execTable(cpu: usize, insn: u32): bool {
  if (insn & 0x20c00000) return false;
  const q = fieldQ(insn);
  const rd = fieldRd(insn);
  const count = ((insn >> 13) & 3) + 1;
  const rn = fieldRn(insn);
  const index = readV(cpu, fieldRm(insn));
  let at = index;
  let r = i64x2.splat(0);
  for (let i: u32 = 0; i < count; i++) {
    r = v128.or(r, v128.swizzle(readV(cpu, (rn + i) & 31), at));
    at = i8x16.sub(at, i8x16.splat(16));
  }
  if (insn & 0x1000) r = v128.bitselect(r, readV(cpu, rd), i8x16.lt_u(index, i8x16.splat(<i8>(count << 4))));
  writeQ(cpu, rd, q, r);
  return true;
}
