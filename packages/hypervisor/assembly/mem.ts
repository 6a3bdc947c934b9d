import { CPU_FAULTED } from './layout';

// Guest virtual loads and stores for instructions outside the interpreter's fast paths. When an access cannot be
// made (translation or permission fault, alignment, an MMIO access that the host has to answer first), the exception
// or exit is recorded, `faulted(cpu)` turns true, loads return 0 and stores do nothing. The caller then leaves
// without changing any register. Once faulted, further accesses of the instruction do nothing either.

// @ts-ignore: decorator
@inline
export function faulted(cpu: usize): bool {
  return load<u32>(cpu, CPU_FAULTED) != 0;
}

/** Loads 1 << log2 bytes (log2 0…3), zero-extended. */
export function memLoad(cpu: usize, va: u64, log2: u32): u64 {
  return 0;
}

/** Loads 16 bytes: returns the low half and leaves the high half for `memHigh`. */
export function memLoad128(cpu: usize, va: u64): u64 {
  return 0;
}

export function memHigh(cpu: usize): u64 {
  return 0;
}

/** Stores the low 1 << log2 bytes of `value` (log2 0…3). */
export function memStore(cpu: usize, va: u64, log2: u32, value: u64): void {
}

export function memStore128(cpu: usize, va: u64, low: u64, high: u64): void {
}
