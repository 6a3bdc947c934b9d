import type { Vm } from '@vmm/hypervisor';
import type { GuestMemory } from '@vmm/vm-memory';
import { type PageSets, addPages, noPages } from './pages.ts';

/** How many snapshots can be bases at a time; the one that was made or used longest ago is forgotten first. */
export const MAX_BASES = 16;

/** A snapshot that is being written. */
export interface Mark {
  /** It is there: others can be made on it. */
  commit(id: string): void;
  /** It came to nothing. */
  drop(): void;
}

/** Which pages of a VM's memory were stored to since each of the snapshots that are tracked. */
export class PageLog {
  readonly #vm: Vm;
  readonly #memory: GuestMemory;
  /** By identity of the snapshot. */
  readonly #bases = new Map<string, PageSets>();
  readonly #pending = new Set<PageSets>();

  constructor(vm: Vm, memory: GuestMemory) {
    this.#vm = vm;
    this.#memory = memory;
  }

  /** Whether what has changed since that snapshot is known. */
  knows(id: string): boolean {
    return this.#bases.has(id);
  }

  /**
   * Begins to note what changes from now on, and the log where it is not on yet.
   *
   * @throws HypervisorError
   */
  mark(): Mark {
    if (this.#vm.dirtyLog) this.#collect();
    else {
      this.#memory.enableDirtyTracking();
      this.#vm.startDirtyLog();
      this.#memory.takeDirty();
    }
    const pages = noPages(this.#sizes);
    this.#pending.add(pages);
    return {
      commit: (id) => {
        if (this.#pending.delete(pages)) this.#keep(id, pages);
      },
      drop: () => {
        this.#pending.delete(pages);
        this.#rest();
      },
    };
  }

  /**
   * The pages that were stored to since a snapshot that is known. vCPUs and devices stand still.
   *
   * @throws HypervisorError
   */
  changedSince(id: string): PageSets {
    this.#collect();
    const pages = this.#bases.get(id)!;
    this.#keep(id, pages);
    return pages.map((words) => words.slice());
  }

  /** All of the memory has changed: no snapshot is a base any more, one that is being written among them. */
  forget(): void {
    this.#bases.clear();
    this.#pending.clear();
    this.#rest();
  }

  #keep(id: string, pages: PageSets): void {
    this.#bases.delete(id);
    this.#bases.set(id, pages);
    const [oldest] = this.#bases.keys();
    if (this.#bases.size > MAX_BASES) this.#bases.delete(oldest!);
  }

  /** What nobody asks for costs nothing. */
  #rest(): void {
    if (this.#bases.size > 0 || this.#pending.size > 0) return;
    this.#vm.stopDirtyLog();
    this.#memory.disableDirtyTracking();
  }

  #collect(): void {
    for (const { guestAddress } of this.#memory.regions) {
      const region = this.#vm.regions.find((each) => each.guestAddress === guestAddress)!;
      this.#memory.dirty?.merge(guestAddress, this.#vm.takeDirtyPages(region));
    }
    const stored = this.#memory.takeDirty().map(({ bits }) => bits);
    for (const pages of [...this.#bases.values(), ...this.#pending]) addPages(pages, stored);
  }

  get #sizes(): number[] {
    return this.#memory.regions.map(({ size }) => size);
  }
}
