import { aarch64 } from '@vmm/arch';
import type { Vm } from '@vmm/hypervisor';
import { GuestMemory } from '@vmm/vm-memory';

/** Lays the guest's memory out and maps it. */
export class MemoryManager {
  readonly memory: GuestMemory;
  readonly layout: readonly aarch64.AddressRange[];

  /** @param bytes total of guest memory */
  constructor(vm: Vm, bytes: number) {
    this.layout = aarch64.memoryRegions(bytes);
    this.memory = new GuestMemory(
      this.layout.map(({ guestAddress, size }) => vm.mapMemory(guestAddress, size)),
    );
  }
}
