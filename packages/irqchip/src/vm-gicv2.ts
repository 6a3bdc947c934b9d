import type { Aarch64Vm } from '@vmm/hypervisor';
import { gicV2Description, GICV2_MAX_CPUS, type Gic, type GicV2Description } from './gic.ts';
import { checkVmGic, VmGic, type VmGicState } from './vm-gic.ts';

/** Where the GICv2 of a VM is, and how large. */
export interface VmGicV2Options {
  /** Guest physical address of the distributor, 4 KiB. */
  readonly distributor: number;
  /** Guest physical address of the CPU interface, 8 KiB. */
  readonly cpuInterface: number;
  /** Number of vCPUs of the VM, 1…8. */
  readonly vcpus: number;
  /** Interrupt identifiers, 64…992 in steps of 32, or 1020. Default 256. */
  readonly irqs?: number;
}

/** A GICv2 that the hypervisor provides in the kernel. */
export interface VmGicV2 extends Gic<VmGicState> {
  readonly description: GicV2Description;
}

/**
 * Creates the GICv2 of a VM, once for each VM and before its vCPUs run. `gicVersions` of the VM says whether there is
 * one to have.
 *
 * @throws IrqChipError `INVALID_ARGUMENT` for an impossible number of vCPUs or interrupts; HypervisorError for what
 *   the hypervisor refuses
 */
export function createVmGicV2(vm: Pick<Aarch64Vm, 'createGicV2'>, options: VmGicV2Options): VmGicV2 {
  const { distributor, cpuInterface, vcpus, irqs = 256 } = options;
  checkVmGic(2, vcpus, GICV2_MAX_CPUS, irqs);
  const gic = vm.createGicV2({ distributor, cpuInterface, irqs });
  return new VmGic(gic, irqs, gicV2Description(distributor, cpuInterface), vcpus);
}
