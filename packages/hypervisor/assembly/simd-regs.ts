// Access to V registers by instruction field.
import { CPU_FPSR, CPU_V } from './layout';

/** FPSR.QC: a saturating operation saturated. */
export const FPSR_QC: u32 = 1 << 27;

// @ts-ignore: decorator
@inline
export function setSaturated(cpu: usize): void {
  store<u32>(cpu, load<u32>(cpu, CPU_FPSR) | FPSR_QC, CPU_FPSR);
}

/** Vn as 128 bits. */
// @ts-ignore: decorator
@inline
export function readV(cpu: usize, n: u32): v128 {
  return v128.load(cpu + (n << 4), CPU_V);
}

/** The low 64 bits of Vn, zero extended. */
// @ts-ignore: decorator
@inline
export function readD(cpu: usize, n: u32): v128 {
  return v128.load64_zero(cpu + (n << 4), CPU_V);
}

/** Vn as 128 bits when `q` is not 0, else its low 64 bits zero extended. */
// @ts-ignore: decorator
@inline
export function readQ(cpu: usize, n: u32, q: u32): v128 {
  return q ? v128.load(cpu + (n << 4), CPU_V) : v128.load64_zero(cpu + (n << 4), CPU_V);
}

// @ts-ignore: decorator
@inline
export function writeV(cpu: usize, n: u32, value: v128): void {
  v128.store(cpu + (n << 4), value, CPU_V);
}

/** Writes Vn; when `q` is 0 only the low 64 bits of `value` count and the rest becomes zero. */
// @ts-ignore: decorator
@inline
export function writeQ(cpu: usize, n: u32, q: u32, value: v128): void {
  v128.store(cpu + (n << 4), value, CPU_V);
  if (!q) store<u64>(cpu + (n << 4), 0, CPU_V + 8);
}

/** Writes a scalar: zero above it. */
// @ts-ignore: decorator
@inline
export function writeScalar(cpu: usize, n: u32, value: u64): void {
  store<u64>(cpu + (n << 4), value, CPU_V);
  store<u64>(cpu + (n << 4), 0, CPU_V + 8);
}

// @ts-ignore: decorator
@inline
export function readS(cpu: usize, n: u32): u32 {
  return load<u32>(cpu + (n << 4), CPU_V);
}

// @ts-ignore: decorator
@inline
export function readD64(cpu: usize, n: u32): u64 {
  return load<u64>(cpu + (n << 4), CPU_V);
}

/** Q: bit 30 of the instruction, not shifted down. */
// @ts-ignore: decorator
@inline
export function fieldQ(insn: u32): u32 {
  return insn & 0x40000000;
}

// @ts-ignore: decorator
@inline
export function fieldRd(insn: u32): u32 {
  return insn & 31;
}

// @ts-ignore: decorator
@inline
export function fieldRn(insn: u32): u32 {
  return (insn >> 5) & 31;
}

// @ts-ignore: decorator
@inline
export function fieldRm(insn: u32): u32 {
  return (insn >> 16) & 31;
}

// @ts-ignore: decorator
@inline
export function fieldSize(insn: u32): u32 {
  return (insn >> 22) & 3;
}
