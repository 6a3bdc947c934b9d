import { aarch64 } from '@vmm/arch';
import type { Aarch64Vm } from '@vmm/hypervisor';
import { type IrqChip as Controller, createVmGicV3 } from '@vmm/irqchip';
import type { Interrupt } from '@vmm/vm-device';

/** The machine's interrupt controller: a GICv3 beside the vCPUs. */
export class IrqChip {
  readonly description: aarch64.GicDescription = {
    version: 3,
    distributor: aarch64.GICD.guestAddress,
    redistributor: aarch64.GICR.guestAddress,
  };
  readonly #controller: Controller;

  /** @param virtioDevices number of virtio-mmio devices there will be */
  constructor(vm: Aarch64Vm, vcpus: number, virtioDevices: number) {
    this.#controller = createVmGicV3(vm, {
      vcpus,
      distributor: aarch64.GICD.guestAddress,
      redistributor: aarch64.GICR.guestAddress,
      irqs: aarch64.interruptIdentifiers(virtioDevices),
    });
  }

  /** @param intid 32… */
  line(intid: number, trigger: 'edge' | 'level'): Interrupt {
    return this.#controller.createLine(intid - aarch64.SPI_BASE, trigger);
  }
}
