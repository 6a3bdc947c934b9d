import type { Vm } from '@vmm/hypervisor';
import type { GuestMemory } from '@vmm/vm-memory';
import type { BootFiles } from './boot-files.ts';
import type { DeviceManager } from './device-manager.ts';
import type { Machine } from './machine/machine.ts';

/** Largest page of any host that a hypervisor runs on: what is a multiple of it is whole pages everywhere. */
const LARGEST_PAGE = 65_536;

/**
 * Puts a machine whose vCPUs, clock and devices stand still to where it was before its first instruction: registers,
 * memory, the kernel as its files are now. What devices are connected to on the host's side stays as it is.
 *
 * @throws ArchError and VmmError for files, and the machine is of no use
 */
export async function resetMachine(
  machine: Machine,
  devices: DeviceManager,
  files: BootFiles,
): Promise<void> {
  machine.reset();
  devices.restart();
  clearMemory(machine.vm, machine.memory);
  await machine.loadKernel(files);
  machine.enterKernel();
}

/** Guest memory reads as zero again; the host gets it back where it can. */
function clearMemory(vm: Vm, memory: GuestMemory): void {
  for (const { guestAddress, bytes, readOnly } of vm.regions) {
    if (readOnly) continue;
    if (vm.releasesMemory && bytes.length % LARGEST_PAGE === 0) {
      vm.discardMemory(Float64Array.of(guestAddress, bytes.length));
      memory.dirty?.mark(guestAddress, bytes.length);
    } else {
      memory.fill(guestAddress, bytes.length, 0);
    }
  }
}
