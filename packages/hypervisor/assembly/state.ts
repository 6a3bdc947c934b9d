import {
  CPU_EL, CPU_FLAG_A, CPU_FLAG_B, CPU_FLAG_KIND, CPU_FPCR, CPU_FPSR, CPU_INDEX, CPU_PC, CPU_SP, CPU_V,
  VCPU_BASE, VCPU_STRIDE,
} from './layout';

/** Memory offset of a vCPU block. */
// @ts-ignore: decorator
@inline
export function vcpuBlock(index: u32): usize {
  return VCPU_BASE + index * VCPU_STRIDE;
}

// @ts-ignore: decorator
@inline
export function vcpuIndex(cpu: usize): u32 {
  return load<u32>(cpu, CPU_INDEX);
}

/** Xn; 31 reads as zero. */
// @ts-ignore: decorator
@inline
export function getX(cpu: usize, n: u32): u64 {
  return load<u64>(cpu + (n << 3));
}

/** Wn; 31 reads as zero. */
// @ts-ignore: decorator
@inline
export function getW(cpu: usize, n: u32): u32 {
  return load<u32>(cpu + (n << 3));
}

/** Writes Xn; 31 discards. */
// @ts-ignore: decorator
@inline
export function setX(cpu: usize, n: u32, value: u64): void {
  if (n != 31) store<u64>(cpu + (n << 3), value);
}

/** Xn, or SP for 31. */
// @ts-ignore: decorator
@inline
export function getXsp(cpu: usize, n: u32): u64 {
  return load<u64>(cpu + (n == 31 ? CPU_SP : n << 3));
}

/** Writes Xn, or SP for 31. */
// @ts-ignore: decorator
@inline
export function setXsp(cpu: usize, n: u32, value: u64): void {
  store<u64>(cpu + (n == 31 ? CPU_SP : n << 3), value);
}

// @ts-ignore: decorator
@inline
export function getPc(cpu: usize): u64 {
  return load<u64>(cpu, CPU_PC);
}

// @ts-ignore: decorator
@inline
export function currentEl(cpu: usize): u32 {
  return load<u32>(cpu, CPU_EL);
}

// @ts-ignore: decorator
@inline
export function vLow(cpu: usize, n: u32): u64 {
  return load<u64>(cpu + (n << 4), CPU_V);
}

// @ts-ignore: decorator
@inline
export function vHigh(cpu: usize, n: u32): u64 {
  return load<u64>(cpu + (n << 4), CPU_V + 8);
}

// @ts-ignore: decorator
@inline
export function setV(cpu: usize, n: u32, low: u64, high: u64): void {
  store<u64>(cpu + (n << 4), low, CPU_V);
  store<u64>(cpu + (n << 4), high, CPU_V + 8);
}

// @ts-ignore: decorator
@inline
export function setVLow(cpu: usize, n: u32, value: u64): void {
  store<u64>(cpu + (n << 4), value, CPU_V);
}

// @ts-ignore: decorator
@inline
export function setVHigh(cpu: usize, n: u32, value: u64): void {
  store<u64>(cpu + (n << 4), value, CPU_V + 8);
}

// @ts-ignore: decorator
@inline
export function getFpcr(cpu: usize): u32 {
  return load<u32>(cpu, CPU_FPCR);
}

// @ts-ignore: decorator
@inline
export function setFpcr(cpu: usize, value: u32): void {
  store<u32>(cpu, value, CPU_FPCR);
}

// @ts-ignore: decorator
@inline
export function getFpsr(cpu: usize): u32 {
  return load<u32>(cpu, CPU_FPSR);
}

// @ts-ignore: decorator
@inline
export function setFpsr(cpu: usize, value: u32): void {
  store<u32>(cpu, value, CPU_FPSR);
}

// Condition flags are kept as the operands that they come from, because most of them are never looked at, and most
// that are come from a comparison, which a single host instruction redoes. 32-bit operands are shifted to the top.

/** The flags of A - B. */
export const FLAGS_SUB: u32 = 0;
/** N and Z of A; C and V clear. */
export const FLAGS_LOGIC: u32 = 1;
/** NZCV itself in bits 31:28 of A. */
export const FLAGS_NZCV: u32 = 2;

export const FLAG_N: u32 = 0x80000000;
export const FLAG_Z: u32 = 0x40000000;
export const FLAG_C: u32 = 0x20000000;
export const FLAG_V: u32 = 0x10000000;

/** NZCV in bits 31:28. */
export function getNZCV(cpu: usize): u32 {
  const kind = load<u32>(cpu, CPU_FLAG_KIND);
  const a = load<u64>(cpu, CPU_FLAG_A);
  if (kind == FLAGS_SUB) {
    const b = load<u64>(cpu, CPU_FLAG_B);
    const r = a - b;
    return (<u32>(r >> 63) << 31) | (u32(a == b) << 30) | (u32(a >= b) << 29)
      | (<u32>(((a ^ b) & (a ^ r)) >> 63) << 28);
  }
  if (kind == FLAGS_LOGIC) return (<u32>(a >> 63) << 31) | (u32(a == 0) << 30);
  return <u32>a;
}

/** Bits 31:28 of `value`; the others are ignored. */
export function setNZCV(cpu: usize, value: u32): void {
  store<u64>(cpu, <u64>(value & 0xf0000000), CPU_FLAG_A);
  store<u32>(cpu, FLAGS_NZCV, CPU_FLAG_KIND);
}

/** ConditionHolds(), Arm ARM J1.1.3, for NZCV in bits 31:28. */
export function conditionHolds(nzcv: u32, cond: u32): bool {
  const n = nzcv >> 31;
  const z = (nzcv >> 30) & 1;
  const c = (nzcv >> 29) & 1;
  const v = (nzcv >> 28) & 1;
  let r: u32;
  switch (cond >> 1) {
    case 0: { r = z; break; }
    case 1: { r = c; break; }
    case 2: { r = n; break; }
    case 3: { r = v; break; }
    case 4: { r = c & (z ^ 1); break; }
    case 5: { r = u32(n == v); break; }
    case 6: { r = u32(n == v) & (z ^ 1); break; }
    default: return true;
  }
  return (r ^ (cond & 1)) != 0;
}

/** ConditionHolds() for the flags of the vCPU. */
export function condition(cpu: usize, cond: u32): bool {
  return conditionHolds(getNZCV(cpu), cond);
}

/** Flags of the 64-bit a - b. */
// @ts-ignore: decorator
@inline
export function setFlagsSub64(cpu: usize, a: u64, b: u64): void {
  store<u64>(cpu, a, CPU_FLAG_A);
  store<u64>(cpu, b, CPU_FLAG_B);
  store<u32>(cpu, FLAGS_SUB, CPU_FLAG_KIND);
}

/** Flags of the 32-bit a - b. */
// @ts-ignore: decorator
@inline
export function setFlagsSub32(cpu: usize, a: u32, b: u32): void {
  setFlagsSub64(cpu, <u64>a << 32, <u64>b << 32);
}

/** Flags of a 64-bit logical result. */
// @ts-ignore: decorator
@inline
export function setFlagsLogic64(cpu: usize, result: u64): void {
  store<u64>(cpu, result, CPU_FLAG_A);
  store<u32>(cpu, FLAGS_LOGIC, CPU_FLAG_KIND);
}

/** Flags of a 32-bit logical result. */
// @ts-ignore: decorator
@inline
export function setFlagsLogic32(cpu: usize, result: u32): void {
  setFlagsLogic64(cpu, <u64>result << 32);
}

/** NZCV of the 64-bit a + b + carry. */
export function addNZCV64(a: u64, b: u64, carry: u64): u32 {
  const r = a + b + carry;
  const c = ((a & b) | ((a | b) & ~r)) >> 63;
  const v = ((a ^ r) & (b ^ r)) >> 63;
  return (<u32>(r >> 63) << 31) | (u32(r == 0) << 30) | (<u32>c << 29) | (<u32>v << 28);
}

/** NZCV of the 32-bit a + b + carry. */
export function addNZCV32(a: u32, b: u32, carry: u32): u32 {
  const r = a + b + carry;
  const c = ((a & b) | ((a | b) & ~r)) >> 31;
  const v = ((a ^ r) & (b ^ r)) >> 31;
  return ((r >> 31) << 31) | (u32(r == 0) << 30) | (c << 29) | (v << 28);
}
