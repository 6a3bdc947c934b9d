import { FLUSH_ADDRESS, FLUSH_ALL, FLUSH_ASID, awaitOthers, maintain, multiprocessor } from './barrier';
import { completeMaintenance, maintenanceNoted, noteAllLines, noteLine } from './decode-cache';
import {
  AT_S1E0R, AT_S1E0W, AT_S1E1R, AT_S1E1W, CNTFRQ_EL0, CNTPCT_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTP_TVAL_EL0,
  CNTVCT_EL0, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTV_TVAL_EL0, CTR_EL0, DAIF, DCZID_EL0, DC_CISW, DC_CIVAC, DC_CSW,
  DC_CVAC, DC_CVAU, DC_ISW, DC_IVAC, DC_ZVA, FPCR, FPSR, IC_IALLU, IC_IALLUIS, IC_IVAU, NZCV, SPSEL, SP_EL0,
  TLBI_ASIDE1, TLBI_ASIDE1IS, TLBI_VAAE1, TLBI_VAAE1IS, TLBI_VAALE1, TLBI_VAALE1IS, TLBI_VAE1, TLBI_VAE1IS,
  TLBI_VALE1, TLBI_VALE1IS, TLBI_VMALLE1, TLBI_VMALLE1IS, TPIDRRO_EL0, TPIDR_EL0,
} from './encodings';
import {
  EC_SYSTEM, EC_WFX, FSC_ALIGNMENT, ISS_CM, ISS_WNR, raise, raiseDataAbort, raiseFpTrap, raiseUndefined,
} from './exceptions';
import { gicSample } from './gic';
import { pendingInterrupts } from './interrupts';
import {
  CPU_DAIF, CPU_EL, CPU_EXCLUSIVE_SIZE, CPU_FENCE, CPU_FP_TRAP, CPU_PC, CPU_SPSEL, EXIT_HALT, EXIT_REASON, SYS_CNTKCTL, SYS_PAR,
  SYS_SCTLR, TLB_ADDEND, TLB_READ,
} from './layout';
import { dataAddress, faulted } from './mem';
import {
  ACCESS_READ, ACCESS_WRITE, walk, walkAttributes, walkFault, walkPermissions, walkPhysical, walkShareability,
} from './mmu';
import { physicalToHost } from './regions';
import { EXIT, LEAVE, NEXT, RESYNC, UNALLOCATED } from './status';
import { currentEl, getX, setX } from './state';
import {
  NOT_WRITABLE, isDebugChannel, readSystemRegister, systemValue, writeSystemRegister,
} from './sysregs';
import { PAGE_MASK, dataEntry, tlbOf } from './tlb';
import { timerUpdate } from './timer';

// System instructions and registers, Arm ARM C4.1.92 (hints, barriers, PSTATE, system instructions, MRS and MSR).

const SCTLR_UMA: u64 = 1 << 9;
const SCTLR_DZE: u64 = 1 << 14;
const SCTLR_UCT: u64 = 1 << 15;
const SCTLR_NTWI: u64 = 1 << 16;
const SCTLR_UCI: u64 = 1 << 26;

const CNTKCTL_EL0PCTEN: u64 = 1;
const CNTKCTL_EL0VCTEN: u64 = 2;
const CNTKCTL_EL0VTEN: u64 = 1 << 8;
const CNTKCTL_EL0PTEN: u64 = 1 << 9;

const DCZID_DZP: u64 = 16;
/** DC ZVA block. */
const ZERO_BLOCK: u32 = 64;

function sctlrHas(cpu: usize, bit: u64): bool {
  return (load<u64>(cpu, SYS_SCTLR) & bit) != 0;
}

/** Exception for MSR, MRS or a system instruction that EL1 keeps from EL0. */
function trapSystem(cpu: usize, insn: u32): u32 {
  const iss = ((insn >> 19) & 3) << 20 | ((insn >> 5) & 7) << 17 | ((insn >> 16) & 7) << 14 | ((insn >> 12) & 15) << 10
    | (insn & 31) << 5 | ((insn >> 8) & 15) << 1 | ((insn >> 21) & 1);
  raise(cpu, EC_SYSTEM, iss);
  return RESYNC;
}

/** WFI: halts until an interrupt is pending, masked or not. */
function waitForInterrupt(cpu: usize): u32 {
  if (currentEl(cpu) == 0 && !sctlrHas(cpu, SCTLR_NTWI)) {
    raise(cpu, EC_WFX, (1 << 24) | (0xe << 20));
    return RESYNC;
  }
  timerUpdate(cpu);
  gicSample();
  store<u64>(cpu, load<u64>(cpu, CPU_PC) + 4, CPU_PC);
  if (pendingInterrupts(cpu)) return LEAVE;
  store<u32>(cpu, EXIT_HALT, EXIT_REASON);
  return EXIT;
}

/** A status for an instruction that is complete and changed the state: PC moves on. */
function advance(cpu: usize, status: u32): u32 {
  if (status == RESYNC || status == LEAVE) store<u64>(cpu, load<u64>(cpu, CPU_PC) + 4, CPU_PC);
  return status;
}

/** Orders all memory accesses: a sequentially consistent read-modify-write of a word that nobody reads. */
function fence(cpu: usize): void {
  atomic.add<u32>(cpu + CPU_FENCE, 1);
}

function barrier(cpu: usize, insn: u32): u32 {
  switch ((insn >> 5) & 7) {
    case 2: {
      store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
      return NEXT;
    }
    case 4: {
      fence(cpu);
      if (multiprocessor()) awaitOthers(cpu);
      if (!maintenanceNoted(cpu)) return NEXT;
      completeMaintenance(cpu);
      return advance(cpu, RESYNC);
    }
    case 5: {
      fence(cpu);
      return NEXT;
    }
    // System register writes take effect at once, so ISB has nothing to wait for.
    case 6: return NEXT;
    default: return UNALLOCATED;
  }
}

/** MSR (immediate): SPSel, DAIFSet, DAIFClr. */
function setPstateField(cpu: usize, insn: u32): u32 {
  const field = ((insn >> 16) & 7) << 3 | ((insn >> 5) & 7);
  const immediate = (insn >> 8) & 15;
  if ((insn & 31) != 31) return UNALLOCATED;
  switch (field) {
    case 0x05: {
      if (currentEl(cpu) == 0) {
        raiseUndefined(cpu);
        return RESYNC;
      }
      return advance(cpu, writeSystemRegister(cpu, SPSEL, immediate));
    }
    case 0x1e:
    case 0x1f: {
      if (currentEl(cpu) == 0 && !sctlrHas(cpu, SCTLR_UMA)) return trapSystem(cpu, insn);
      const old = load<u32>(cpu, CPU_DAIF);
      const mask = immediate << 6;
      return advance(cpu, writeSystemRegister(cpu, DAIF, field == 0x1e ? old | mask : old & ~mask));
    }
    default: return UNALLOCATED;
  }
}

/** Translation for a cache maintenance instruction: memory offset, or 0 without one or with a fault. */
function maintenanceAddress(cpu: usize, va: u64, access: u32): usize {
  const el = currentEl(cpu);
  const entry = dataEntry(tlbOf(cpu, el), va);
  if (access == ACCESS_READ && load<u64>(entry, TLB_READ) == (va & PAGE_MASK)) {
    return <u32>va + load<u32>(entry, TLB_ADDEND);
  }
  if (!walk(cpu, va, el) || (walkPermissions & access) == 0) {
    raiseDataAbort(cpu, walkFault | ISS_CM | ISS_WNR, va);
    return 0;
  }
  return physicalToHost(walkPhysical);
}

function zeroBlock(cpu: usize, va: u64): u32 {
  // As a byte: FAR_EL1 takes the address as it was given.
  const host = dataAddress(cpu, va, 1, ACCESS_WRITE, currentEl(cpu));
  if (faulted(cpu)) return NEXT;
  if (host == 0) {
    // A device takes no DC ZVA (Arm ARM D8.8).
    raiseDataAbort(cpu, FSC_ALIGNMENT | ISS_WNR, va);
    return NEXT;
  }
  memory.fill(host & ~(ZERO_BLOCK - 1), 0, ZERO_BLOCK);
  return NEXT;
}

/** AT S1E*: the translation of an address into PAR_EL1. */
function translateAddress(cpu: usize, va: u64, el: u32, access: u32): u32 {
  let par: u64;
  if (walk(cpu, va, el) && (walkPermissions & access) != 0) {
    // Device and Non-cacheable memory is outer shareable, whatever the descriptor says.
    const cacheable = (walkAttributes & 0xf0) != 0 && walkAttributes != 0x44;
    const shareability = cacheable ? walkShareability : 2;
    par = (walkPhysical & 0x0000fffffffff000) | (<u64>walkAttributes << 56) | (1 << 11) | <u64>(shareability << 7);
  } else {
    par = 1 | (<u64>walkFault << 1) | (1 << 11);
  }
  store<u64>(cpu, par, SYS_PAR);
  return NEXT;
}

/** Address in the operand of TLBI VA*: bits 55:12 in bits 43:0. */
function tlbiAddress(operand: u64): u64 {
  return <u64>(<i64>(operand << 20) >> 8);
}

function systemInstruction(cpu: usize, insn: u32): u32 {
  const encoding = (insn >> 5) & 0xffff;
  const operand = getX(cpu, insn & 31);
  const el = currentEl(cpu);
  if (insn & (1 << 21)) return UNALLOCATED;
  switch (encoding) {
    case DC_ZVA: {
      if (el == 0 && !sctlrHas(cpu, SCTLR_DZE)) return trapSystem(cpu, insn);
      return zeroBlock(cpu, operand);
    }
    case IC_IVAU: {
      if (el == 0 && !sctlrHas(cpu, SCTLR_UCI)) return trapSystem(cpu, insn);
      const host = maintenanceAddress(cpu, operand, ACCESS_READ);
      return host != 0 && noteLine(cpu, host) ? advance(cpu, RESYNC) : NEXT;
    }
    case DC_CVAC:
    case DC_CVAU:
    case DC_CIVAC: {
      if (el == 0 && !sctlrHas(cpu, SCTLR_UCI)) return trapSystem(cpu, insn);
      maintenanceAddress(cpu, operand, ACCESS_READ);
      return NEXT;
    }
    default:
  }
  // Everything else is EL1's.
  if (el == 0) {
    raiseUndefined(cpu);
    return RESYNC;
  }
  switch (encoding) {
    case IC_IALLU:
    case IC_IALLUIS: {
      noteAllLines(cpu);
      return NEXT;
    }
    case DC_IVAC: {
      maintenanceAddress(cpu, operand, ACCESS_WRITE);
      return NEXT;
    }
    case DC_ISW:
    case DC_CSW:
    case DC_CISW: {
      return NEXT;
    }
    case AT_S1E1R: {
      return translateAddress(cpu, operand, 1, ACCESS_READ);
    }
    case AT_S1E1W: {
      return translateAddress(cpu, operand, 1, ACCESS_WRITE);
    }
    case AT_S1E0R: {
      return translateAddress(cpu, operand, 0, ACCESS_READ);
    }
    case AT_S1E0W: {
      return translateAddress(cpu, operand, 0, ACCESS_WRITE);
    }
    case TLBI_VMALLE1IS:
    case TLBI_VMALLE1: {
      maintain(cpu, FLUSH_ALL, 0, encoding == TLBI_VMALLE1IS);
      return advance(cpu, RESYNC);
    }
    case TLBI_ASIDE1IS:
    case TLBI_ASIDE1: {
      maintain(cpu, FLUSH_ASID, operand >> 48, encoding == TLBI_ASIDE1IS);
      return advance(cpu, RESYNC);
    }
    case TLBI_VAE1IS:
    case TLBI_VAAE1IS:
    case TLBI_VALE1IS:
    case TLBI_VAALE1IS: {
      maintain(cpu, FLUSH_ADDRESS, tlbiAddress(operand), true);
      return NEXT;
    }
    case TLBI_VAE1:
    case TLBI_VAAE1:
    case TLBI_VALE1:
    case TLBI_VAALE1: {
      maintain(cpu, FLUSH_ADDRESS, tlbiAddress(operand), false);
      return NEXT;
    }
    default: return UNALLOCATED;
  }
}

/** What keeps EL0 from a register of op1 3: 0 nothing, 1 a trap, 2 undefined. */
function el0Access(cpu: usize, encoding: u32, isRead: bool): u32 {
  const cntkctl = load<u64>(cpu, SYS_CNTKCTL);
  let allowed: bool;
  switch (encoding) {
    case NZCV:
    case FPCR:
    case FPSR:
    case TPIDR_EL0:
    case DCZID_EL0: return isRead || encoding != DCZID_EL0 ? 0 : 2;
    case TPIDRRO_EL0: return isRead ? 0 : 2;
    case CTR_EL0: {
      if (!isRead) return 2;
      allowed = sctlrHas(cpu, SCTLR_UCT);
      break;
    }
    case DAIF: { allowed = sctlrHas(cpu, SCTLR_UMA); break; }
    case CNTFRQ_EL0: {
      if (!isRead) return 2;
      allowed = (cntkctl & (CNTKCTL_EL0PCTEN | CNTKCTL_EL0VCTEN)) != 0;
      break;
    }
    case CNTPCT_EL0: {
      if (!isRead) return 2;
      allowed = (cntkctl & CNTKCTL_EL0PCTEN) != 0;
      break;
    }
    case CNTVCT_EL0: {
      if (!isRead) return 2;
      allowed = (cntkctl & CNTKCTL_EL0VCTEN) != 0;
      break;
    }
    case CNTP_TVAL_EL0:
    case CNTP_CTL_EL0:
    case CNTP_CVAL_EL0: { allowed = (cntkctl & CNTKCTL_EL0PTEN) != 0; break; }
    case CNTV_TVAL_EL0:
    case CNTV_CTL_EL0:
    case CNTV_CVAL_EL0: { allowed = (cntkctl & CNTKCTL_EL0VTEN) != 0; break; }
    // The PMU's, were there one, are EL1's alone.
    default: {
      if (!isDebugChannel(encoding)) return 2;
      allowed = false;
    }
  }
  return u32(!allowed);
}

function moveSystemRegister(cpu: usize, insn: u32): u32 {
  const encoding = (insn >> 5) & 0xffff;
  const isRead = (insn & (1 << 21)) != 0;
  const rt = insn & 31;
  if (currentEl(cpu) == 0) {
    // Identification registers and everything else of EL1 are undefined at EL0.
    if (((encoding >> 11) & 7) != 3) {
      raiseUndefined(cpu);
      return RESYNC;
    }
    const obstacle = el0Access(cpu, encoding, isRead);
    if (obstacle == 1) return trapSystem(cpu, insn);
    if (obstacle == 2) {
      raiseUndefined(cpu);
      return RESYNC;
    }
  }
  if ((encoding == FPCR || encoding == FPSR) && load<u32>(cpu, CPU_FP_TRAP) != 0) {
    raiseFpTrap(cpu);
    return RESYNC;
  }
  // SP_EL0 cannot be named while it is the stack pointer.
  if (encoding == SP_EL0 && load<u32>(cpu, CPU_SPSEL) == 0) {
    raiseUndefined(cpu);
    return RESYNC;
  }
  if (isRead) {
    if (!readSystemRegister(cpu, encoding)) return UNALLOCATED;
    let value = systemValue;
    if (encoding == DCZID_EL0 && currentEl(cpu) == 0 && !sctlrHas(cpu, SCTLR_DZE)) value |= DCZID_DZP;
    setX(cpu, rt, value);
    return NEXT;
  }
  const status = writeSystemRegister(cpu, encoding, getX(cpu, rt));
  return status == NOT_WRITABLE ? UNALLOCATED : advance(cpu, status);
}

/** Hints, barriers, MSR (immediate), SYS, SYSL, MSR, MRS. */
export function executeSystem(cpu: usize, insn: u32): u32 {
  switch ((insn >> 19) & 3) {
    case 0: {
      if (insn & (1 << 21)) return UNALLOCATED;
      const crn = (insn >> 12) & 15;
      if (crn == 4) return setPstateField(cpu, insn);
      if (((insn >> 16) & 7) != 3 || (insn & 31) != 31) return UNALLOCATED;
      if (crn == 3) return barrier(cpu, insn);
      if (crn != 2) return UNALLOCATED;
      // Hints: only WFI does anything. WFE may return at once, so it always does.
      return ((insn >> 5) & 0x7f) == 3 ? waitForInterrupt(cpu) : NEXT;
    }
    case 1: return systemInstruction(cpu, insn);
    default: return moveSystemRegister(cpu, insn);
  }
}
