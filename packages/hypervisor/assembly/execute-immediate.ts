import { NEXT, UNALLOCATED } from './status';
import {
  addNZCV32, addNZCV64, getPc, getW, getX, getXsp, setFlagsLogic32, setFlagsLogic64, setFlagsSub32, setFlagsSub64, setNZCV,
  setX, setXsp,
} from './state';
import { bitMaskImmediate, bitMaskIndex } from './tables';

// Data processing (immediate), Arm ARM C4.1.93.

function pcRelative(cpu: usize, insn: u32): u32 {
  const immediate = <i64>(<i32>(insn << 8) >> 13 << 2) | <i64>((insn >> 29) & 3);
  const pc = getPc(cpu);
  setX(cpu, insn & 31, insn >> 31 ? (pc & ~<u64>0xfff) + (immediate << 12) : pc + immediate);
  return NEXT;
}

function addSubtract(cpu: usize, insn: u32): u32 {
  let immediate: u64 = (insn >> 10) & 0xfff;
  if (insn & (1 << 22)) immediate <<= 12;
  const rd = insn & 31;
  const a = getXsp(cpu, (insn >> 5) & 31);
  const subtract = (insn & (1 << 30)) != 0;
  const result = subtract ? a - immediate : a + immediate;
  const wide = insn >> 31 != 0;
  if ((insn & (1 << 29)) == 0) {
    setXsp(cpu, rd, wide ? result : result & 0xffffffff);
    return NEXT;
  }
  if (subtract) {
    if (wide) setFlagsSub64(cpu, a, immediate);
    else setFlagsSub32(cpu, <u32>a, <u32>immediate);
  } else {
    setNZCV(cpu, wide ? addNZCV64(a, immediate, 0) : addNZCV32(<u32>a, <u32>immediate, 0));
  }
  setX(cpu, rd, wide ? result : result & 0xffffffff);
  return NEXT;
}

function logical(cpu: usize, insn: u32): u32 {
  const immediate = bitMaskImmediate(bitMaskIndex(insn));
  const wide = insn >> 31 != 0;
  if (immediate == 0 || (!wide && (insn & (1 << 22)) != 0)) return UNALLOCATED;
  const a = wide ? getX(cpu, (insn >> 5) & 31) : <u64>getW(cpu, (insn >> 5) & 31);
  const rd = insn & 31;
  switch ((insn >> 29) & 3) {
    case 0: { setXsp(cpu, rd, a & immediate); break; }
    case 1: { setXsp(cpu, rd, a | immediate); break; }
    case 2: { setXsp(cpu, rd, a ^ immediate); break; }
    default: {
      const result = a & immediate;
      if (wide) setFlagsLogic64(cpu, result);
      else setFlagsLogic32(cpu, <u32>result);
      setX(cpu, rd, result);
    }
  }
  return NEXT;
}

function moveWide(cpu: usize, insn: u32): u32 {
  const shift = ((insn >> 21) & 3) << 4;
  const wide = insn >> 31 != 0;
  if (!wide && shift > 16) return UNALLOCATED;
  const immediate = <u64>((insn >> 5) & 0xffff) << shift;
  const rd = insn & 31;
  let result: u64;
  switch ((insn >> 29) & 3) {
    case 0: { result = ~immediate; break; }
    case 2: { result = immediate; break; }
    case 3: { result = (getX(cpu, rd) & ~(<u64>0xffff << shift)) | immediate; break; }
    default: return UNALLOCATED;
  }
  setX(cpu, rd, wide ? result : result & 0xffffffff);
  return NEXT;
}

function bitfield(cpu: usize, insn: u32): u32 {
  const wide = insn >> 31;
  if (((insn >> 22) & 1) != wide) return UNALLOCATED;
  const immr = (insn >> 16) & 63;
  const imms = (insn >> 10) & 63;
  if (wide == 0 && (immr | imms) >= 32) return UNALLOCATED;
  const rd = insn & 31;
  // The field's top bit goes to the top of the register, and then everything down to where the field belongs.
  const up = 63 - imms;
  const down = imms >= immr ? up + immr : up - ((wide ? 64 : 32) - immr);
  const moved = getX(cpu, (insn >> 5) & 31) << up;
  let result: u64;
  switch ((insn >> 29) & 3) {
    case 0: { result = <u64>(<i64>moved >> down); break; }
    case 1: {
      const mask = (~<u64>0 << up) >> down;
      result = (getX(cpu, rd) & ~mask) | (moved >> down);
      break;
    }
    case 2: { result = moved >> down; break; }
    default: return UNALLOCATED;
  }
  setX(cpu, rd, wide ? result : result & 0xffffffff);
  return NEXT;
}

function extract(cpu: usize, insn: u32): u32 {
  const wide = insn >> 31;
  const lsb = (insn >> 10) & 63;
  if (((insn >> 22) & 1) != wide || (insn & 0x60200000) != 0 || (wide == 0 && lsb >= 32)) return UNALLOCATED;
  const high = getX(cpu, (insn >> 5) & 31);
  const low = getX(cpu, (insn >> 16) & 31);
  const rd = insn & 31;
  if (wide) setX(cpu, rd, lsb == 0 ? low : (low >> lsb) | (high << (64 - lsb)));
  else setX(cpu, rd, (((high << 32) | (low & 0xffffffff)) >> lsb) & 0xffffffff);
  return NEXT;
}

export function executeImmediate(cpu: usize, insn: u32): u32 {
  switch ((insn >> 23) & 7) {
    case 0:
    case 1: return pcRelative(cpu, insn);
    case 2: return addSubtract(cpu, insn);
    case 4: return logical(cpu, insn);
    case 5: return moveWide(cpu, insn);
    case 6: return bitfield(cpu, insn);
    case 7: return extract(cpu, insn);
    default: return UNALLOCATED;
  }
}
