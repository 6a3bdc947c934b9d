// Advanced SIMD scalar forms: they run the vector kernels on one lane (Arm ARM C4.1.96, "Advanced SIMD scalar ...").
import { execFpByElement, execFpPairwise, execFpThreeSame } from './fp-vector';
import { execFpMisc, execFpShift } from './fp-vector-misc';
import { execScalarByElement, execScalarThreeDifferent } from './simd-long';
import { execScalarCopy } from './simd-permute';
import { execScalarShift } from './simd-shift';
import { misc, narrowV, scalarMiscAllocated } from './simd-misc';
import { scalarThreeSameAllocated, threeSame } from './simd-same';
import { fieldRd, fieldRm, fieldRn, fieldSize, readV, writeScalar, writeV } from './simd-regs';
import { lowLaneMask } from './simd-lanes';

/** Executes an instruction with bits 31:30 = 01 and bits 28:25 = 1111; false when unallocated. */
export function execScalar(cpu: usize, insn: u32): bool {
  if (insn & 0x01000000) {
    if (!(insn & 0x400)) {
      const op = (insn >> 12) & 15;
      if (op == 1 || op == 5 || op == 9) return execFpByElement(cpu, insn, true);
      return execScalarByElement(cpu, insn);
    }
    if (insn & 0x00800000 || !(insn & 0x00780000)) return false;
    const op = (insn >> 11) & 31;
    return op >= 0x1c ? execFpShift(cpu, insn, true) : execScalarShift(cpu, insn);
  }
  if (!(insn & 0x00200000)) {
    return (insn & 0x00c08400) == 0x400 ? execScalarCopy(cpu, insn) : false;
  }
  if (insn & 0x400) {
    if ((insn & 0xf800) >= 0xc000) return execFpThreeSame(cpu, insn, true);
    return scalarThreeSame(cpu, insn);
  }
  if (!(insn & 0x800)) return execScalarThreeDifferent(cpu, insn);
  switch ((insn >> 17) & 15) {
    case 0: return scalarMisc(cpu, insn);
    case 8: return scalarPairwise(cpu, insn);
    default: return false;
  }
}

function scalarThreeSame(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 11) & 0x1f);
  const size = fieldSize(insn);
  if (!scalarThreeSameAllocated(op, size)) return false;
  const lane = lowLaneMask(size);
  const n = v128.and(readV(cpu, fieldRn(insn)), lane);
  const m = v128.and(readV(cpu, fieldRm(insn)), lane);
  writeV(cpu, fieldRd(insn), v128.and(threeSame(cpu, op, size, true, n, m, n), lane));
  return true;
}

function scalarMisc(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 12) & 0x1f);
  const size = fieldSize(insn);
  if (!scalarMiscAllocated(op, size)) return execFpMisc(cpu, insn, true);
  const rd = fieldRd(insn);
  const n = readV(cpu, fieldRn(insn));
  switch (op) {
    case 0x14: case 0x34: case 0x32: {
      writeV(cpu, rd, narrowV(cpu, op, size, v128.and(n, lowLaneMask(size + 1))));
      return true;
    }
    default: {
      const lane = lowLaneMask(size);
      writeV(cpu, rd, v128.and(misc(cpu, op, size, v128.and(n, lane), v128.and(readV(cpu, rd), lane)), lane));
      return true;
    }
  }
}

function scalarPairwise(cpu: usize, insn: u32): bool {
  if ((insn & 0x2001f000) != 0x0001b000) return execFpPairwise(cpu, insn);
  if (fieldSize(insn) != 3) return false;
  const n = readV(cpu, fieldRn(insn));
  writeScalar(cpu, fieldRd(insn), i64x2.extract_lane(n, 0) + i64x2.extract_lane(n, 1));
  return true;
}
