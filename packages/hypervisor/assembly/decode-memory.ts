import { bytes, destination, nop, simple, stackOr, withImmediate } from './decode-record';
import { SLOT_SP } from './layout';
import { Op } from './opcodes';

// In opcodes.ts the forms of a load or store follow each other: immediate offset, writeback, register offset, and
// register offset sign-extended from 32 bits.

const WRITEBACK: u32 = 1;
const REGISTER: u32 = 2;
const REGISTER_SIGNED: u32 = 3;

/** First form of a load or store of a general-purpose register, by size and opc; Slow when there is none. */
function generalForm(size: u32, opc: u32): Op {
  switch (size << 2 | opc) {
    case 0x0: return Op.StrBI;
    case 0x1: return Op.LdrBI;
    case 0x2: return Op.LdrSBXI;
    case 0x3: return Op.LdrSBWI;
    case 0x4: return Op.StrHI;
    case 0x5: return Op.LdrHI;
    case 0x6: return Op.LdrSHXI;
    case 0x7: return Op.LdrSHWI;
    case 0x8: return Op.StrWI;
    case 0x9: return Op.LdrWI;
    case 0xa: return Op.LdrSWI;
    case 0xc: return Op.StrXI;
    case 0xd: return Op.LdrXI;
    default: return Op.Slow;
  }
}

/** The same for SIMD&FP registers of 32, 64 and 128 bits. */
function vectorForm(size: u32, opc: u32): Op {
  switch (size << 2 | opc) {
    case 0x2: return Op.StrQI;
    case 0x3: return Op.LdrQI;
    case 0x8: return Op.StrSI;
    case 0x9: return Op.LdrSI;
    case 0xc: return Op.StrDI;
    case 0xd: return Op.LdrDI;
    default: return Op.Slow;
  }
}

function single(insn: u32): u64 {
  const size = insn >> 30;
  const opc = (insn >> 22) & 3;
  const vector = (insn & (1 << 26)) != 0;
  if (!vector && size == 3 && opc == 2) return prefetch(insn);
  const form = vector ? vectorForm(size, opc) : generalForm(size, opc);
  if (form == Op.Slow) return simple(Op.Slow);
  const log2 = vector && opc >= 2 ? 4 : size;
  const rn = stackOr((insn >> 5) & 31);
  const isLoad = vector ? (opc & 1) != 0 : opc != 0;
  const rt = !vector && isLoad ? destination(insn & 31) : insn & 31;
  if (insn & (1 << 24)) return withImmediate(form, rt, rn, ((insn >> 10) & 0xfff) << log2);
  if ((insn & (1 << 21)) == 0) {
    const offset = <i32>(insn << 11) >> 23;
    switch ((insn >> 10) & 3) {
      case 0: return withImmediate(form, rt, rn, offset);
      case 2: return simple(Op.Slow);
      default: {
        // SP must stay aligned, and a base that is also transferred is left to the slow way.
        if (rn == SLOT_SP ? (offset & 15) != 0 : !vector && rn == (insn & 31)) return simple(Op.Slow);
        const access = (insn & (1 << 11)) ? offset : 0;
        return withImmediate(form + WRITEBACK, rt, rn, (<u32>access & 0xffff) | (<u32>offset << 16));
      }
    }
  }
  const option = (insn >> 13) & 7;
  if ((insn & 0xc00) != 0x800 || (option & 2) == 0) return simple(Op.Slow);
  const shift = insn & (1 << 12) ? log2 : 0;
  const rm = (insn >> 16) & 31;
  if (option & 1) return bytes(form + REGISTER, rt, rn, rm, shift, 0, 0);
  return bytes(form + (option == 6 ? REGISTER_SIGNED : REGISTER), rt, rn, rm, 32, 32 - shift, 0);
}

/** PRFM and PRFUM do nothing, where they are allocated. */
function prefetch(insn: u32): u64 {
  if (insn & (1 << 24)) return nop();
  if ((insn & (1 << 21)) == 0) return (insn & 0xc00) == 0 ? nop() : simple(Op.Slow);
  return (insn & 0xc00) == 0x800 && (insn & 0x4000) != 0 ? nop() : simple(Op.Slow);
}

function literal(insn: u32): u64 {
  if (insn & (1 << 26)) return simple(Op.Slow);
  const distance = <i32>(insn << 8) >> 13 << 2;
  const rt = destination(insn & 31);
  switch (insn >> 30) {
    case 0: return withImmediate(Op.LdrWLit, rt, 0, distance);
    case 1: return withImmediate(Op.LdrXLit, rt, 0, distance);
    case 3: return nop();
    default: return simple(Op.Slow);
  }
}

function pair(insn: u32): u64 {
  const opc = insn >> 30;
  const vector = (insn & (1 << 26)) != 0;
  const isLoad = (insn & (1 << 22)) != 0;
  const mode = (insn >> 23) & 3;
  let op: Op;
  if (vector) {
    if (opc == 1) op = isLoad ? Op.LdpD : Op.StpD;
    else if (opc == 2) op = isLoad ? Op.LdpQ : Op.StpQ;
    else return simple(Op.Slow);
  } else if (opc == 2) {
    op = isLoad ? Op.LdpX : Op.StpX;
  } else if (opc == 0 && (mode & 1) == 0) {
    op = isLoad ? Op.LdpW : Op.StpW;
  } else {
    return simple(Op.Slow);
  }
  const units = <i32>(insn << 10) >> 25;
  const rn = stackOr((insn >> 5) & 31);
  const general = isLoad && !vector;
  const rt = general ? destination(insn & 31) : insn & 31;
  const rt2 = general ? destination((insn >> 10) & 31) : (insn >> 10) & 31;
  if ((mode & 1) == 0) return bytes(op, rt, rn, rt2, units & 0xff, 0, 0);
  const misaligns = !vector || opc == 1 ? (units & 1) != 0 : false;
  if (rn == SLOT_SP ? misaligns : !vector && (rn == rt || rn == rt2)) return simple(Op.Slow);
  // The form with writeback follows.
  return bytes(op + 1, rt, rn, rt2, mode == 1 ? 0 : units & 0xff, units & 0xff, 0);
}

/** LDXR, LDAXR, STXR, STLXR of words and doublewords; LDAR and STLR of all sizes. */
function exclusive(insn: u32): u64 {
  const size = insn >> 30;
  const isLoad = (insn & (1 << 22)) != 0;
  const rn = (insn >> 5) & 31;
  const rt = insn & 31;
  // A base of SP is left to the slow way, and so are pairs.
  if (rn == 31 || (insn & (1 << 21)) != 0) return simple(Op.Slow);
  if (insn & (1 << 23)) {
    if ((insn & (1 << 15)) == 0) return simple(Op.Slow);
    let op: Op;
    switch (size) {
      case 0: { op = Op.LdarB; break; }
      case 1: { op = Op.LdarH; break; }
      case 2: { op = Op.LdarW; break; }
      default: op = Op.LdarX;
    }
    // The store follows the load.
    return isLoad ? bytes(op, destination(rt), rn, 0, 0, 0, 0) : bytes(op + 1, rt, rn, 0, 0, 0, 0);
  }
  if (size < 2) return simple(Op.Slow);
  if (isLoad) return bytes(size == 3 ? Op.LdxrX : Op.LdxrW, destination(rt), rn, 0, 0, 0, 0);
  return bytes(size == 3 ? Op.StxrX : Op.StxrW, destination((insn >> 16) & 31), rn, rt, 0, 0, 0);
}

/** Loads and stores. */
export function decodeMemory(insn: u32): u64 {
  switch ((insn >> 28) & 3) {
    case 1: return insn & (1 << 24) ? simple(Op.Slow) : literal(insn);
    case 2: return pair(insn);
    case 3: return single(insn);
    default: return (insn & 0x3f000000) == 0x08000000 ? exclusive(insn) : simple(Op.Slow);
  }
}
