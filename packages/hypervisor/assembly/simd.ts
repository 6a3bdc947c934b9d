/** Executes an Advanced SIMD or scalar floating-point data-processing instruction; false when unallocated. */
export function execSimdFp(cpu: usize, insn: u32): bool {
  return false;
}

/** Executes an Advanced SIMD structure load or store; false when unallocated, true with `faulted` on a fault. */
export function execSimdLoadStore(cpu: usize, insn: u32): bool {
  return false;
}
