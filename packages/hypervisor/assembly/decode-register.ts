import { bytes, destination, simple, stackOr } from './decode-record';
import { Op } from './opcodes';

function three(op: Op, insn: u32): u64 {
  return bytes(op, destination(insn & 31), (insn >> 5) & 31, (insn >> 16) & 31, 0, 0, 0);
}

/** rd, rn, rm, amount, type of shift. */
function shiftedThree(op: Op, insn: u32): u64 {
  return three(op, insn) | (<u64>((insn >> 10) & 63) << 40) | (<u64>((insn >> 22) & 3) << 48);
}

function logical(insn: u32): u64 {
  const wide = insn >> 31 != 0;
  const amount = (insn >> 10) & 63;
  if (!wide && amount >= 32) return simple(Op.Slow);
  const plain = amount == 0;
  const inverted = (insn & (1 << 21)) != 0;
  const rd = insn & 31;
  switch ((insn >> 29) & 3) {
    case 0: {
      if (inverted) return plain ? three(wide ? Op.BicRX : Op.BicRW, insn) : simple(Op.Slow);
      return plain ? three(wide ? Op.AndRX : Op.AndRW, insn) : shiftedThree(wide ? Op.AndShX : Op.AndShW, insn);
    }
    case 1: {
      if (inverted) return plain ? three(wide ? Op.OrnX : Op.OrnW, insn) : simple(Op.Slow);
      if (!plain) return shiftedThree(wide ? Op.OrrShX : Op.OrrShW, insn);
      if (((insn >> 5) & 31) != 31) return three(wide ? Op.OrrRX : Op.OrrRW, insn);
      return three(wide ? Op.MovX : Op.MovW, insn);
    }
    case 2: {
      if (inverted) return simple(Op.Slow);
      return plain ? three(wide ? Op.EorRX : Op.EorRW, insn) : shiftedThree(wide ? Op.EorShX : Op.EorShW, insn);
    }
    default: {
      if (!plain) return simple(Op.Slow);
      if (inverted) return three(wide ? Op.BicsRX : Op.BicsRW, insn);
      if (rd == 31) return three(wide ? Op.TstRX : Op.TstRW, insn);
      return three(wide ? Op.AndsRX : Op.AndsRW, insn);
    }
  }
}

function addSubtractShifted(insn: u32): u64 {
  const wide = insn >> 31 != 0;
  const amount = (insn >> 10) & 63;
  const type = (insn >> 22) & 3;
  if (type == 3 || (!wide && amount >= 32)) return simple(Op.Slow);
  const subtract = (insn & (1 << 30)) != 0;
  const plain = amount == 0;
  if (insn & (1 << 29)) {
    if (!plain) {
      return subtract && (insn & 31) == 31 ? shiftedThree(wide ? Op.CmpShX : Op.CmpShW, insn) : simple(Op.Slow);
    }
    if (!subtract) return three(wide ? Op.AddsRX : Op.AddsRW, insn);
    if ((insn & 31) == 31) return three(wide ? Op.CmpRX : Op.CmpRW, insn);
    return three(wide ? Op.SubsRX : Op.SubsRW, insn);
  }
  if (plain) return three(subtract ? (wide ? Op.SubRX : Op.SubRW) : wide ? Op.AddRX : Op.AddRW, insn);
  if (!subtract && wide && type == 0) return three(Op.AddLslX, insn) | (<u64>amount << 40);
  return shiftedThree(subtract ? (wide ? Op.SubShX : Op.SubShW) : wide ? Op.AddShX : Op.AddShW, insn);
}

function addSubtractExtended(insn: u32): u64 {
  const amount = (insn >> 10) & 7;
  if (((insn >> 22) & 3) != 0 || amount > 4) return simple(Op.Slow);
  const rd = insn & 31;
  const rn = stackOr((insn >> 5) & 31);
  const rm = (insn >> 16) & 31;
  const option = (insn >> 13) & 7;
  const wide = insn >> 31 != 0;
  const subtract = (insn & (1 << 30)) != 0;
  if ((option & 3) == 3) {
    // 64 bits: nothing is extended, and shifting up by less than nothing is not what the fields can say.
    if (amount != 0) return simple(Op.Slow);
  }
  const width: u32 = 8 << (option & 3);
  const up = 64 - width;
  const fields = (<u64>rm << 32) | (<u64>up << 40) | (<u64>(up - amount) << 48) | (<u64>(option >> 2) << 56);
  if (insn & (1 << 29)) {
    if (!subtract || rd != 31) return simple(Op.Slow);
    return bytes(wide ? Op.CmpExtX : Op.CmpExtW, 0, rn, 0, 0, 0, 0) | fields;
  }
  if (!wide || rd == 31) return simple(Op.Slow);
  return bytes(subtract ? Op.SubExtX : Op.AddExtX, rd, rn, 0, 0, 0, 0) | fields;
}

function conditionalCompare(insn: u32): u64 {
  if ((insn & (1 << 29)) == 0 || (insn & 0x410) != 0 || (insn & (1 << 30)) == 0) return simple(Op.Slow);
  const wide = insn >> 31 != 0;
  const immediate = (insn & (1 << 11)) != 0;
  const op = immediate ? (wide ? Op.CcmpIX : Op.CcmpIW) : wide ? Op.CcmpRX : Op.CcmpRW;
  return bytes(op, (insn >> 12) & 15, (insn >> 5) & 31, (insn >> 16) & 31, insn & 15, 0, 0);
}

function conditionalSelect(insn: u32): u64 {
  if (insn & 0x20000800) return simple(Op.Slow);
  const wide = insn >> 31 != 0;
  let op: Op;
  switch (((insn >> 29) & 2) | ((insn >> 10) & 1)) {
    case 0: { op = wide ? Op.CselX : Op.CselW; break; }
    case 1: { op = wide ? Op.CsincX : Op.CsincW; break; }
    case 2: { op = wide ? Op.CsinvX : Op.CsinvW; break; }
    default: op = wide ? Op.CsnegX : Op.CsnegW;
  }
  return three(op, insn) | (<u64>((insn >> 12) & 15) << 40);
}

function multiply(insn: u32): u64 {
  if (insn & 0x60000000) return simple(Op.Slow);
  const wide = insn >> 31 != 0;
  const subtract = (insn & 0x8000) != 0;
  const addend = <u64>((insn >> 10) & 31) << 40;
  switch ((insn >> 21) & 7) {
    case 0: return three(subtract ? (wide ? Op.MsubX : Op.MsubW) : wide ? Op.MaddX : Op.MaddW, insn) | addend;
    case 1: return wide && !subtract ? three(Op.Smaddl, insn) | addend : simple(Op.Slow);
    case 5: return wide && !subtract ? three(Op.Umaddl, insn) | addend : simple(Op.Slow);
    case 6: return wide && !subtract ? three(Op.Umulh, insn) : simple(Op.Slow);
    default: return simple(Op.Slow);
  }
}

function twoSource(insn: u32): u64 {
  const wide = insn >> 31 != 0;
  if (insn & (1 << 29)) return simple(Op.Slow);
  switch ((insn >> 10) & 63) {
    case 2: return three(wide ? Op.UdivX : Op.UdivW, insn);
    case 3: return three(wide ? Op.SdivX : Op.SdivW, insn);
    case 8: return three(wide ? Op.LslvX : Op.LslvW, insn);
    case 9: return three(wide ? Op.LsrvX : Op.LsrvW, insn);
    case 10: return three(wide ? Op.AsrvX : Op.AsrvW, insn);
    default: return simple(Op.Slow);
  }
}

function oneSource(insn: u32): u64 {
  if ((insn & (1 << 29)) != 0 || ((insn >> 16) & 31) != 0) return simple(Op.Slow);
  const wide = insn >> 31 != 0;
  switch ((insn >> 10) & 63) {
    case 0: return three(wide ? Op.RbitX : Op.RbitW, insn);
    case 1: return three(wide ? Op.Rev16X : Op.Rev16W, insn);
    case 2: return wide ? simple(Op.Slow) : three(Op.RevW, insn);
    case 3: return wide ? three(Op.RevX, insn) : simple(Op.Slow);
    case 4: return three(wide ? Op.ClzX : Op.ClzW, insn);
    default: return simple(Op.Slow);
  }
}

/** Data processing (register). */
export function decodeRegister(insn: u32): u64 {
  if ((insn & (1 << 28)) == 0) {
    if ((insn & (1 << 24)) == 0) return logical(insn);
    return insn & (1 << 21) ? addSubtractExtended(insn) : addSubtractShifted(insn);
  }
  if (insn & (1 << 24)) return multiply(insn);
  switch ((insn >> 21) & 7) {
    case 2: return conditionalCompare(insn);
    case 4: return conditionalSelect(insn);
    case 6: return insn & (1 << 30) ? oneSource(insn) : twoSource(insn);
    default: return simple(Op.Slow);
  }
}
