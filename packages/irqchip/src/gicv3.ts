import type { Aarch64Vm, GicState, HypervisorGic } from '@vmm/hypervisor';
import { IrqChipError } from './errors.ts';
import {
  GIC_PPI,
  SPI_BASE,
  type InterruptLine,
  type InterruptSpecifier,
  type IrqChip,
  type IrqChipDescription,
  type IrqChipState,
  type Trigger,
} from './irq-chip.ts';
import { checkPpi, flagsOf, LineSet } from './lines.ts';

const STATE_VERSION = 1;
const MODEL = 'vm-gicv3';
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
export interface GicV3Description extends IrqChipDescription {
  readonly version: 3;
  readonly distributor: number;
  readonly redistributor: number;
}

/** State of {@link VmGicV3}. */
export interface VmGicV3State extends IrqChipState {
  readonly gic: GicState;
}

/** A GICv3 that the hypervisor provides: in the kernel, or in the engine. */
export interface VmGicV3 extends IrqChip<VmGicV3State> {
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
  if (!Number.isInteger(vcpus) || vcpus < 1) {
    throw new IrqChipError('INVALID_ARGUMENT', `a GICv3 for ${vcpus} vCPUs`);
  }
  if (!Number.isInteger(irqs) || irqs <= SPI_BASE) {
    throw new IrqChipError('INVALID_ARGUMENT', `a GICv3 with ${irqs} interrupts has no SPIs`);
  }
  const gic = vm.createGicV3({ distributor, redistributor, irqs });
  return new HypervisorGicV3(gic, irqs, {
    version: 3,
    compatible: ['arm,gic-v3'],
    reg: [
      { address: distributor, size: GICD_SIZE },
      { address: redistributor, size: vcpus * GICR_STRIDE },
    ],
    interruptCells: 3,
    distributor,
    redistributor,
  });
}

class HypervisorGicV3 implements VmGicV3 {
  readonly description: GicV3Description;
  readonly spis: number;
  readonly #gic: HypervisorGic;
  readonly #lines: LineSet;

  constructor(gic: HypervisorGic, irqs: number, description: GicV3Description) {
    this.description = description;
    this.spis = irqs - SPI_BASE;
    this.#gic = gic;
    this.#lines = new LineSet(this.spis, gic);
  }

  createLine(spi: number, trigger: Trigger): InterruptLine {
    return this.#lines.create(spi, trigger);
  }

  allocateLine(trigger: Trigger): InterruptLine {
    return this.#lines.create(undefined, trigger);
  }

  ppiSpecifier(ppi: number, trigger: Trigger): InterruptSpecifier {
    checkPpi(ppi);
    return { type: GIC_PPI, number: ppi, flags: flagsOf(trigger) };
  }

  save(): VmGicV3State {
    return { version: STATE_VERSION, model: MODEL, gic: this.#gic.save() };
  }

  restore(state: VmGicV3State): void {
    const { version, model, gic } = stateFields(state);
    if (version !== STATE_VERSION || model !== MODEL || typeof gic !== 'object' || gic === null) {
      throw new IrqChipError(
        'INVALID_STATE',
        `a state of '${String(model)}' version ${String(version)} is not one of '${MODEL}' version ${STATE_VERSION}`,
      );
    }
    // The hypervisor checks the rest.
    this.#gic.restore(gic as GicState);
  }
}

function stateFields(state: unknown): Readonly<Record<string, unknown>> {
  return typeof state === 'object' && state !== null ? (state as Record<string, unknown>) : {};
}
