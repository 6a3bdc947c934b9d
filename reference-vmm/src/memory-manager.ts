import type { Vm } from '@vmm/hypervisor';
import { GuestMemory } from '@vmm/vm-memory';

/** A range of guest physical addresses that is memory. */
export interface MemoryRange {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
}

/** Maps the guest's memory as the architecture lays it out, in regions as large as the hypervisor has them. */
export function mapGuestMemory(vm: Vm, layout: readonly MemoryRange[]): GuestMemory {
  const regions = layout.flatMap(({ guestAddress, size }) => {
    const parts = Math.ceil(size / vm.maxRegionSize);
    return Array.from({ length: parts }, (_, index) => {
      const offset = index * vm.maxRegionSize;
      return vm.mapMemory(guestAddress + offset, Math.min(vm.maxRegionSize, size - offset));
    });
  });
  return new GuestMemory(regions);
}
