import {
  CLIDR_EL1, CTR_EL0, DCZID_EL0, ID_AA64DFR0_EL1, ID_AA64ISAR0_EL1, ID_AA64MMFR0_EL1, ID_AA64PFR0_EL1, MIDR_EL1,
} from './encodings';
import { HEADER, HEADER_GIC_ENABLED } from './layout';
import { PA_RANGE } from './mmu';

// Identification registers: those of a Cortex-A57 without AArch32, cryptography, PMU, EL2 and EL3.

/** Cortex-A57 r1p0. */
const MIDR: u64 = 0x411fd070;
/** EL0 and EL1 in AArch64 only; FP and Advanced SIMD; CSV2 3 and CSV3 1: nothing here runs speculatively. */
const PFR0: u64 = 0x1300000000000011;
const PFR0_GIC: u64 = 1 << 24;
/** Armv8 debug, 6 breakpoints, 4 watchpoints, 2 context-aware; no PMU. */
const DFR0: u64 = 0x10305006;
/** CRC32. */
const ISAR0: u64 = 0x10000;
/** 16-bit ASIDs, 4 KiB granule only. */
const MMFR0: u64 = 0x0f000020;
/** 64-byte lines, write-back granule of 64 bytes, IDC: data needs no cleaning for instruction fetches; not DIC. */
const CTR: u64 = 0x9444c004;
/** 64-byte blocks. */
const DCZID: u64 = 4;
/** Two levels: separate first, unified second. */
const CLIDR: u64 = 0x0a200023;

/** Value of an identification register; 0 for the reserved ones. */
export function identification(encoding: u32): u64 {
  switch (encoding) {
    case MIDR_EL1: return MIDR;
    case ID_AA64PFR0_EL1: return load<u32>(HEADER, HEADER_GIC_ENABLED) ? PFR0 | PFR0_GIC : PFR0;
    case ID_AA64DFR0_EL1: return DFR0;
    case ID_AA64ISAR0_EL1: return ISAR0;
    case ID_AA64MMFR0_EL1: return MMFR0 | PA_RANGE;
    case CTR_EL0: return CTR;
    case DCZID_EL0: return DCZID;
    case CLIDR_EL1: return CLIDR;
    default: return 0;
  }
}

/** CCSIDR_EL1 for CSSELR_EL1: 32 KiB data, 48 KiB instructions, 2 MiB unified. */
export function cacheSize(selector: u64): u64 {
  switch (<u32>selector) {
    case 0: return 0x701fe00a;
    case 1: return 0x201fe012;
    case 2: return 0x70ffe07a;
    default: return 0;
  }
}
