import type { Vm } from '@vmm/hypervisor';
import { GuestMemory } from '@vmm/vm-memory';

/** A range of guest physical addresses that is memory. */
export interface MemoryRange {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
}

/**
 * Maps the guest's memory as the architecture lays it out, in regions as large as the hypervisor has them.
 *
 * @param file descriptor of a file that it is a private copy of, one region behind the other
 */
export function mapGuestMemory(vm: Vm, layout: readonly MemoryRange[], file?: number): GuestMemory {
  let fileOffset = 0;
  const regions = layout.flatMap(({ guestAddress, size }) => {
    const parts = Math.ceil(size / vm.maxRegionSize);
    return Array.from({ length: parts }, (_, index) => {
      const offset = index * vm.maxRegionSize;
      const length = Math.min(vm.maxRegionSize, size - offset);
      const options = file === undefined ? {} : { file: { fd: file, offset: fileOffset } };
      fileOffset += length;
      return vm.mapMemory(guestAddress + offset, length, options);
    });
  });
  return new GuestMemory(regions);
}
