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

/** Fills in the record at `ip`, which stands for the instruction at `pc`. */
export function decodeRecord(ip: usize, pc: u64): void {
  const offset = <u32>pc & 0xfff;
  const word: usize = load<u32>(ip - (offset << 1), SLOT_PAGE) + offset;
  const last = offset == 0xffc;
  while (true) {
    const insn = atomic.load<u32>(word);
    const following = last ? 0 : atomic.load<u32>(word + 4);
    const record = recordOf(insn, offset);
    const fused = last ? 0 : fuse(record, insn, following, offset);
    atomic.store<u64>(ip, fused ? fused : record);
    // Another vCPU may have stored a new instruction and cleared the record in between: look again, after the store.
    if (atomic.load<u32>(word) == insn && (last || atomic.load<u32>(word + 4) == following)) return;
    atomic.store<u64>(ip, 0);
  }
}
