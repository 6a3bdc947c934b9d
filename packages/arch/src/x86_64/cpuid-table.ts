import type { CpuidEntry } from '@vmm/hypervisor';

/** A {@link CpuidEntry} under construction. */
type MutableCpuidEntry = { -readonly [K in keyof CpuidEntry]: CpuidEntry[K] };

/** CPUID's answers under construction. */
export class CpuidTable {
  readonly #entries = new Map<number, MutableCpuidEntry>();

  /** Copies the entries; of several for one leaf and subleaf the first counts. */
  constructor(entries: readonly CpuidEntry[]) {
    for (const entry of entries) {
      const index = entry.significantIndex ? entry.index : 0;
      const key = keyOf(entry.function, index);
      if (!this.#entries.has(key)) this.#entries.set(key, { ...entry, index });
    }
  }

  find(leaf: number, index = 0): MutableCpuidEntry | undefined {
    return this.#entries.get(keyOf(leaf, index));
  }

  /** All subleaves of a leaf. */
  all(leaf: number): MutableCpuidEntry[] {
    return [...this.#entries.values()].filter((entry) => entry.function === leaf);
  }

  /** Puts an entry in the place of what is there. */
  set(entry: CpuidEntry): void {
    this.#entries.set(keyOf(entry.function, entry.index), { ...entry });
  }

  remove(which: (entry: CpuidEntry) => boolean): void {
    for (const [key, entry] of this.#entries) if (which(entry)) this.#entries.delete(key);
  }

  /** In order of leaf and subleaf. */
  entries(): CpuidEntry[] {
    return [...this.#entries.values()]
      .map((entry) => ({ ...entry }))
      .sort((a, b) => a.function - b.function || a.index - b.index);
  }
}

/** Subleaves are small numbers: there are 64 at most. */
function keyOf(leaf: number, index: number): number {
  return leaf * 2 ** 20 + index;
}
