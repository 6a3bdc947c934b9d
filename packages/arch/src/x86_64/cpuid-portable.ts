import { FEATURES } from './cpuid-features.ts';
import type { CpuidRegister, Feature } from './cpuid-features.ts';
import type { CpuidTable } from './cpuid-table.ts';

/**
 * Features of the `portable` model: x86-64-v2 (System V ABI, AMD64 supplement, table 3.1), what such processors have besides
 * (RDTSCP, NX, machine checks, MTRRs), and what the hypervisor provides by itself (x2APIC, TSC deadline timer). No AVX and
 * so no XSAVE, no AES, no virtualization, no invariant TSC, no performance counters; no controls of speculative execution
 * either, which differ between processors: guests fall back on what they can do without.
 */
const PORTABLE_FEATURES: readonly Feature[] = [
  'FPU',
  'VME',
  'DE',
  'PSE',
  'TSC',
  'MSR',
  'PAE',
  'MCE',
  'CX8',
  'APIC',
  'SEP',
  'MTRR',
  'PGE',
  'MCA',
  'CMOV',
  'PAT',
  'PSE36',
  'CLFSH',
  'MMX',
  'FXSR',
  'SSE',
  'SSE2',
  'HTT',
  'SSE3',
  'SSSE3',
  'CX16',
  'SSE4_1',
  'SSE4_2',
  'X2APIC',
  'POPCNT',
  'TSC_DEADLINE',
  'HYPERVISOR',
  'ARAT',
  'LAHF',
  'CMP_LEGACY',
  'SYSCALL',
  'NX',
  'RDTSCP',
  'LM',
];

/** AMD repeats these features of leaf 1 EDX in leaf 0x8000_0001 EDX (AMD APM Vol. 3, E.4.2). */
const AMD_REPEATED = 0x0183_f3ff;
/**
 * Bits of KVM_CPUID_FEATURES that Linux has had since 4.19 (Documentation/virt/kvm/x86/cpuid.rst): CLOCKSOURCE,
 * NOP_IO_DELAY, CLOCKSOURCE2, STEAL_TIME, PV_EOI, PV_UNHALT, PV_TLB_FLUSH, PV_SEND_IPI, CLOCKSOURCE_STABLE.
 */
const KVM_FEATURES_4_19 =
  (1 << 0) | (1 << 1) | (1 << 3) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 9) | (1 << 11) | (1 << 24);

const MAX_BASIC_LEAF = 0xb;
const MAX_EXTENDED_LEAF = 0x8000_0008;
/** The memory map ends here. */
const MAX_PHYSICAL_ADDRESS_BITS = 40;

const KEEP = 0xffff_ffff;
type Mask = Readonly<Record<CpuidRegister, number>>;

/** Which bits of which leaves stay, all subleaves alike; leaves that are not named go. */
const MASKS: ReadonlyMap<number, Mask> = new Map<number, Mask>([
  [0, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [1, { eax: KEEP, ebx: KEEP, ...featureMasks(1) }],
  // Caches: told, not used by instructions.
  [2, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [4, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [6, { eax: featureMask(6, 'eax'), ebx: 0, ecx: 0, edx: 0 }],
  [0xb, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x4000_0000, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x4000_0001, { eax: KVM_FEATURES_4_19, ebx: 0, ecx: 0, edx: 0 }],
  [0x8000_0000, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [
    0x8000_0001,
    {
      eax: KEEP,
      ebx: 0,
      ecx: featureMask(0x8000_0001, 'ecx'),
      edx: featureMask(0x8000_0001, 'edx') | AMD_REPEATED,
    },
  ],
  [0x8000_0002, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x8000_0003, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x8000_0004, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x8000_0005, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  [0x8000_0006, { eax: KEEP, ebx: KEEP, ecx: KEEP, edx: KEEP }],
  // Widths of addresses; ECX tells the number of cores.
  [0x8000_0008, { eax: 0xffff, ebx: 0, ecx: KEEP, edx: 0 }],
]);

function featureMask(leaf: number, register: CpuidRegister): number {
  return PORTABLE_FEATURES.map((name) => FEATURES[name])
    .filter((place) => place[0] === leaf && place[2] === register)
    .reduce((mask, place) => mask | (1 << place[3]), 0);
}

function featureMasks(leaf: number): { readonly ecx: number; readonly edx: number } {
  return { ecx: featureMask(leaf, 'ecx'), edx: featureMask(leaf, 'edx') };
}

/** Takes away what the `portable` model does not have. Vendor, family and model stay the host's. */
export function makePortable(table: CpuidTable): void {
  table.remove((entry) => !MASKS.has(entry.function));
  for (const [leaf, mask] of MASKS) {
    for (const entry of table.all(leaf)) {
      for (const register of ['eax', 'ebx', 'ecx', 'edx'] as const) {
        entry[register] = (entry[register] & mask[register]) >>> 0;
      }
    }
  }
  const basic = table.find(0);
  if (basic !== undefined) basic.eax = Math.min(basic.eax, MAX_BASIC_LEAF);
  const extended = table.find(0x8000_0000);
  if (extended !== undefined) extended.eax = Math.min(extended.eax, MAX_EXTENDED_LEAF);
  const widths = table.find(0x8000_0008);
  if (widths !== undefined) {
    widths.eax = (widths.eax & 0xff00) | Math.min(widths.eax & 0xff, MAX_PHYSICAL_ADDRESS_BITS);
  }
}
