import { undefinedInstruction } from './host';
import {
  CPU_BANK_CURRENT, CPU_DAIF, CPU_EL, CPU_EXCLUSIVE_SIZE, CPU_FAULTED, CPU_FP_TRAP, CPU_IL, CPU_PC, CPU_SLOW_MODE,
  CPU_SP, CPU_SP_EL0, CPU_SP_EL1, CPU_SPSEL, CPU_TLB, CPU_TLB_EL0, CPU_TLBS, CPU_WORDS, SYS_CPACR, SYS_ELR, SYS_ESR, SYS_FAR,
  SYS_SCTLR, SYS_SPSR, SYS_VBAR, TLB_SIZE,
} from './layout';
import { getNZCV, setNZCV, vcpuIndex } from './state';

// Exception classes, Arm ARM D17.2.37 (ESR_EL1.EC).
export const EC_UNKNOWN: u32 = 0x00;
export const EC_WFX: u32 = 0x01;
export const EC_FP_ACCESS: u32 = 0x07;
export const EC_ILLEGAL_STATE: u32 = 0x0e;
export const EC_SVC64: u32 = 0x15;
export const EC_SYSTEM: u32 = 0x18;
export const EC_INSTRUCTION_ABORT_LOWER: u32 = 0x20;
export const EC_PC_ALIGNMENT: u32 = 0x22;
export const EC_DATA_ABORT_LOWER: u32 = 0x24;
export const EC_SP_ALIGNMENT: u32 = 0x26;
export const EC_BRK64: u32 = 0x3c;

const ESR_IL: u32 = 1 << 25;

// Fault status codes, Arm ARM D17.2.37 (ISS encoding for a Data Abort); a level is added to the first four.
export const FSC_ADDRESS_SIZE: u32 = 0x00;
export const FSC_TRANSLATION: u32 = 0x04;
export const FSC_ACCESS_FLAG: u32 = 0x08;
export const FSC_PERMISSION: u32 = 0x0c;
export const FSC_EXTERNAL: u32 = 0x10;
export const FSC_EXTERNAL_WALK: u32 = 0x14;
export const FSC_ALIGNMENT: u32 = 0x21;

export const ISS_WNR: u32 = 1 << 6;
export const ISS_CM: u32 = 1 << 8;

const VECTOR_IRQ: u32 = 0x80;
const VECTOR_FIQ: u32 = 0x100;

/** `CPU_FAULTED`: the instruction raised an exception. */
export const FAULT_EXCEPTION: u32 = 1;
/** `CPU_FAULTED`: the instruction waits for the host. */
export const FAULT_EXIT: u32 = 2;

const PSTATE_DAIF: u32 = 0x3c0;
export const PSTATE_I: u32 = 0x80;
export const PSTATE_F: u32 = 0x40;
const PSTATE_IL: u32 = 1 << 20;
const SCTLR_SA: u64 = 1 << 3;
const SCTLR_SA0: u64 = 1 << 4;

/** PSTATE in the layout of SPSR_EL1. */
export function getPstate(cpu: usize): u32 {
  return getNZCV(cpu) | (load<u32>(cpu, CPU_IL) << 20) | load<u32>(cpu, CPU_DAIF) | (load<u32>(cpu, CPU_EL) << 2)
    | load<u32>(cpu, CPU_SPSEL);
}

/** Whether SPSR_EL1 names a state that this vCPU has: AArch64, EL0t, EL1t or EL1h. */
export function legalMode(pstate: u32): bool {
  const mode = pstate & 0x1f;
  return mode == 0 || mode == 4 || mode == 5;
}

/** Sets PSTATE from the layout of SPSR_EL1; the mode must be legal. */
export function setPstate(cpu: usize, pstate: u32): void {
  setNZCV(cpu, pstate);
  store<u32>(cpu, pstate & PSTATE_DAIF, CPU_DAIF);
  store<u32>(cpu, (pstate & PSTATE_IL) >> 20, CPU_IL);
  setMode(cpu, (pstate >> 2) & 1, pstate & 1);
}

/** Changes exception level and stack pointer. */
export function setMode(cpu: usize, el: u32, spsel: u32): void {
  storeBank(cpu, load<u32>(cpu, CPU_SPSEL), load<u64>(cpu, CPU_SP));
  store<u32>(cpu, el, CPU_EL);
  store<u32>(cpu, spsel, CPU_SPSEL);
  store<u64>(cpu, spsel ? load<u64>(cpu, CPU_SP_EL1) : load<u64>(cpu, CPU_SP_EL0), CPU_SP);
  updateDerived(cpu);
}

function storeBank(cpu: usize, spsel: u32, value: u64): void {
  if (spsel) store<u64>(cpu, value, CPU_SP_EL1);
  else store<u64>(cpu, value, CPU_SP_EL0);
}

/** SP_EL0 or SP_EL1, wherever it is. */
export function getBankedSp(cpu: usize, spsel: u32): u64 {
  if (load<u32>(cpu, CPU_SPSEL) == spsel) return load<u64>(cpu, CPU_SP);
  return spsel ? load<u64>(cpu, CPU_SP_EL1) : load<u64>(cpu, CPU_SP_EL0);
}

export function setBankedSp(cpu: usize, spsel: u32, value: u64): void {
  if (load<u32>(cpu, CPU_SPSEL) == spsel) {
    store<u64>(cpu, value, CPU_SP);
    updateDerived(cpu);
  } else {
    storeBank(cpu, spsel, value);
  }
}

/** Whether SP is misaligned where SCTLR_EL1 asks for a check, so that a memory access based on it faults. */
export function stackMisaligned(cpu: usize): bool {
  if ((load<u64>(cpu, CPU_SP) & 15) == 0) return false;
  return (load<u64>(cpu, SYS_SCTLR) & (load<u32>(cpu, CPU_EL) ? SCTLR_SA : SCTLR_SA0)) != 0;
}

/** Whether each instruction needs checks that records do not make: illegal state, or a misaligned SP. */
export function needsSlowMode(cpu: usize): u32 {
  return u32((load<u32>(cpu, CPU_IL) | load<u32>(cpu, CPU_WORDS)) != 0 || stackMisaligned(cpu));
}

/** Recomputes what the interpreter keeps ready about the current state. */
export function updateDerived(cpu: usize): void {
  const el = load<u32>(cpu, CPU_EL);
  const el0Tlb = <u32>cpu + CPU_TLBS + (1 + load<u32>(cpu, CPU_BANK_CURRENT)) * TLB_SIZE;
  store<u32>(cpu, el0Tlb, CPU_TLB_EL0);
  store<u32>(cpu, el ? <u32>cpu + CPU_TLBS : el0Tlb, CPU_TLB);
  const fpen = <u32>(load<u64>(cpu, SYS_CPACR) >> 20) & 3;
  store<u32>(cpu, u32(fpen != 3 && !(fpen == 1 && el == 1)), CPU_FP_TRAP);
  store<u32>(cpu, needsSlowMode(cpu), CPU_SLOW_MODE);
}

function enter(cpu: usize, offset: u32): void {
  const el = load<u32>(cpu, CPU_EL);
  const vector = offset + (el == 0 ? 0x400 : load<u32>(cpu, CPU_SPSEL) ? 0x200 : 0);
  store<u64>(cpu, <u64>getPstate(cpu), SYS_SPSR);
  store<u64>(cpu, load<u64>(cpu, CPU_PC), SYS_ELR);
  store<u32>(cpu, PSTATE_DAIF, CPU_DAIF);
  store<u32>(cpu, 0, CPU_IL);
  setMode(cpu, 1, 1);
  store<u64>(cpu, (load<u64>(cpu, SYS_VBAR) & ~<u64>0x7ff) + vector, CPU_PC);
}

/** Takes a synchronous exception to EL1; PC is the preferred return address. */
export function raise(cpu: usize, exceptionClass: u32, iss: u32): void {
  store<u64>(cpu, <u64>((exceptionClass << 26) | ESR_IL | iss), SYS_ESR);
  enter(cpu, 0);
  store<u32>(cpu, FAULT_EXCEPTION, CPU_FAULTED);
}

/** As `raise`, for the classes that also set FAR_EL1. */
export function raiseAt(cpu: usize, exceptionClass: u32, iss: u32, far: u64): void {
  store<u64>(cpu, far, SYS_FAR);
  raise(cpu, exceptionClass, iss);
}

/** Data Abort from the current exception level. */
export function raiseDataAbort(cpu: usize, iss: u32, far: u64): void {
  raiseAt(cpu, EC_DATA_ABORT_LOWER + load<u32>(cpu, CPU_EL), iss, far);
}

/** Undefined Instruction exception for an encoding that is not allocated here, or not implemented. */
export function raiseUnallocated(cpu: usize, insn: u32): void {
  const pc = load<u64>(cpu, CPU_PC);
  undefinedInstruction(vcpuIndex(cpu), insn, <u32>pc, <u32>(pc >> 32));
  raise(cpu, EC_UNKNOWN, 0);
}

/** Undefined Instruction exception for an instruction that exists but not in this state. */
export function raiseUndefined(cpu: usize): void {
  raise(cpu, EC_UNKNOWN, 0);
}

/** Advanced SIMD or floating point used while CPACR_EL1 traps it. */
export function raiseFpTrap(cpu: usize): void {
  raise(cpu, EC_FP_ACCESS, (1 << 24) | (0xe << 20));
}

export function takeIrq(cpu: usize): void {
  enter(cpu, VECTOR_IRQ);
}

export function takeFiq(cpu: usize): void {
  enter(cpu, VECTOR_FIQ);
}

/** ERET. An illegal return keeps the mode and sets PSTATE.IL (Arm ARM D1.3.4). */
export function exceptionReturn(cpu: usize): void {
  const spsr = <u32>load<u64>(cpu, SYS_SPSR);
  store<u64>(cpu, load<u64>(cpu, SYS_ELR), CPU_PC);
  store<u32>(cpu, 0, CPU_EXCLUSIVE_SIZE);
  if (legalMode(spsr)) {
    setPstate(cpu, spsr);
  } else {
    setPstate(cpu, (spsr & 0xf00003c0) | PSTATE_IL | (load<u32>(cpu, CPU_EL) << 2) | load<u32>(cpu, CPU_SPSEL));
  }
}
