import {
  FSC_ALIGNMENT, ISS_WNR, raiseDataAbort,
} from './exceptions';
import { dirtyLogged, noteStore } from './dirty-log';
import { CPU_EL, CPU_FAULTED, CPU_MEM_HIGH, SYS_SCTLR, TLB_ADDEND, TLB_READ, TLB_WRITE } from './layout';
import { mmioRead, mmioWrite } from './mmio';
import {
  ACCESS_READ, ACCESS_WRITE, SCTLR_M, walk, walkAttributes, walkFault, walkPermissions, walkPhysical,
} from './mmu';
import { physicalToHost, regionWritable } from './regions';
import { PAGE_MASK, dataEntry, fillData, tlbOf } from './tlb';

// Guest virtual loads and stores for instructions outside the interpreter's fast paths. When an access cannot be
// made (translation or permission fault, alignment, an MMIO access that the host has to answer first), the exception
// or exit is recorded, `faulted(cpu)` turns true, loads return 0 and stores do nothing. The caller then leaves
// without changing any register. Once faulted, further accesses of the instruction do nothing either.

const SCTLR_A: u64 = 2;

// @ts-ignore: decorator
@inline
export function faulted(cpu: usize): bool {
  return load<u32>(cpu, CPU_FAULTED) != 0;
}

/** Whether SCTLR_EL1.A asks for aligned accesses. */
export function alignmentChecked(cpu: usize): bool {
  return (load<u64>(cpu, SYS_SCTLR) & SCTLR_A) != 0;
}

/** Raises the alignment fault of an access that must be aligned to `size` bytes; true when it is misaligned. */
export function alignmentFault(cpu: usize, va: u64, size: u32, write: bool): bool {
  if ((va & (size - 1)) == 0) return false;
  if (!faulted(cpu)) raiseDataAbort(cpu, FSC_ALIGNMENT | (write ? ISS_WNR : 0), va);
  return true;
}

/**
 * Memory offset for an access that does not cross a page. 0 when it faulted, or, without a fault, when it is an MMIO
 * access to `walkPhysical`.
 *
 * @param size bytes, a power of two, to which the access is aligned where alignment matters
 */
export function dataAddress(cpu: usize, va: u64, size: u32, access: u32, el: u32): usize {
  const entry = dataEntry(tlbOf(cpu, el), va);
  const tag = access == ACCESS_WRITE ? load<u64>(entry, TLB_WRITE) : load<u64>(entry, TLB_READ);
  if (tag == (va & PAGE_MASK)) return <u32>va + load<u32>(entry, TLB_ADDEND);

  const write = access == ACCESS_WRITE;
  const sctlr = load<u64>(cpu, SYS_SCTLR);
  if ((sctlr & SCTLR_A) != 0 && alignmentFault(cpu, va, size, write)) return 0;
  if (!walk(cpu, va, el) || (walkPermissions & access) == 0) {
    raiseDataAbort(cpu, walkFault | (write ? ISS_WNR : 0), va);
    return 0;
  }
  const device = (walkAttributes & 0xf0) == 0 && (sctlr & SCTLR_M) != 0;
  if (device && alignmentFault(cpu, va, size, write)) return 0;
  const host = physicalToHost(walkPhysical);
  if (host == 0 || (write && !regionWritable)) {
    // Devices see aligned accesses only, whatever the guest's tables say about them.
    alignmentFault(cpu, va, size, write);
    return 0;
  }
  const logged = dirtyLogged();
  if (logged && write) noteStore(host);
  fillData(cpu, el, va, host, regionWritable && (write || !logged));
  return host;
}

// @ts-ignore: decorator
@inline
function crosses(va: u64, size: u32): bool {
  return (<u32>va & 0xfff) + size > 0x1000;
}

/** Loads across a page boundary, byte by byte; both pages are checked first. */
function loadAcross(cpu: usize, va: u64, size: u32, el: u32): u64 {
  const split: u32 = 0x1000 - (<u32>va & 0xfff);
  // Before the translation (Arm ARM D1.3.6, priority of synchronous exceptions).
  if (alignmentChecked(cpu)) {
    raiseDataAbort(cpu, FSC_ALIGNMENT, va);
    return 0;
  }
  const first = dataAddress(cpu, va, 1, ACCESS_READ, el);
  if (first == 0) {
    if (!faulted(cpu)) raiseDataAbort(cpu, FSC_ALIGNMENT, va);
    return 0;
  }
  const second = dataAddress(cpu, va + split, 1, ACCESS_READ, el);
  if (second == 0) {
    if (!faulted(cpu)) raiseDataAbort(cpu, FSC_ALIGNMENT, va);
    return 0;
  }
  let value: u64 = 0;
  for (let i: u32 = 0; i < size; i++) {
    const byte = i < split ? load<u8>(first + i) : load<u8>(second + i - split);
    value |= <u64>byte << (i << 3);
  }
  return value;
}

function storeAcross(cpu: usize, va: u64, size: u32, value: u64, el: u32): void {
  const split: u32 = 0x1000 - (<u32>va & 0xfff);
  if (alignmentChecked(cpu)) {
    raiseDataAbort(cpu, FSC_ALIGNMENT | ISS_WNR, va);
    return;
  }
  const first = dataAddress(cpu, va, 1, ACCESS_WRITE, el);
  const second: usize = first == 0 ? <usize>0 : dataAddress(cpu, va + split, 1, ACCESS_WRITE, el);
  if (faulted(cpu)) return;
  if (second == 0) {
    raiseDataAbort(cpu, FSC_ALIGNMENT | ISS_WNR, va);
    return;
  }
  for (let i: u32 = 0; i < size; i++) {
    store<u8>(i < split ? first + i : second + i - split, <u8>(value >> (i << 3)));
  }
}

/** `memLoad` with the permissions of `el`. */
export function memLoadAs(cpu: usize, va: u64, log2: u32, el: u32): u64 {
  if (faulted(cpu)) return 0;
  const size: u32 = 1 << log2;
  if (crosses(va, size)) return loadAcross(cpu, va, size, el);
  const host = dataAddress(cpu, va, size, ACCESS_READ, el);
  if (host == 0) return faulted(cpu) ? 0 : mmioRead(cpu, walkPhysical, size);
  switch (log2) {
    case 0: return <u64>load<u8>(host);
    case 1: return <u64>load<u16>(host);
    case 2: return <u64>load<u32>(host);
    default: return load<u64>(host);
  }
}

/** `memStore` with the permissions of `el`. */
export function memStoreAs(cpu: usize, va: u64, log2: u32, value: u64, el: u32): void {
  if (faulted(cpu)) return;
  const size: u32 = 1 << log2;
  if (crosses(va, size)) {
    storeAcross(cpu, va, size, value, el);
    return;
  }
  const host = dataAddress(cpu, va, size, ACCESS_WRITE, el);
  if (host == 0) {
    if (!faulted(cpu)) mmioWrite(cpu, walkPhysical, size, value);
    return;
  }
  switch (log2) {
    case 0: { store<u8>(host, <u8>value); break; }
    case 1: { store<u16>(host, <u16>value); break; }
    case 2: { store<u32>(host, <u32>value); break; }
    default: store<u64>(host, value);
  }
}

/** Loads 1 << log2 bytes (log2 0…3), zero-extended. */
export function memLoad(cpu: usize, va: u64, log2: u32): u64 {
  return memLoadAs(cpu, va, log2, load<u32>(cpu, CPU_EL));
}

/** Stores the low 1 << log2 bytes of `value` (log2 0…3). */
export function memStore(cpu: usize, va: u64, log2: u32, value: u64): void {
  memStoreAs(cpu, va, log2, value, load<u32>(cpu, CPU_EL));
}

/** Loads 16 bytes: returns the low half and leaves the high half for `memHigh`. */
export function memLoad128(cpu: usize, va: u64): u64 {
  if ((va & 15) != 0 && alignmentChecked(cpu)) {
    alignmentFault(cpu, va, 16, false);
    return 0;
  }
  const low = memLoad(cpu, va, 3);
  store<u64>(cpu, memLoad(cpu, va + 8, 3), CPU_MEM_HIGH);
  return low;
}

export function memHigh(cpu: usize): u64 {
  return load<u64>(cpu, CPU_MEM_HIGH);
}

/** Stores 16 bytes. When the second half faults, the first may have been stored. */
export function memStore128(cpu: usize, va: u64, low: u64, high: u64): void {
  if ((va & 15) != 0 && alignmentChecked(cpu)) {
    alignmentFault(cpu, va, 16, true);
    return;
  }
  memStore(cpu, va, 3, low);
  memStore(cpu, va + 8, 3, high);
}
