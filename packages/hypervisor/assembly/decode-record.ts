import { SLOT_SINK, SLOT_SP, SLOT_ZERO } from './layout';
import { Op } from './opcodes';

// Building records: opcode in bits 15:0, then the fields of opcodes.ts.

export function simple(op: Op): u64 {
  return <u64>op;
}

/** Opcode and bytes 2 to 7. */
export function bytes(op: Op, b2: u32, b3: u32, b4: u32, b5: u32, b6: u32, b7: u32): u64 {
  return <u64>op | (<u64>b2 << 16) | (<u64>b3 << 24) | (<u64>b4 << 32) | (<u64>b5 << 40) | (<u64>b6 << 48)
    | (<u64>b7 << 56);
}

/** Opcode, two bytes, and a 32-bit immediate. */
export function withImmediate(op: Op, b2: u32, b3: u32, immediate: u32): u64 {
  return <u64>op | (<u64>b2 << 16) | (<u64>b3 << 24) | (<u64>immediate << 32);
}

/** Opcode, three bytes, and the distance to a record of the same page, for branches; the fourth byte is 0. */
export function nearBranch(op: Op, b2: u32, b3: u32, b4: u32, distance: i32): u64 {
  return bytes(op, b2, b3, b4, 0, 0, 0) | (<u64>distance << 48);
}

/** An instruction without effect. */
export function nop(): u64 {
  return withImmediate(Op.Nop, 0, 0, 8);
}

/** Slot of a source register. */
// @ts-ignore: decorator
@inline
export function source(n: u32): u32 {
  return n;
}

/** Slot of a destination register. */
// @ts-ignore: decorator
@inline
export function destination(n: u32): u32 {
  return n == SLOT_ZERO ? SLOT_SINK : n;
}

/** Slot of a register that is SP when it is 31. */
// @ts-ignore: decorator
@inline
export function stackOr(n: u32): u32 {
  return n == SLOT_ZERO ? SLOT_SP : n;
}

/** Whether a branch by `bytes` from `offset` stays in the page. */
// @ts-ignore: decorator
@inline
export function inPage(offset: u32, distance: i32): bool {
  return <u32>(<i32>offset + distance) < 0x1000;
}

/** Index of the fused opcodes for a condition, -1 for none; their order is that of opcodes.ts. */
function comparisonIndex(cond: u32): i32 {
  switch (cond) {
    case 0: return 0;
    case 1: return 1;
    case 2: return 2;
    case 3: return 3;
    case 8: return 4;
    case 9: return 5;
    case 10: return 6;
    case 11: return 7;
    case 12: return 8;
    case 13: return 9;
    default: return -1;
  }
}

/** First of the ten fused opcodes of a comparison, or of the two of a test; Undecoded when there are none. */
function fusedBase(op: u32): Op {
  switch (op) {
    case Op.CmpIX: return Op.CmpIXBEq;
    case Op.CmpRX: return Op.CmpRXBEq;
    case Op.CmpIW: return Op.CmpIWBEq;
    case Op.CmpRW: return Op.CmpRWBEq;
    case Op.TstIX: return Op.TstIXBEq;
    case Op.TstRX: return Op.TstRXBEq;
    case Op.TstIW: return Op.TstIWBEq;
    case Op.TstRW: return Op.TstRWBEq;
    default: return Op.Undecoded;
  }
}

/** One record for a comparison and the conditional branch that follows it in the page; 0 when they do not fit. */
export function fuse(record: u64, following: u32, offset: u32): u64 {
  // B.cond
  if ((following & 0xff000010) != 0x54000000) return 0;
  const op = <u32>record & 0xffff;
  const base = fusedBase(op);
  if (base == Op.Undecoded) return 0;
  const index = comparisonIndex(following & 15);
  if (index < 0) return 0;
  const isTest = base >= Op.TstIXBEq;
  if (isTest && index > 1) return 0;
  const distance = <i32>(following << 8) >> 13 << 2;
  if (!inPage(offset + 4, distance)) return 0;
  const immediate = op == Op.CmpIX || op == Op.CmpIW || op == Op.TstIX || op == Op.TstIW;
  if (immediate && (record >> 48) != 0) return 0;
  const operand = immediate ? <u32>(record >> 32) & 0xffff : <u32>(record >> 32) & 0xff;
  // The distance counts from the comparison.
  return <u64>(base + index) | (record & 0xff000000) | (<u64>operand << 32) | (<u64>((distance + 4) << 1) << 48);
}
