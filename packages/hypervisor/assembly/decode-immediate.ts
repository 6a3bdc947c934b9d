import { bytes, destination, simple, source, stackOr, withImmediate } from './decode-record';
import { SLOT_SINK, SLOT_SP } from './layout';
import { Op } from './opcodes';
import { bitMaskImmediate, bitMaskIndex } from './tables';

function pcRelative(insn: u32): u64 {
  const immediate = <u32>(<i32>(insn << 8) >> 13 << 2) | ((insn >> 29) & 3);
  return withImmediate(insn >> 31 ? Op.Adrp : Op.Adr, destination(insn & 31), 0, immediate);
}

function addSubtract(insn: u32): u64 {
  let immediate = (insn >> 10) & 0xfff;
  if (insn & (1 << 22)) immediate <<= 12;
  const rn = stackOr((insn >> 5) & 31);
  const rd = insn & 31;
  const wide = insn >> 31 != 0;
  const subtract = (insn & (1 << 30)) != 0;
  if (insn & (1 << 29)) {
    if (subtract && rd == 31) return withImmediate(wide ? Op.CmpIX : Op.CmpIW, SLOT_SINK, rn, immediate);
    return withImmediate(subtract ? (wide ? Op.SubsIX : Op.SubsIW) : wide ? Op.AddsIX : Op.AddsIW, destination(rd), rn,
      immediate);
  }
  const signed = subtract ? 0 - immediate : immediate;
  if (rd == 31) {
    if (!wide) return simple(Op.Slow);
    // What is added to an aligned SP and keeps it aligned needs no check.
    return withImmediate(rn == SLOT_SP && (immediate & 15) == 0 ? Op.AddIX : Op.AddISp, SLOT_SP, rn, signed);
  }
  if (immediate == 0) return bytes(wide ? Op.MovX : Op.MovW, rd, 0, rn, 0, 0, 0);
  return withImmediate(wide ? Op.AddIX : Op.AddIW, rd, rn, signed);
}

function logical(insn: u32): u64 {
  const index = bitMaskIndex(insn);
  const immediate = bitMaskImmediate(index);
  const wide = insn >> 31 != 0;
  if (immediate == 0 || (!wide && (insn & (1 << 22)) != 0)) return simple(Op.Slow);
  const rd = insn & 31;
  const rn = source((insn >> 5) & 31);
  const operation = (insn >> 29) & 3;
  if (operation == 3) {
    if (rd == 31) return withImmediate(wide ? Op.TstIX : Op.TstIW, SLOT_SINK, rn, index);
    return withImmediate(wide ? Op.AndsIX : Op.AndsIW, rd, rn, index);
  }
  if (rd == 31) return simple(Op.Slow);
  if (operation == 1 && rn == 31 && immediate <= 0xffffffff) return withImmediate(Op.MovI, rd, 0, <u32>immediate);
  if (operation == 0) return withImmediate(Op.AndI, rd, rn, index);
  return withImmediate(operation == 1 ? (wide ? Op.OrrIX : Op.OrrIW) : wide ? Op.EorIX : Op.EorIW, rd, rn, index);
}

function moveWide(insn: u32): u64 {
  const shift = ((insn >> 21) & 3) << 4;
  const wide = insn >> 31 != 0;
  if (!wide && shift > 16) return simple(Op.Slow);
  const field = (insn >> 5) & 0xffff;
  const rd = destination(insn & 31);
  switch ((insn >> 29) & 3) {
    case 0: {
      if (!wide) return withImmediate(Op.MovI, rd, 0, ~(field << shift));
      if (shift == 0) return withImmediate(Op.MovIS, rd, 0, ~field);
      return bytes(Op.MovNShift, rd, 0, field & 0xff, field >> 8, shift, 0);
    }
    case 2: {
      if (shift <= 16) return withImmediate(Op.MovI, rd, 0, field << shift);
      return bytes(Op.MovIShift, rd, 0, field & 0xff, field >> 8, shift, 0);
    }
    case 3: return bytes(wide ? Op.MovKX : Op.MovKW, rd, 0, field & 0xff, field >> 8, shift, 0);
    default: return simple(Op.Slow);
  }
}

function bitfield(insn: u32): u64 {
  const wide = insn >> 31;
  const immr = (insn >> 16) & 63;
  const imms = (insn >> 10) & 63;
  if (((insn >> 22) & 1) != wide || (wide == 0 && (immr | imms) >= 32)) return simple(Op.Slow);
  const up = 63 - imms;
  const down = imms >= immr ? up + immr : up - ((wide ? 64 : 32) - immr);
  const rd = destination(insn & 31);
  const rn = source((insn >> 5) & 31);
  switch ((insn >> 29) & 3) {
    case 0: return bytes(wide ? Op.SbfmX : Op.SbfmW, rd, rn, up, down, 0, 0);
    case 1: return bytes(wide ? Op.BfmX : Op.BfmW, rd, rn, up, down, 0, 0);
    case 2: return bytes(Op.Ubfm, rd, rn, up, down, 0, 0);
    default: return simple(Op.Slow);
  }
}

function extract(insn: u32): u64 {
  const wide = insn >> 31;
  const lsb = (insn >> 10) & 63;
  const rn = (insn >> 5) & 31;
  const rm = (insn >> 16) & 31;
  if (((insn >> 22) & 1) != wide || (insn & 0x60200000) != 0 || (wide == 0 && lsb >= 32)) return simple(Op.Slow);
  const rd = destination(insn & 31);
  if (rn == rm) return bytes(wide ? Op.RorX : Op.RorW, rd, rn, lsb, 0, 0, 0);
  return wide && lsb != 0 ? bytes(Op.ExtrX, rd, rn, rm, lsb, 0, 0) : simple(Op.Slow);
}

/** Data processing (immediate). */
export function decodeImmediate(insn: u32): u64 {
  switch ((insn >> 23) & 7) {
    case 0:
    case 1: return pcRelative(insn);
    case 2: return addSubtract(insn);
    case 4: return logical(insn);
    case 5: return moveWide(insn);
    case 6: return bitfield(insn);
    case 7: return extract(insn);
    default: return simple(Op.Slow);
  }
}
