import { HypervisorError } from '../../errors.ts';
import { checkUnsigned } from '../../validate.ts';
import type { CpuidEntry } from '../../x86.ts';
import {
  CPUID_ENTRY_SIZE,
  CPUID_HEADER_SIZE,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  KVM_MAX_CPUID_ENTRIES,
} from './uapi.ts';

type Word = 'eax' | 'ebx' | 'ecx' | 'edx';

/**
 * What KVM derives from other registers whenever it is read (Intel SDM Vol. 2, CPUID): APIC, MONITOR and OSXSAVE, OSPKE,
 * and the size of the XSAVE area.
 */
const DERIVED: readonly (readonly [leaf: number, word: Word, mask: number])[] = [
  [1, 'ecx', (1 << 3) | (1 << 27)],
  [1, 'edx', 1 << 9],
  [7, 'ecx', 1 << 4],
  [0xd, 'ebx', ~0],
];

/** Whether two tables are the same to a guest in the same state. */
export function sameCpuid(first: readonly CpuidEntry[], second: readonly CpuidEntry[]): boolean {
  if (first.length !== second.length) return false;
  return first.every((entry, index) => {
    const other = second[index]!;
    const same = (word: Word): boolean =>
      ((entry[word] ^ other[word]) & ~derived(entry.function, word)) === 0;
    return (
      entry.function === other.function &&
      entry.index === other.index &&
      entry.significantIndex === other.significantIndex &&
      (['eax', 'ebx', 'ecx', 'edx'] as const).every(same)
    );
  });
}

function derived(leaf: number, word: Word): number {
  return DERIVED.find((item) => item[0] === leaf && item[1] === word)?.[2] ?? 0;
}

/** A struct kvm_cpuid2 with room for as many entries as KVM knows. */
export function emptyCpuid(): Uint8Array {
  const bytes = new Uint8Array(CPUID_HEADER_SIZE + KVM_MAX_CPUID_ENTRIES * CPUID_ENTRY_SIZE);
  new DataView(bytes.buffer).setUint32(0, KVM_MAX_CPUID_ENTRIES, true);
  return bytes;
}

/** The entries of a struct kvm_cpuid2. */
export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const room = Math.floor((bytes.length - CPUID_HEADER_SIZE) / CPUID_ENTRY_SIZE);
  const count = Math.min(view.getUint32(0, true), room);
  return Array.from({ length: count }, (_, index) => {
    const at = CPUID_HEADER_SIZE + index * CPUID_ENTRY_SIZE;
    const word = (number: number): number => view.getUint32(at + 4 * number, true);
    return {
      function: word(0),
      index: word(1),
      significantIndex: (word(2) & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) !== 0,
      eax: word(3),
      ebx: word(4),
      ecx: word(5),
      edx: word(6),
    };
  });
}

/**
 * A struct kvm_cpuid2 of these entries.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  if (entries.length > KVM_MAX_CPUID_ENTRIES) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${entries.length} entries of CPUID: KVM takes ${KVM_MAX_CPUID_ENTRIES}`,
    );
  }
  const bytes = new Uint8Array(CPUID_HEADER_SIZE + entries.length * CPUID_ENTRY_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, entries.length, true);
  entries.forEach((entry, index) => {
    const at = CPUID_HEADER_SIZE + index * CPUID_ENTRY_SIZE;
    const flags = entry.significantIndex ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
    const words = [entry.function, entry.index, flags, entry.eax, entry.ebx, entry.ecx, entry.edx];
    words.forEach((word, number) => {
      checkUnsigned(`CPUID leaf ${entry.function}`, word, 4);
      view.setUint32(at + 4 * number, word, true);
    });
  });
  return bytes;
}
