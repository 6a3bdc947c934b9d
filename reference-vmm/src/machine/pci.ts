import { type VirtioDevice, VirtioPciTransport } from '@vmm/virtio-devices';
import { type Interrupt, type MsiController, PciRoot } from '@vmm/vm-device';
import type { AttachOptions, Machine } from './machine.ts';

interface Range {
  readonly guestAddress: number;
  /** Bytes. */
  readonly size: number;
}

/** Where a machine has its PCI bus, and where interrupts of it go. */
export interface PciPlatform {
  readonly ecam: Range;
  readonly memory: Range;
  readonly memory64: Range | undefined;
  /** INTA to INTD of device 0, level-triggered. */
  readonly lines: readonly Interrupt[];
  readonly msi: MsiController;
}

/**
 * Configuration space of one bus, 1 MiB: all devices are on bus 0, and each further bus would only be looked at by the
 * guest in vain.
 */
export const PCI_ECAM_SIZE: number = 2 ** 20;

/** The PCI bus of a machine. */
export class PciBus {
  readonly root: PciRoot;
  readonly #machine: Pick<Machine, 'vm' | 'memory'>;

  constructor(machine: Pick<Machine, 'vm' | 'memory' | 'mmio'>, platform: PciPlatform) {
    const { ecam, memory, memory64, lines, msi } = platform;
    this.#machine = machine;
    this.root = new PciRoot({
      mmio: machine.mmio,
      memory32: { address: memory.guestAddress, size: memory.size },
      ...(memory64 && { memory64: { address: memory64.guestAddress, size: memory64.size } }),
      msi,
      interrupts: lines,
    });
    machine.mmio.register(ecam.guestAddress, this.root.ecamSize, this.root.ecam, 'PCI configuration space');
  }

  /** A function of its own for a device, at the next free device number. */
  attach(device: VirtioDevice, options: AttachOptions): VirtioPciTransport {
    const { vm, memory } = this.#machine;
    const transport = new VirtioPciTransport({ ...options, device, memory, doorbells: vm });
    this.root.add(transport.function);
    return transport;
  }
}
