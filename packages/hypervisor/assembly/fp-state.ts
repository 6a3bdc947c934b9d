// FPCR and FPSR of the instruction that is being executed (Arm ARM C5.2.7, C5.2.8).
import { CPU_FPCR, CPU_FPSR } from './layout';

export const FPSR_IOC: u32 = 1 << 0;
export const FPSR_DZC: u32 = 1 << 1;
export const FPSR_OFC: u32 = 1 << 2;
export const FPSR_UFC: u32 = 1 << 3;
export const FPSR_IXC: u32 = 1 << 4;
export const FPSR_IDC: u32 = 1 << 7;

const FPCR_FZ: u32 = 1 << 24;
const FPCR_DN: u32 = 1 << 25;
const FPCR_AHP: u32 = 1 << 26;
const FPCR_RMODE: u32 = 3 << 22;

/** FPRounding: the values of FPCR.RMode, then those that only instructions select. */
export const ROUND_NEAREST: u32 = 0;
export const ROUND_UP: u32 = 1;
export const ROUND_DOWN: u32 = 2;
export const ROUND_ZERO: u32 = 3;
export const ROUND_AWAY: u32 = 4;
export const ROUND_ODD: u32 = 5;

// The vCPU whose instruction is being executed. Globals belong to one instance, so to one vCPU.
let current: usize = 0;

/** Begins a floating-point instruction: flags and modes are those of `cpu` from here on. */
// @ts-ignore: decorator
@inline
export function beginFp(cpu: usize): void {
  current = cpu;
}

/** Sets flags of FPSR; they are sticky. */
// @ts-ignore: decorator
@inline
export function raise(flags: u32): void {
  store<u32>(current, load<u32>(current, CPU_FPSR) | flags, CPU_FPSR);
}

/** Whether FPSR.IXC is set already: it is sticky, so nobody need find out whether a result is exact. */
// @ts-ignore: decorator
@inline
export function inexactKnown(): bool {
  return (load<u32>(current, CPU_FPSR) & FPSR_IXC) != 0;
}

/** Whether rounding is to nearest and neither FZ nor DN is set, as WebAssembly computes. */
// @ts-ignore: decorator
@inline
export function plainMode(): bool {
  return (load<u32>(current, CPU_FPCR) & (FPCR_RMODE | FPCR_FZ | FPCR_DN)) == 0;
}

// @ts-ignore: decorator
@inline
export function flushToZero(): bool {
  return (load<u32>(current, CPU_FPCR) & FPCR_FZ) != 0;
}

// @ts-ignore: decorator
@inline
export function defaultNaNMode(): bool {
  return (load<u32>(current, CPU_FPCR) & FPCR_DN) != 0;
}

// @ts-ignore: decorator
@inline
export function alternativeHalf(): bool {
  return (load<u32>(current, CPU_FPCR) & FPCR_AHP) != 0;
}

// @ts-ignore: decorator
@inline
export function roundingMode(): u32 {
  return (load<u32>(current, CPU_FPCR) & FPCR_RMODE) >> 22;
}
