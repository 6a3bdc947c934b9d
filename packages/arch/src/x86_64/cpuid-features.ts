import type { CpuidTable } from './cpuid-table.ts';

/** A register of CPUID's answer. */
export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

/**
 * Features that the policy knows by name (Intel SDM Vol. 2, CPUID; AMD APM Vol. 3, appendix E). Names are Intel's, AMD's for
 * what only AMD has. Each is told by leaf, subleaf, register and bit.
 */
export const FEATURES = {
  FPU: [1, 0, 'edx', 0],
  VME: [1, 0, 'edx', 1],
  DE: [1, 0, 'edx', 2],
  PSE: [1, 0, 'edx', 3],
  TSC: [1, 0, 'edx', 4],
  MSR: [1, 0, 'edx', 5],
  PAE: [1, 0, 'edx', 6],
  MCE: [1, 0, 'edx', 7],
  CX8: [1, 0, 'edx', 8],
  APIC: [1, 0, 'edx', 9],
  SEP: [1, 0, 'edx', 11],
  MTRR: [1, 0, 'edx', 12],
  PGE: [1, 0, 'edx', 13],
  MCA: [1, 0, 'edx', 14],
  CMOV: [1, 0, 'edx', 15],
  PAT: [1, 0, 'edx', 16],
  PSE36: [1, 0, 'edx', 17],
  CLFSH: [1, 0, 'edx', 19],
  MMX: [1, 0, 'edx', 23],
  FXSR: [1, 0, 'edx', 24],
  SSE: [1, 0, 'edx', 25],
  SSE2: [1, 0, 'edx', 26],
  HTT: [1, 0, 'edx', 28],
  SSE3: [1, 0, 'ecx', 0],
  PCLMULQDQ: [1, 0, 'ecx', 1],
  VMX: [1, 0, 'ecx', 5],
  SSSE3: [1, 0, 'ecx', 9],
  FMA: [1, 0, 'ecx', 12],
  CX16: [1, 0, 'ecx', 13],
  PCID: [1, 0, 'ecx', 17],
  SSE4_1: [1, 0, 'ecx', 19],
  SSE4_2: [1, 0, 'ecx', 20],
  X2APIC: [1, 0, 'ecx', 21],
  POPCNT: [1, 0, 'ecx', 23],
  TSC_DEADLINE: [1, 0, 'ecx', 24],
  AES: [1, 0, 'ecx', 25],
  XSAVE: [1, 0, 'ecx', 26],
  OSXSAVE: [1, 0, 'ecx', 27],
  AVX: [1, 0, 'ecx', 28],
  F16C: [1, 0, 'ecx', 29],
  HYPERVISOR: [1, 0, 'ecx', 31],
  ARAT: [6, 0, 'eax', 2],
  AVX2: [7, 0, 'ebx', 5],
  INVPCID: [7, 0, 'ebx', 10],
  MPX: [7, 0, 'ebx', 14],
  AVX512F: [7, 0, 'ebx', 16],
  AVX512DQ: [7, 0, 'ebx', 17],
  AVX512_IFMA: [7, 0, 'ebx', 21],
  AVX512PF: [7, 0, 'ebx', 26],
  AVX512ER: [7, 0, 'ebx', 27],
  AVX512CD: [7, 0, 'ebx', 28],
  SHA: [7, 0, 'ebx', 29],
  AVX512BW: [7, 0, 'ebx', 30],
  AVX512VL: [7, 0, 'ebx', 31],
  AVX512_VBMI: [7, 0, 'ecx', 1],
  PKU: [7, 0, 'ecx', 3],
  OSPKE: [7, 0, 'ecx', 4],
  AVX512_VBMI2: [7, 0, 'ecx', 6],
  GFNI: [7, 0, 'ecx', 8],
  VAES: [7, 0, 'ecx', 9],
  VPCLMULQDQ: [7, 0, 'ecx', 10],
  AVX512_VNNI: [7, 0, 'ecx', 11],
  AVX512_BITALG: [7, 0, 'ecx', 12],
  AVX512_VPOPCNTDQ: [7, 0, 'ecx', 14],
  AVX512_4VNNIW: [7, 0, 'edx', 2],
  AVX512_4FMAPS: [7, 0, 'edx', 3],
  AVX512_VP2INTERSECT: [7, 0, 'edx', 8],
  AMX_BF16: [7, 0, 'edx', 22],
  AVX512_FP16: [7, 0, 'edx', 23],
  AMX_TILE: [7, 0, 'edx', 24],
  AMX_INT8: [7, 0, 'edx', 25],
  AVX_VNNI: [7, 1, 'eax', 4],
  AVX512_BF16: [7, 1, 'eax', 5],
  AMX_FP16: [7, 1, 'eax', 21],
  AVX_IFMA: [7, 1, 'eax', 23],
  AVX_VNNI_INT8: [7, 1, 'edx', 4],
  AVX_NE_CONVERT: [7, 1, 'edx', 5],
  AMX_COMPLEX: [7, 1, 'edx', 8],
  AVX_VNNI_INT16: [7, 1, 'edx', 10],
  AVX10: [7, 1, 'edx', 19],
  XSAVEOPT: [0xd, 1, 'eax', 0],
  XSAVEC: [0xd, 1, 'eax', 1],
  XGETBV1: [0xd, 1, 'eax', 2],
  XSAVES: [0xd, 1, 'eax', 3],
  XFD: [0xd, 1, 'eax', 4],
  LAHF: [0x8000_0001, 0, 'ecx', 0],
  CMP_LEGACY: [0x8000_0001, 0, 'ecx', 1],
  SVM: [0x8000_0001, 0, 'ecx', 2],
  SSE4A: [0x8000_0001, 0, 'ecx', 6],
  XOP: [0x8000_0001, 0, 'ecx', 11],
  FMA4: [0x8000_0001, 0, 'ecx', 16],
  TOPOEXT: [0x8000_0001, 0, 'ecx', 22],
  SYSCALL: [0x8000_0001, 0, 'edx', 11],
  NX: [0x8000_0001, 0, 'edx', 20],
  PDPE1GB: [0x8000_0001, 0, 'edx', 26],
  RDTSCP: [0x8000_0001, 0, 'edx', 27],
  LM: [0x8000_0001, 0, 'edx', 29],
} as const;

export type Feature = keyof typeof FEATURES;

/** A feature and those without which it cannot be offered. */
const DEPENDENCIES: readonly (readonly [Feature, readonly Feature[]])[] = [
  ['SSE', ['FXSR']],
  ['SSE2', ['SSE']],
  ['SSE3', ['SSE2']],
  ['SSSE3', ['SSE3']],
  ['SSE4_1', ['SSSE3']],
  ['SSE4_2', ['SSE4_1']],
  ['SSE4A', ['SSE3']],
  ['AES', ['SSE2']],
  ['PCLMULQDQ', ['SSE2']],
  ['SHA', ['SSE2']],
  ['GFNI', ['SSE2']],
  ['LM', ['PAE']],
  ['PDPE1GB', ['LM']],
  ['PCID', ['LM']],
  ['INVPCID', ['PCID']],
  ['X2APIC', ['APIC']],
  ['TSC_DEADLINE', ['APIC', 'TSC']],
  ['XSAVE', ['FXSR']],
  ['XSAVEOPT', ['XSAVE']],
  ['XSAVEC', ['XSAVE']],
  ['XGETBV1', ['XSAVE']],
  ['XSAVES', ['XSAVE']],
  ['XFD', ['XSAVE']],
  ['AVX', ['XSAVE', 'SSE4_2']],
  ['F16C', ['AVX']],
  ['FMA', ['AVX']],
  ['FMA4', ['AVX']],
  ['XOP', ['AVX']],
  ['AVX2', ['AVX']],
  ['VAES', ['AVX']],
  ['VPCLMULQDQ', ['AVX']],
  ['AVX_VNNI', ['AVX2']],
  ['AVX_IFMA', ['AVX2']],
  ['AVX_VNNI_INT8', ['AVX2']],
  ['AVX_VNNI_INT16', ['AVX2']],
  ['AVX_NE_CONVERT', ['AVX2']],
  ['AVX512F', ['AVX2', 'FMA', 'F16C']],
  ['AVX512DQ', ['AVX512F']],
  ['AVX512_IFMA', ['AVX512F']],
  ['AVX512PF', ['AVX512F']],
  ['AVX512ER', ['AVX512F']],
  ['AVX512CD', ['AVX512F']],
  ['AVX512BW', ['AVX512F']],
  ['AVX512VL', ['AVX512F']],
  ['AVX512_VNNI', ['AVX512F']],
  ['AVX512_VPOPCNTDQ', ['AVX512F']],
  ['AVX512_4VNNIW', ['AVX512F']],
  ['AVX512_4FMAPS', ['AVX512F']],
  ['AVX512_VP2INTERSECT', ['AVX512F']],
  ['AVX512_VBMI', ['AVX512BW']],
  ['AVX512_VBMI2', ['AVX512BW']],
  ['AVX512_BITALG', ['AVX512BW']],
  ['AVX512_BF16', ['AVX512BW']],
  ['AVX512_FP16', ['AVX512BW', 'AVX512VL']],
  ['AVX10', ['AVX512VL']],
  ['PKU', ['XSAVE']],
  ['MPX', ['XSAVE']],
  ['AMX_TILE', ['XSAVE', 'XFD']],
  ['AMX_BF16', ['AMX_TILE']],
  ['AMX_INT8', ['AMX_TILE']],
  ['AMX_FP16', ['AMX_TILE']],
  ['AMX_COMPLEX', ['AMX_TILE']],
];

/** Features and the parts of the extended state that they need: bits of XCR0 (Intel SDM Vol. 1 §13.1). */
const STATE_COMPONENTS: readonly (readonly [Feature, readonly number[]])[] = [
  ['AVX', [0, 1, 2]],
  ['MPX', [3, 4]],
  ['AVX512F', [5, 6, 7]],
  ['PKU', [9]],
  ['AMX_TILE', [17, 18]],
];

export function has(table: CpuidTable, feature: Feature): boolean {
  const [leaf, index, register, bit] = FEATURES[feature];
  return (((table.find(leaf, index)?.[register] ?? 0) >>> bit) & 1) === 1;
}

/** Where there is no such leaf the feature stays off. */
export function setFeature(table: CpuidTable, feature: Feature, on: boolean): void {
  const [leaf, index, register, bit] = FEATURES[feature];
  const entry = table.find(leaf, index);
  if (entry === undefined) return;
  entry[register] = ((entry[register] & ~(1 << bit)) | (on ? 1 << bit : 0)) >>> 0;
}

/**
 * Takes away features whose requirements are not there (AVX-512 without the state that XSAVE saves for it), and state
 * components whose features are not there, until nothing changes.
 */
export function makeConsistent(table: CpuidTable): void {
  for (let changed = true; changed;) {
    changed = false;
    const drop = (feature: Feature): void => {
      changed ||= has(table, feature);
      setFeature(table, feature, false);
    };
    for (const [feature, needed] of DEPENDENCIES) {
      if (needed.some((other) => !has(table, other))) drop(feature);
    }
    const components = table.find(0xd, 0)?.eax ?? 0;
    for (const [feature, bits] of STATE_COMPONENTS) {
      if (bits.some((bit) => ((components >>> bit) & 1) === 0)) drop(feature);
    }
    if (dropStateComponents(table)) changed = true;
  }
}

const XSAVE_HEADER_END = 576;
const MAX_COMPONENT = 63;

/**
 * Leaf 0xD (Intel SDM Vol. 1 §13.2): only what features use, and the size of what is left.
 *
 * @returns whether a component went that features may need
 */
function dropStateComponents(table: CpuidTable): boolean {
  if (!has(table, 'XSAVE')) table.remove((entry) => entry.function === 0xd);
  const main = table.find(0xd, 0);
  if (main === undefined) return false;
  const before = main.eax;
  for (const [feature, bits] of STATE_COMPONENTS) {
    if (has(table, feature)) continue;
    for (const bit of bits) if (bit >= 2) main.eax = (main.eax & ~(1 << bit)) >>> 0;
  }
  const supervisor = table.find(0xd, 1);
  const used = (bit: number): boolean =>
    bit < 32
      ? (((main.eax | (supervisor?.ecx ?? 0)) >>> bit) & 1) === 1
      : (((main.edx | (supervisor?.edx ?? 0)) >>> (bit - 32)) & 1) === 1;
  table.remove(({ function: leaf, index }) => leaf === 0xd && index >= 2 && !used(index));
  let size = XSAVE_HEADER_END;
  for (let bit = 2; bit <= MAX_COMPONENT; bit++) {
    const component = table.find(0xd, bit);
    // Supervisor components (ECX bit 0) have no place in the standard format.
    if (component !== undefined && (component.ecx & 1) === 0)
      size = Math.max(size, component.ebx + component.eax);
  }
  main.ecx = size;
  main.ebx = Math.min(main.ebx, size);
  return main.eax !== before;
}
