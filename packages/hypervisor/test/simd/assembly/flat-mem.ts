// Stands in for assembly/mem.ts in the test build: guest memory is one small flat range, everything else faults.
import { CPU_FAULTED, CPU_MEM_HIGH } from './layout';

export const MEMORY_OFFSET: usize = 0x200000;
export const MEMORY_SIZE: u32 = 256;
const MEMORY_ADDRESS: u64 = 0x10000000;

export function faulted(cpu: usize): bool {
  return load<u32>(cpu, CPU_FAULTED) != 0;
}

function host(cpu: usize, va: u64, bytes: u32): usize {
  const offset = va - MEMORY_ADDRESS;
  if (offset + bytes <= MEMORY_SIZE && offset < MEMORY_SIZE) return MEMORY_OFFSET + <usize>offset;
  store<u32>(cpu, 1, CPU_FAULTED);
  return 0;
}

export function memLoad(cpu: usize, va: u64, log2: u32): u64 {
  const at = host(cpu, va, 1 << log2);
  if (!at) return 0;
  switch (log2) {
    case 0: return load<u8>(at);
    case 1: return load<u16>(at);
    case 2: return load<u32>(at);
    default: return load<u64>(at);
  }
}

export function memLoad128(cpu: usize, va: u64): u64 {
  const at = host(cpu, va, 16);
  if (!at) return 0;
  store<u64>(cpu, load<u64>(at, 8), CPU_MEM_HIGH);
  return load<u64>(at);
}

export function memHigh(cpu: usize): u64 {
  return load<u64>(cpu, CPU_MEM_HIGH);
}

export function memStore(cpu: usize, va: u64, log2: u32, value: u64): void {
  const at = host(cpu, va, 1 << log2);
  if (!at) return;
  switch (log2) {
    case 0: store<u8>(at, <u8>value); break;
    case 1: store<u16>(at, <u16>value); break;
    case 2: store<u32>(at, <u32>value); break;
    default: store<u64>(at, value);
  }
}

export function memStore128(cpu: usize, va: u64, low: u64, high: u64): void {
  const at = host(cpu, va, 16);
  if (!at) return;
  store<u64>(at, low);
  store<u64>(at, high, 8);
}

/** User mode on the oracle runs with SCTLR_EL1.A clear. */
export function alignmentChecked(cpu: usize): bool {
  return false;
}
