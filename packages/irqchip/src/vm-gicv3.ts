import type { Aarch64Vm } from '@vmm/hypervisor';
import type { Gic, GicDescription } from './gic.ts';
import { checkVmGic, VmGic, type VmGicState } from './vm-gic.ts';

const GICD_SIZE = 0x1_0000;
/** RD_base and SGI_base of one vCPU (IHI 0069 §12.10). */
const GICR_STRIDE = 0x2_0000;

export interface GicV3Options {
  /** Guest physical address of the distributor, 64 KiB. */
  readonly distributor: number;
  /** Guest physical address of the redistributors, 128 KiB for each vCPU. */
  readonly redistributor: number;
  /** Number of vCPUs of the VM. */
  readonly vcpus: number;
  /** Interrupt identifiers, 64…992 in steps of 32, or 1020. Default 256. */
  readonly irqs?: number;
}

/** What a device tree says of a GICv3. */
export interface GicV3Description extends GicDescription {
  readonly version: 3;
  readonly distributor: number;
  readonly redistributor: number;
}

/** A GICv3 that the hypervisor provides: in the kernel, or in the engine. */
export interface VmGicV3 extends Gic<VmGicState> {
  readonly description: GicV3Description;
}

/**
 * Creates the GICv3 of a VM, once for each VM and before its vCPUs run.
 *
 * @throws IrqChipError `INVALID_ARGUMENT` for an impossible number of vCPUs or interrupts; HypervisorError for what
 *   the hypervisor refuses
 */
export function createVmGicV3(vm: Pick<Aarch64Vm, 'createGicV3'>, options: GicV3Options): VmGicV3 {
  const { distributor, redistributor, vcpus, irqs = 256 } = options;
  checkVmGic(3, vcpus, Infinity, irqs);
  const description: GicV3Description = {
    version: 3,
    compatible: ['arm,gic-v3'],
    reg: [
      { address: distributor, size: GICD_SIZE },
      { address: redistributor, size: vcpus * GICR_STRIDE },
    ],
    interruptCells: 3,
    distributor,
    redistributor,
  };
  return new VmGic(vm.createGicV3({ distributor, redistributor, irqs }), irqs, description, 0);
}
