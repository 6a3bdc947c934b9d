import { decodeBranch } from './decode-branch';
import { decodeImmediate } from './decode-immediate';
import { decodeMemory } from './decode-memory';
import { fuse, simple } from './decode-record';
import { decodeRegister } from './decode-register';
import { SLOT_PAGE } from './layout';
import { Op } from './opcodes';

/** Record for the instruction word `insn`, whose place in its page is `offset`. */
function recordOf(insn: u32, offset: u32): u64 {
  switch ((insn >> 25) & 15) {
    case 8:
    case 9: return decodeImmediate(insn);
    case 10:
    case 11: return decodeBranch(insn, offset);
    case 4:
    case 6:
    case 12:
    case 14: return decodeMemory(insn);
    case 5:
    case 13: return decodeRegister(insn);
    case 7:
    case 15: return simple(Op.Simd) | (<u64>insn << 32);
    default: return simple(Op.Slow);
  }
}

/** Bytes of a cache line, within which a record may stand for many instructions: see clearLine(). */
const LINE: u32 = 64;

/** A record for the hints that begin at `offset` of a page at memory offset `page`, as far as their line goes. */
function nops(page: usize, offset: u32): u64 {
  let end = offset + 4;
  while ((end & (LINE - 1)) != 0 && <Op>(recordOf(atomic.load<u32>(page + end), end) & 0xffff) == Op.Nop) end += 4;
  return <u64>Op.Nop | (<u64>((end - offset) << 1) << 32);
}

/** Record for the instruction at `offset` of a page at memory offset `page`, alone or with what follows it. */
function recordAt(page: usize, offset: u32): u64 {
  const insn = atomic.load<u32>(page + offset);
  const record = recordOf(insn, offset);
  if (<Op>(record & 0xffff) == Op.Nop) return nops(page, offset);
  if (offset == 0xffc) return record;
  const fused = fuse(record, atomic.load<u32>(page + offset + 4), offset);
  return fused ? fused : record;
}

/** Fills in the record at `ip`, which stands for the instruction at `pc`, unless another vCPU has. */
export function decodeRecord(ip: usize, pc: u64): void {
  const offset = <u32>pc & 0xfff;
  const page: usize = load<u32>(ip - (offset << 1), SLOT_PAGE);
  atomic.cmpxchg<u64>(ip, 0, recordAt(page, offset));
}
