import { FSC_ACCESS_FLAG, FSC_ADDRESS_SIZE, FSC_EXTERNAL_WALK, FSC_PERMISSION, FSC_TRANSLATION } from './exceptions';
import { SYS_MAIR, SYS_SCTLR, SYS_TCR, SYS_TTBR0, SYS_TTBR1 } from './layout';
import { physicalToHost } from './regions';

// VMSAv8-64 stage 1 of the EL1&0 regime with the 4 KiB granule, Arm ARM D8.

export const ACCESS_READ: u32 = 1;
export const ACCESS_WRITE: u32 = 2;
export const ACCESS_EXECUTE: u32 = 4;

/** Physical address size, ID_AA64MMFR0_EL1.PARange. */
export const PA_BITS: u32 = 40;
export const PA_RANGE: u64 = 2;

export const SCTLR_M: u64 = 1;
const SCTLR_WXN: u64 = 1 << 19;

const DESCRIPTOR_ADDRESS: u64 = 0x0000fffffffff000;

// What the last walk found. An instance serves one vCPU at a time, so these are scratch.

/** Physical address. */
export let walkPhysical: u64 = 0;
/** `ACCESS_*` bits that the current exception level has. */
export let walkPermissions: u32 = 0;
/** log2 of the size of the mapping. */
export let walkShift: u32 = 0;
/** Memory attributes, a MAIR_EL1 byte. */
export let walkAttributes: u32 = 0;
/** Whether the mapping belongs to one address space (nG). */
export let walkNonGlobal: bool = false;
/** SH of the descriptor. */
export let walkShareability: u32 = 0;
/** Fault status code of a failed walk; after a successful one, that of a permission fault there. */
export let walkFault: u32 = 0;

/** Whether the top byte of `va` is ignored (TCR_EL1.TBI0, TBI1). */
export function topByteIgnored(cpu: usize, va: u64): bool {
  return ((load<u64>(cpu, SYS_TCR) >> (37 + ((va >> 55) & 1))) & 1) != 0;
}

/** Log2 of the output size that TCR_EL1.IPS allows here. */
function outputBits(tcr: u64): u32 {
  switch (<u32>(tcr >> 32) & 7) {
    case 0: return 32;
    case 1: return 36;
    default: return PA_BITS;
  }
}

/** Walks the tables for `va` as seen from `el`; false with `walkFault` when there is no mapping. */
export function walk(cpu: usize, va: u64, el: u32): bool {
  const sctlr = load<u64>(cpu, SYS_SCTLR);
  const high = <u32>(va >> 55) & 1;
  const tcr = load<u64>(cpu, SYS_TCR);
  const ignored = ((tcr >> (37 + high)) & 1) != 0;
  if ((sctlr & SCTLR_M) == 0) {
    const pa = ignored ? va & 0x00ffffffffffffff : va;
    if (pa >> PA_BITS) {
      walkFault = FSC_ADDRESS_SIZE;
      return false;
    }
    walkPhysical = pa;
    walkPermissions = ACCESS_READ | ACCESS_WRITE | ACCESS_EXECUTE;
    walkShift = 12;
    walkAttributes = 0;
    walkNonGlobal = false;
    return true;
  }

  let size = <u32>(high ? tcr >> 16 : tcr) & 63;
  if (size < 16) size = 16;
  if (size > 39) size = 39;
  // Every address bit above the input size (up to 63, or 55 with a tag) equals bit 55.
  const upper = high ? ~va : va;
  const epd = (tcr >> (high ? 23 : 7)) & 1;
  if (epd != 0 || ((ignored ? upper & 0x00ffffffffffffff : upper) >> (64 - size)) != 0) {
    walkFault = FSC_TRANSLATION;
    return false;
  }

  const inputBits = 64 - size;
  const paBits = outputBits(tcr);
  let level = 4 - (inputBits - 4) / 9;
  let shift = 12 + 9 * (3 - level);
  let table = (high ? load<u64>(cpu, SYS_TTBR1) : load<u64>(cpu, SYS_TTBR0)) & 0x0000fffffffffffe;
  table &= ~((<u64>8 << (inputBits - shift)) - 1);
  if (table >> paBits) {
    walkFault = FSC_ADDRESS_SIZE;
    return false;
  }
  let index = (va >> shift) & ((<u64>1 << (inputBits - shift)) - 1);
  // Hierarchical attributes gathered on the way: APTable, UXNTable, PXNTable.
  let hierarchy: u64 = 0;
  let descriptor: u64;
  while (true) {
    const host = physicalToHost(table + (index << 3));
    if (host == 0) {
      walkFault = FSC_EXTERNAL_WALK + level;
      return false;
    }
    descriptor = load<u64>(host);
    const table3 = (descriptor & 2) != 0;
    if ((descriptor & 1) == 0 || (level == 3 ? !table3 : level == 0 && !table3)) {
      walkFault = FSC_TRANSLATION + level;
      return false;
    }
    if ((descriptor & DESCRIPTOR_ADDRESS) >> paBits) {
      walkFault = FSC_ADDRESS_SIZE + level;
      return false;
    }
    if (level == 3 || !table3) break;
    hierarchy |= descriptor;
    table = descriptor & DESCRIPTOR_ADDRESS;
    level++;
    shift -= 9;
    index = (va >> shift) & 511;
  }
  if ((descriptor & 0x400) == 0) {
    walkFault = FSC_ACCESS_FLAG + level;
    return false;
  }

  const offsetMask = (<u64>1 << shift) - 1;
  walkPhysical = (descriptor & DESCRIPTOR_ADDRESS & ~offsetMask) | (va & offsetMask);
  walkShift = shift;
  walkAttributes = <u32>(load<u64>(cpu, SYS_MAIR) >> ((descriptor & 0x1c) << 1)) & 0xff;
  walkNonGlobal = (descriptor & 0x800) != 0;
  walkShareability = <u32>(descriptor >> 8) & 3;
  walkFault = FSC_PERMISSION + level;
  const el0 = (descriptor & 0x40) != 0 && ((hierarchy >> 61) & 1) == 0;
  const readOnly = (descriptor & 0x80) != 0 || ((hierarchy >> 62) & 1) != 0;
  const pxn = ((descriptor >> 53) & 1) != 0 || ((hierarchy >> 59) & 1) != 0;
  const uxn = ((descriptor >> 54) & 1) != 0 || ((hierarchy >> 60) & 1) != 0;
  let permissions: u32;
  let executeNever: bool;
  if (el) {
    permissions = readOnly ? ACCESS_READ : ACCESS_READ | ACCESS_WRITE;
    executeNever = pxn || (el0 && !readOnly);
  } else {
    permissions = !el0 ? 0 : readOnly ? ACCESS_READ : ACCESS_READ | ACCESS_WRITE;
    executeNever = uxn;
  }
  if ((sctlr & SCTLR_WXN) != 0 && (permissions & ACCESS_WRITE) != 0) executeNever = true;
  walkPermissions = executeNever ? permissions : permissions | ACCESS_EXECUTE;
  return true;
}
