import type { CpuidEntry } from '@vmm/hypervisor';
import { ArchError } from '../errors.ts';
import { has, makeConsistent, setFeature } from './cpuid-features.ts';
import { makePortable } from './cpuid-portable.ts';
import { CpuidTable } from './cpuid-table.ts';
import { MAX_VCPUS } from './layout.ts';

/**
 * `host`: everything that processor and hypervisor offer. `portable`: what processors of the last fifteen years have in
 * common (x86-64-v2), for guests that shall go on elsewhere.
 */
export type CpuModel = 'host' | 'portable';

/** Whose CPUID it is. */
export interface CpuidConfig {
  /** The vCPU's number, which is its APIC identifier: 0…`vcpus`-1. */
  readonly id: number;
  /** Number of vCPUs, 1…{@link MAX_VCPUS}: cores of one thread each, in one package. */
  readonly vcpus: number;
  /** Default `host`. */
  readonly model?: CpuModel | undefined;
}

/** Vendors of processors with AMD's leaves. */
const AMD_VENDORS: readonly string[] = ['AuthenticAMD', 'HygonGenuine'];

/**
 * CPUID's answers for one vCPU, out of what the hypervisor supports: a guest under a hypervisor, with the hypervisor's own
 * leaves (KVM: 0x4000_0000 on) as they are, the machine's topology in leaves 1, 4, 0xB, 0x1F, 0x8000_0008, 0x8000_001D and
 * 0x8000_001E, and no feature without what it needs. Which timers and APIC modes there are is as `supported` says.
 *
 * @param supported of `X86Hypervisor.supportedCpuid()`
 * @throws ArchError `INVALID_ARGUMENT` for numbers out of range
 */
export function cpuidFor(supported: readonly CpuidEntry[], config: CpuidConfig): CpuidEntry[] {
  const { id, vcpus, model = 'host' } = config;
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw new ArchError('INVALID_ARGUMENT', `${vcpus} vCPUs: 1 to ${MAX_VCPUS} are possible`);
  }
  if (!Number.isInteger(id) || id < 0 || id >= vcpus) {
    throw new ArchError('INVALID_ARGUMENT', `vCPU ${id} of ${vcpus}, counted from 0`);
  }
  const table = new CpuidTable(supported);
  if (model === 'portable') makePortable(table);
  setFeature(table, 'HYPERVISOR', true);
  // These two follow CR4, which is 0 yet.
  setFeature(table, 'OSXSAVE', false);
  setFeature(table, 'OSPKE', false);
  makeConsistent(table);
  setTopology(table, id, vcpus);
  return table.entries();
}

/** Level types of leaf 0xB (Intel SDM Vol. 2, CPUID). */
const LEVEL_SMT = 1;
const LEVEL_CORE = 2;

function setTopology(table: CpuidTable, id: number, vcpus: number): void {
  const width = Math.ceil(Math.log2(vcpus));
  const identifiers = 2 ** width;
  const features = table.find(1);
  if (features !== undefined) {
    // Initial APIC ID, number of logical processors; brand index and CLFLUSH size stay.
    features.ebx = ((features.ebx & 0xffff) | (vcpus << 16) | (id << 24)) >>> 0;
    setFeature(table, 'HTT', vcpus > 1);
  }
  for (const cache of table.all(4)) {
    if ((cache.eax & 0x1f) === 0) continue;
    cache.eax =
      ((cache.eax & 0x3fff) |
        ((sharers(cache.eax, identifiers) - 1) << 14) |
        ((Math.min(identifiers, 64) - 1) << 26)) >>>
      0;
  }
  const lastBasicLeaf = table.find(0)?.eax ?? 0;
  for (const leaf of [0xb, 0x1f]) {
    table.remove((entry) => entry.function === leaf);
    if (lastBasicLeaf < leaf) continue;
    const level = (index: number, shift: number, count: number, type: number): CpuidEntry => ({
      function: leaf,
      index,
      significantIndex: true,
      eax: shift,
      ebx: count,
      ecx: index | (type << 8),
      edx: id,
    });
    table.set(level(0, 0, 1, LEVEL_SMT));
    table.set(level(1, width, vcpus, LEVEL_CORE));
    table.set(level(2, 0, 0, 0));
  }
  // Another way of telling the host's topology (AMD APM Vol. 3, appendix E), which leaf 0xB stands for.
  table.remove((entry) => entry.function === 0x8000_0026);
  if (isAmd(table)) setAmdTopology(table, id, vcpus, width);
}

/** Caches from the third level on are shared by all. */
function sharers(eax: number, all: number): number {
  return ((eax >>> 5) & 7) >= 3 ? all : 1;
}

/** AMD APM Vol. 3, E.4.7 and E.4.15 f. */
function setAmdTopology(table: CpuidTable, id: number, vcpus: number, width: number): void {
  setFeature(table, 'CMP_LEGACY', vcpus > 1);
  const sizes = table.find(0x8000_0008);
  if (sizes !== undefined) sizes.ecx = ((sizes.ecx & ~0xf0ff) | (vcpus - 1) | (width << 12)) >>> 0;
  if (!has(table, 'TOPOEXT')) return;
  for (const cache of table.all(0x8000_001d)) {
    if ((cache.eax & 0x1f) === 0) continue;
    cache.eax = ((cache.eax & ~(0xfff << 14)) | ((sharers(cache.eax, vcpus) - 1) << 14)) >>> 0;
  }
  const identifiers = table.find(0x8000_001e);
  if (identifiers === undefined) return;
  identifiers.eax = id;
  // The core's number; one thread for each. All are on node 0 of one.
  identifiers.ebx = id;
  identifiers.ecx = 0;
  identifiers.edx = 0;
}

function isAmd(table: CpuidTable): boolean {
  const leaf = table.find(0);
  if (leaf === undefined) return false;
  const vendor = [leaf.ebx, leaf.edx, leaf.ecx]
    .flatMap((word) => [0, 8, 16, 24].map((shift) => String.fromCharCode((word >>> shift) & 0xff)))
    .join('');
  return AMD_VENDORS.includes(vendor);
}
