import { HypervisorError } from '../errors.ts';
import { checkRange, hex } from '../validate.ts';
import type { GuestMemoryRegion } from '../vm.ts';
import type { NativeVm } from './native.ts';
import { system } from './system-error.ts';
import { KVM_MEM_READONLY } from './uapi.ts';

/** Granule of guest memory. */
const GUEST_PAGE = 4096;

interface Entry {
  readonly region: GuestMemoryRegion;
  readonly slot: number;
}

/** What limits the memory of a VM. */
export interface MemoryLimits {
  /** Bytes of all regions. */
  readonly maxMemory: number;
  readonly maxRegionSize: number;
  /** KVM_CAP_NR_MEMSLOTS */
  readonly slots: number;
  /** KVM_CAP_READONLY_MEM */
  readonly readOnly: boolean;
}

/** Guest memory: one slot of KVM for each region. */
export class MemorySlots {
  readonly #native: NativeVm;
  readonly #limits: MemoryLimits;
  #entries: Entry[] = [];
  #mapped = 0;

  constructor(native: NativeVm, limits: MemoryLimits) {
    this.#native = native;
    this.#limits = limits;
  }

  get regions(): readonly GuestMemoryRegion[] {
    return this.#entries.map(({ region }) => region);
  }

  /** @throws HypervisorError `INVALID_ARGUMENT`, `OVERLAP`, `OUT_OF_MEMORY`, `UNSUPPORTED` */
  map(guestAddress: number, size: number, readOnly: boolean): GuestMemoryRegion {
    checkRange('guest memory', guestAddress, size, GUEST_PAGE);
    if (size % GUEST_PAGE !== 0) {
      throw new HypervisorError(
        'INVALID_ARGUMENT',
        `size ${size} of guest memory is not a multiple of ${GUEST_PAGE}`,
      );
    }
    for (const { region } of this.#entries) {
      if (
        guestAddress < region.guestAddress + region.bytes.length &&
        region.guestAddress < guestAddress + size
      ) {
        const end = hex(region.guestAddress + region.bytes.length - 1);
        throw new HypervisorError(
          'OVERLAP',
          `${size} bytes at ${hex(guestAddress)} overlap the memory from ${hex(region.guestAddress)} to ${end}`,
        );
      }
    }
    this.#checkLimits(size, readOnly);
    const slot = this.#freeSlot();
    const buffer = system(`mapping ${size} bytes at ${hex(guestAddress)} of guest memory`, () =>
      this.#native.mapMemory(slot, guestAddress, size, readOnly ? KVM_MEM_READONLY : 0),
    );
    const region = { guestAddress, bytes: new Uint8Array(buffer), readOnly };
    this.#entries.push({ region, slot });
    this.#entries.sort((a, b) => a.region.guestAddress - b.region.guestAddress);
    this.#mapped += size;
    return region;
  }

  #checkLimits(size: number, readOnly: boolean): void {
    const { maxMemory, maxRegionSize, slots } = this.#limits;
    if (readOnly && !this.#limits.readOnly) {
      throw new HypervisorError('UNSUPPORTED', 'this KVM has no read-only memory (KVM_CAP_READONLY_MEM)');
    }
    if (this.#mapped + size > maxMemory) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `${size} more bytes exceed the VM's maxMemory of ${maxMemory}, of which ${this.#mapped} are taken`,
      );
    }
    if (size > maxRegionSize) {
      throw new HypervisorError(
        'OUT_OF_MEMORY',
        `a region of ${size} bytes exceeds maxRegionSize, ${maxRegionSize}; map several side by side`,
      );
    }
    if (this.#entries.length >= slots) {
      throw new HypervisorError('OUT_OF_MEMORY', `all ${slots} memory slots of KVM are in use`);
    }
  }

  #freeSlot(): number {
    const used = new Set(this.#entries.map(({ slot }) => slot));
    let slot = 0;
    while (used.has(slot)) slot++;
    return slot;
  }

  /** @throws HypervisorError `INVALID_ARGUMENT` for a region that is not mapped */
  unmap(region: GuestMemoryRegion): void {
    const index = this.#entries.findIndex((entry) => entry.region === region);
    const entry = this.#entries[index];
    if (entry === undefined)
      throw new HypervisorError('INVALID_ARGUMENT', 'the region is not one of this VM');
    const size = region.bytes.length;
    system(`unmapping the guest memory at ${hex(region.guestAddress)}`, () =>
      this.#native.unmapMemory(entry.slot),
    );
    this.#entries.splice(index, 1);
    this.#mapped -= size;
  }
}
