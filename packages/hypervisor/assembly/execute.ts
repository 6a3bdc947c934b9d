import {
  EC_BRK64, EC_ILLEGAL_STATE, EC_SVC64, FAULT_EXIT, exceptionReturn, needsSlowMode, raise, raiseFpTrap, raiseUnallocated,
  raiseUndefined,
} from './exceptions';
import { executeImmediate } from './execute-immediate';
import { executeMemory } from './execute-memory';
import { executeRegister } from './execute-register';
import { executeSystem } from './execute-system';
import { CPU_FAULTED, CPU_FP_TRAP, CPU_IL, CPU_PC, CPU_SLOW_MODE, MMIO_CURSOR } from './layout';
import { clearMmioLog } from './mmio';
import { hypervisorCall } from './psci';
import { execSimdFp } from './simd';
import { EXIT, LEAVE, NEXT, RESYNC, UNALLOCATED } from './status';
import { condition, currentEl, getPc, getX, setX } from './state';

// One instruction from its word: the complete instruction set, in the order of the Arm ARM's decode tables. The
// interpreter's records are the fast form of a part of this.

function jump(cpu: usize, target: u64): u32 {
  store<u64>(cpu, target, CPU_PC);
  return RESYNC;
}

function jumpBy(cpu: usize, offset: i64): u32 {
  return jump(cpu, getPc(cpu) + <u64>offset);
}

/** SVC, HVC, SMC, BRK, HLT, DCPS. */
function generateException(cpu: usize, insn: u32): u32 {
  const immediate = (insn >> 5) & 0xffff;
  switch (((insn >> 21) & 7) << 5 | (insn & 31)) {
    case 0x01: {
      jumpBy(cpu, 4);
      raise(cpu, EC_SVC64, immediate);
      return RESYNC;
    }
    case 0x02: {
      if (currentEl(cpu) == 0) {
        raiseUndefined(cpu);
        return RESYNC;
      }
      const status = hypervisorCall(cpu);
      if (status == EXIT) jumpBy(cpu, 4);
      return status;
    }
    case 0x20: {
      raise(cpu, EC_BRK64, immediate);
      return RESYNC;
    }
    default: return UNALLOCATED;
  }
}

/** BR, BLR, RET, ERET. */
function branchRegister(cpu: usize, insn: u32): u32 {
  if ((insn & 0x001ffc1f) != 0x001f0000) return UNALLOCATED;
  const target = getX(cpu, (insn >> 5) & 31);
  switch ((insn >> 21) & 15) {
    case 0:
    case 2: return jump(cpu, target);
    case 1: {
      setX(cpu, 30, getPc(cpu) + 4);
      return jump(cpu, target);
    }
    case 4: {
      if (((insn >> 5) & 31) != 31) return UNALLOCATED;
      if (currentEl(cpu) == 0) {
        raiseUndefined(cpu);
        return RESYNC;
      }
      exceptionReturn(cpu);
      return LEAVE;
    }
    default: return UNALLOCATED;
  }
}

function executeBranch(cpu: usize, insn: u32): u32 {
  switch (insn >> 29) {
    case 0:
    case 4: {
      if (insn >> 31) setX(cpu, 30, getPc(cpu) + 4);
      return jumpBy(cpu, <i64>(<i32>(insn << 6) >> 4));
    }
    case 1:
    case 5: {
      const value = insn >> 31 || (insn & (1 << 25)) != 0 ? getX(cpu, insn & 31) : getX(cpu, insn & 31) & 0xffffffff;
      if (insn & (1 << 25)) {
        const bit = (insn >> 31) << 5 | ((insn >> 19) & 31);
        if (((value >> bit) & 1) != ((insn >> 24) & 1)) return NEXT;
        return jumpBy(cpu, <i64>(<i32>(insn << 13) >> 18 << 2));
      }
      if ((value == 0) == ((insn & (1 << 24)) != 0)) return NEXT;
      return jumpBy(cpu, <i64>(<i32>(insn << 8) >> 13 << 2));
    }
    case 2: {
      if (insn & 0x03000010) return UNALLOCATED;
      if (!condition(cpu, insn & 15)) return NEXT;
      return jumpBy(cpu, <i64>(<i32>(insn << 8) >> 13 << 2));
    }
    case 6: {
      if (insn & (1 << 25)) return branchRegister(cpu, insn);
      if ((insn & (1 << 24)) == 0) return generateException(cpu, insn);
      return insn & 0x00c00000 ? UNALLOCATED : executeSystem(cpu, insn);
    }
    default: return UNALLOCATED;
  }
}

function dispatch(cpu: usize, insn: u32): u32 {
  switch ((insn >> 25) & 15) {
    case 8:
    case 9: return executeImmediate(cpu, insn);
    case 10:
    case 11: return executeBranch(cpu, insn);
    case 4:
    case 6:
    case 12:
    case 14: return executeMemory(cpu, insn);
    case 5:
    case 13: return executeRegister(cpu, insn);
    case 7:
    case 15: {
      if (load<u32>(cpu, CPU_FP_TRAP) != 0) {
        raiseFpTrap(cpu);
        return RESYNC;
      }
      return execSimdFp(cpu, insn) ? NEXT : UNALLOCATED;
    }
    default: return UNALLOCATED;
  }
}

/** Executes the instruction at PC, given its word. With NEXT, PC is left to the caller. */
export function execute(cpu: usize, insn: u32): u32 {
  store<u32>(cpu, 0, CPU_FAULTED);
  store<u32>(cpu, 0, MMIO_CURSOR);
  if (load<u32>(cpu, CPU_IL) != 0) {
    raise(cpu, EC_ILLEGAL_STATE, 0);
    return RESYNC;
  }
  const status = dispatch(cpu, insn);
  if (status == UNALLOCATED) {
    raiseUnallocated(cpu, insn);
    clearMmioLog(cpu);
    return RESYNC;
  }
  const fault = load<u32>(cpu, CPU_FAULTED);
  if (fault == FAULT_EXIT) return EXIT;
  clearMmioLog(cpu);
  if (fault) return RESYNC;
  const slow = needsSlowMode(cpu);
  if (load<u32>(cpu, CPU_SLOW_MODE) == slow) return status;
  // Records assume an aligned SP: from here on, or from here on no longer, each instruction is checked.
  store<u32>(cpu, slow, CPU_SLOW_MODE);
  if (status == NEXT) jumpBy(cpu, 4);
  return status == EXIT ? EXIT : LEAVE;
}
