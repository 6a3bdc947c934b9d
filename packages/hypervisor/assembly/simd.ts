// Advanced SIMD and scalar floating-point data processing: selects the encoding group (Arm ARM C4.1.96).
import { execScalarFp } from './fp-scalar';
import { execFpAcross, execFpByElement, execFpThreeSame } from './fp-vector';
import { execFpMisc, execFpShift } from './fp-vector-misc';
import { execAcross, execMisc } from './simd-misc';
import { execByElement, execThreeDifferent } from './simd-long';
import { execCopy, execExtract, execModifiedImmediate, execPermute, execTable } from './simd-permute';
import { execScalar } from './simd-scalar';
import { execShift } from './simd-shift';
import { threeSame, threeSameAllocated } from './simd-same';
import { fieldQ, fieldRd, fieldRm, fieldRn, fieldSize, readQ, readV, writeQ } from './simd-regs';

export { execSimdLoadStore } from './simd-memory';

/** Executes an Advanced SIMD or scalar floating-point data-processing instruction; false when unallocated. */
export function execSimdFp(cpu: usize, insn: u32): bool {
  // Bits 31, 30 and 28 tell the three spaces apart; 24, 21, 11 and 10 the groups of the vector space.
  if (insn & 0x10000000) {
    if (!(insn & 0x40000000)) return execScalarFp(cpu, insn);
    return insn >> 31 ? false : execScalar(cpu, insn);
  }
  if (insn >> 31) return false;
  switch (((insn >> 21) & 8) | ((insn >> 19) & 4) | ((insn >> 10) & 3)) {
    case 0: case 2: {
      if (insn & 0x8000) return false;
      if (insn & 0x20000000) return insn & 0x400 ? false : execExtract(cpu, insn);
      return insn & 0x800 ? execPermute(cpu, insn) : execTable(cpu, insn);
    }
    case 1: case 3: return insn & 0x00c08000 ? false : execCopy(cpu, insn);
    case 4: return execThreeDifferent(cpu, insn);
    case 5: case 7: {
      if ((insn & 0xf800) >= 0xc000) return execFpThreeSame(cpu, insn, false);
      return execThreeSame(cpu, insn);
    }
    case 6: {
      switch ((insn >> 17) & 15) {
        case 0: return execMisc(cpu, insn) || execFpMisc(cpu, insn, false);
        case 8: return execAcross(cpu, insn) || execFpAcross(cpu, insn);
        default: return false;
      }
    }
    case 9: case 11: case 13: case 15: {
      if (insn & 0x00800000) return false;
      if (!(insn & 0x00780000)) return execModifiedImmediate(cpu, insn);
      return (insn & 0xf800) >= 0xe000 ? execFpShift(cpu, insn, false) : execShift(cpu, insn);
    }
    default: {
      const op = (insn >> 12) & 15;
      if ((op & 3) == 1 && op != 13) {
        if (!(insn & 0x20000000) || op == 9) return execFpByElement(cpu, insn, false);
        return false;
      }
      return execByElement(cpu, insn);
    }
  }
}

function execThreeSame(cpu: usize, insn: u32): bool {
  const op = ((insn >> 24) & 0x20) | ((insn >> 11) & 0x1f);
  const size = fieldSize(insn);
  const q = fieldQ(insn);
  if ((size == 3 && !q && op != 3 && op != 0x23) || !threeSameAllocated(op, size)) return false;
  const rd = fieldRd(insn);
  const n = readQ(cpu, fieldRn(insn), q);
  const m = readQ(cpu, fieldRm(insn), q);
  writeQ(cpu, rd, q, threeSame(cpu, op, size, q != 0, n, m, readV(cpu, rd)));
  return true;
}
