import { HypervisorUnavailableError } from '@vmm/hypervisor';
import { VmmError } from '../errors.ts';
import type { AnyHypervisor } from '../hypervisors.ts';
import { Aarch64Machine } from './aarch64.ts';
import type { Architecture, Machine, MachineConfig, MachineHooks, TransportKind } from './machine.ts';
import { X86Machine } from './x86-64.ts';

/**
 * Command line for a kernel, where none is given. Kernel messages go to the serial port, and a panic resets at once.
 * `cryptomgr.notests` leaves out the kernel's self-tests of its ciphers, on arm64 two thirds of the instructions of a
 * boot. `8250.nr_uarts=1` spares x86 the search for what is not there.
 */
export const DEFAULT_CMDLINES: Readonly<Record<Architecture, string>> = {
  aarch64: 'console=ttyAMA0 quiet panic=-1 cryptomgr.notests',
  x86_64: 'console=ttyS0 quiet panic=-1 8250.nr_uarts=1 cryptomgr.notests',
};

/** {@link DEFAULT_CMDLINES}, and for a PC without PCI `pci=off`: the search for it is a third of the exits of a boot. */
export function defaultCmdline(arch: Architecture, transport: TransportKind = 'mmio'): string {
  const common = DEFAULT_CMDLINES[arch];
  return arch === 'x86_64' && transport === 'mmio' ? `${common} pci=off` : common;
}

/**
 * Creates a VM and its machine.
 *
 * @throws VmmError `HYPERVISOR_UNAVAILABLE`, HypervisorError, ArchError
 */
export async function createMachine(
  hypervisor: AnyHypervisor,
  config: MachineConfig,
  hooks: MachineHooks,
): Promise<Machine> {
  try {
    return await create(hypervisor, config, hooks);
  } catch (error) {
    if (!(error instanceof HypervisorUnavailableError)) throw error;
    throw new VmmError(
      'HYPERVISOR_UNAVAILABLE',
      `${hypervisor.name}: ${error.message}. See reference-vmm doctor`,
      { cause: error },
    );
  }
}

async function create(
  hypervisor: AnyHypervisor,
  config: MachineConfig,
  hooks: MachineHooks,
): Promise<Machine> {
  const vmConfig = { vcpus: config.cpus, maxMemory: config.memory };
  switch (hypervisor.arch) {
    case 'aarch64': {
      const vm = await hypervisor.createVm(vmConfig);
      return madeFrom(vm, () => new Aarch64Machine(vm, config, hooks));
    }
    case 'x86_64': {
      const cpuid = await hypervisor.supportedCpuid();
      const vm = await hypervisor.createVm(vmConfig);
      return madeFrom(vm, () => new X86Machine(vm, cpuid, config, hooks));
    }
  }
}

/** A VM whose machine cannot be made is disposed of. */
async function madeFrom(vm: AsyncDisposable, make: () => Machine): Promise<Machine> {
  try {
    return make();
  } catch (error) {
    await vm[Symbol.asyncDispose]();
    throw error;
  }
}
