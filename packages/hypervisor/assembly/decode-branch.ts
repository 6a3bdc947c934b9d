import { destination, inPage, nearBranch, nop, simple, withImmediate } from './decode-record';
import {
  CTR_EL0, DAIF, DCZID_EL0, DC_ZVA, ELR_EL1, ESR_EL1, FAR_EL1, SPSR_EL1, SP_EL0, TPIDRRO_EL0, TPIDR_EL0, TPIDR_EL1,
} from './encodings';
import { identification } from './identification';
import {
  SYS_ELR, SYS_ESR, SYS_FAR, SYS_SPSR, SYS_TPIDRRO_EL0, SYS_TPIDR_EL0, SYS_TPIDR_EL1,
} from './layout';
import { Op } from './opcodes';

/** Reads of registers that are plain words of the vCPU block. */
function moveFromSystem(insn: u32): u64 {
  const rd = destination(insn & 31);
  switch ((insn >> 5) & 0xffff) {
    case SP_EL0: return withImmediate(Op.MrsSpEl0, rd, 0, 0);
    case TPIDR_EL0: return withImmediate(Op.MrsEl0, rd, 0, SYS_TPIDR_EL0);
    case TPIDRRO_EL0: return withImmediate(Op.MrsEl0, rd, 0, SYS_TPIDRRO_EL0);
    case TPIDR_EL1: return withImmediate(Op.MrsEl1, rd, 0, SYS_TPIDR_EL1);
    case ESR_EL1: return withImmediate(Op.MrsEl1, rd, 0, SYS_ESR);
    case FAR_EL1: return withImmediate(Op.MrsEl1, rd, 0, SYS_FAR);
    case ELR_EL1: return withImmediate(Op.MrsEl1, rd, 0, SYS_ELR);
    case SPSR_EL1: return withImmediate(Op.MrsEl1, rd, 0, SYS_SPSR);
    case CTR_EL0: return withImmediate(Op.MrsConst, rd, 0, <u32>identification(CTR_EL0));
    case DCZID_EL0: return withImmediate(Op.MrsConst, rd, 0, <u32>identification(DCZID_EL0));
    case DAIF: return withImmediate(Op.MrsDaif, rd, 0, 0);
    default: return simple(Op.Slow);
  }
}

function system(insn: u32): u64 {
  switch ((insn >> 19) & 7) {
    case 0: {
      // Hints but WFI, and ISB, do nothing.
      if ((insn & 0xfffff01f) == 0xd503201f && (insn & 0xfe0) != 0x60) return nop();
      switch (insn & 0xfffff0ff) {
        case 0xd50330df: return nop();
        case 0xd503309f: return withImmediate(Op.Barrier, 1, 0, 0);
        case 0xd50330bf: return withImmediate(Op.Barrier, 0, 0, 0);
        // MSR DAIFSet, #imm
        case 0xd50340df: return withImmediate(Op.DaifSet, 0, 0, ((insn >> 8) & 15) << 6);
        default: return simple(Op.Slow);
      }
    }
    case 1: return ((insn >> 5) & 0xffff) == DC_ZVA ? withImmediate(Op.DcZva, insn & 31, 0, 0) : simple(Op.Slow);
    case 2:
    case 3: return ((insn >> 5) & 0xffff) == DAIF ? withImmediate(Op.MsrDaif, insn & 31, 0, 0) : simple(Op.Slow);
    case 6:
    case 7: return moveFromSystem(insn);
    default: return simple(Op.Slow);
  }
}

function unconditional(insn: u32, offset: u32): u64 {
  const distance = <i32>(insn << 6) >> 4;
  const link = insn >> 31 != 0;
  if (inPage(offset, distance)) return nearBranch(link ? Op.Bl : Op.B, 0, 0, 0, distance << 1);
  return withImmediate(link ? Op.BlFar : Op.BFar, 0, 0, distance);
}

function compareAndBranch(insn: u32, offset: u32): u64 {
  const rt = insn & 31;
  const wide = insn >> 31 != 0;
  const nonzero = (insn & (1 << 24)) != 0;
  const distance = <i32>(insn << 8) >> 13 << 2;
  if (inPage(offset, distance)) {
    const op = nonzero ? (wide ? Op.CbnzX : Op.CbnzW) : wide ? Op.CbzX : Op.CbzW;
    return nearBranch(op, rt, 0, 0, distance << 1);
  }
  return withImmediate(nonzero ? (wide ? Op.CbnzFarX : Op.CbnzFarW) : wide ? Op.CbzFarX : Op.CbzFarW, rt, 0, distance);
}

function testAndBranch(insn: u32, offset: u32): u64 {
  const rt = insn & 31;
  const bit = (insn >> 31) << 5 | ((insn >> 19) & 31);
  const nonzero = (insn & (1 << 24)) != 0;
  const distance = <i32>(insn << 13) >> 18 << 2;
  if (inPage(offset, distance)) return nearBranch(nonzero ? Op.Tbnz : Op.Tbz, rt, 0, bit, distance << 1);
  return withImmediate(nonzero ? Op.TbnzFar : Op.TbzFar, rt, bit, distance);
}

function conditional(insn: u32, offset: u32): u64 {
  if (insn & 0x01000010) return simple(Op.Slow);
  const cond = insn & 15;
  const distance = <i32>(insn << 8) >> 13 << 2;
  if (!inPage(offset, distance)) return withImmediate(Op.BCondFar, cond, 0, distance);
  return nearBranch(cond == 0 ? Op.BEq : cond == 1 ? Op.BNe : Op.BCond, cond, 0, 0, distance << 1);
}

function register(insn: u32): u64 {
  const rn = (insn >> 5) & 31;
  switch (insn & 0xfffffc1f) {
    case 0xd61f0000:
    case 0xd65f0000: return withImmediate(Op.Br, 0, rn, 0);
    case 0xd63f0000: return withImmediate(Op.Blr, 0, rn, 0);
    default: return simple(Op.Slow);
  }
}

/** Branches, exception generation, system. */
export function decodeBranch(insn: u32, offset: u32): u64 {
  switch (insn >> 29) {
    case 0:
    case 4: return unconditional(insn, offset);
    case 1:
    case 5: return insn & (1 << 25) ? testAndBranch(insn, offset) : compareAndBranch(insn, offset);
    case 2: return insn & (1 << 25) ? simple(Op.Slow) : conditional(insn, offset);
    case 6: {
      if (insn & (1 << 25)) return register(insn);
      return (insn & 0xffc00000) == 0xd5000000 ? system(insn) : simple(Op.Slow);
    }
    default: return simple(Op.Slow);
  }
}
