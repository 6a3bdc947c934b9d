import { slotFor } from './decode-cache';
import { EC_INSTRUCTION_ABORT_LOWER, EC_PC_ALIGNMENT, FSC_EXTERNAL, raiseAt } from './exceptions';
import { CPU_EL, CPU_PC, CPU_TLB, TLB_CODE_SLOT, TLB_CODE_TAG } from './layout';
import { ACCESS_EXECUTE, topByteIgnored, walk, walkFault, walkPermissions, walkPhysical } from './mmu';
import { physicalToHost } from './regions';
import { PAGE_MASK, codeEntry, fillCode } from './tlb';

function abort(cpu: usize, pc: u64, status: u32): usize {
  raiseAt(cpu, EC_INSTRUCTION_ABORT_LOWER + load<u32>(cpu, CPU_EL), status, pc);
  return 0;
}

/** Record of the instruction at PC; 0 when fetching it raised an exception, and PC is at its vector. */
export function resolve(cpu: usize): usize {
  let pc = load<u64>(cpu, CPU_PC);
  const top = <i64>pc >> 55;
  if (top != 0 && top != -1 && topByteIgnored(cpu, pc)) {
    // A branch to a tagged address drops the tag (Arm ARM J1.1.3, AArch64.BranchAddr).
    pc = <u64>(<i64>(pc << 8) >> 8);
    store<u64>(cpu, pc, CPU_PC);
  }
  if (pc & 3) {
    raiseAt(cpu, EC_PC_ALIGNMENT, 0, pc);
    return 0;
  }
  const offset = (<usize>pc & 0xffc) << 1;
  const entry = codeEntry(load<u32>(cpu, CPU_TLB), pc);
  if (load<u64>(entry, TLB_CODE_TAG) == (pc & PAGE_MASK)) return <usize>load<u32>(entry, TLB_CODE_SLOT) + offset;
  const el = load<u32>(cpu, CPU_EL);
  if (!walk(cpu, pc, el) || (walkPermissions & ACCESS_EXECUTE) == 0) return abort(cpu, pc, walkFault);
  const host = physicalToHost(walkPhysical);
  if (host == 0) return abort(cpu, pc, FSC_EXTERNAL);
  const slot = slotFor(cpu, host & ~0xfff);
  fillCode(cpu, el, pc, slot);
  return slot + offset;
}
