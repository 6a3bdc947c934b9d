import type { GicState, HypervisorGic } from '@vmm/hypervisor';
import { IrqChipError } from './errors.ts';
import {
  ppiSpecifier,
  SPI_BASE,
  type Gic,
  type GicDescription,
  type GicLine,
  type InterruptSpecifier,
} from './gic.ts';
import { stateFields, type IrqChipState, type Trigger } from './irq-chip.ts';
import { SpiSet } from './lines.ts';

const STATE_VERSION = 1;

/** State of a GIC that the hypervisor provides. */
export interface VmGicState extends IrqChipState {
  readonly gic: GicState;
}

/** A GIC that the hypervisor provides: in the kernel, or in the engine. */
export class VmGic<D extends GicDescription> implements Gic<VmGicState> {
  readonly description: D;
  readonly spis: number;
  readonly #model: string;
  readonly #gic: HypervisorGic;
  readonly #lines: SpiSet;
  readonly #wiredCpus: number;

  /** @param wiredCpus of a GICv2: the CPUs that a PPI's specifier names */
  constructor(gic: HypervisorGic, irqs: number, description: D, wiredCpus: number) {
    this.description = description;
    this.spis = irqs - SPI_BASE;
    this.#model = `vm-gicv${description.version}`;
    this.#gic = gic;
    this.#lines = new SpiSet(this.spis, gic);
    this.#wiredCpus = wiredCpus;
  }

  get inputs(): number {
    return this.spis;
  }

  createLine(spi: number, trigger: Trigger): GicLine {
    return this.#lines.create(spi, trigger);
  }

  allocateLine(trigger: Trigger): GicLine {
    return this.#lines.create(undefined, trigger);
  }

  ppiSpecifier(ppi: number, trigger: Trigger): InterruptSpecifier {
    return ppiSpecifier(ppi, trigger, this.#wiredCpus);
  }

  save(): VmGicState {
    return { version: STATE_VERSION, model: this.#model, gic: this.#gic.save() };
  }

  restore(state: VmGicState): void {
    const { version, model, gic } = stateFields(state);
    if (version !== STATE_VERSION || model !== this.#model || typeof gic !== 'object' || gic === null) {
      throw new IrqChipError(
        'INVALID_STATE',
        `a state of '${String(model)}' version ${String(version)} is not one of '${this.#model}' version ${STATE_VERSION}`,
      );
    }
    // The hypervisor checks the rest.
    this.#gic.restore(gic as GicState);
  }
}

/** @throws IrqChipError `INVALID_ARGUMENT` for a GIC that no VM has */
export function checkVmGic(version: 2 | 3, vcpus: number, maxVcpus: number, irqs: number): void {
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > maxVcpus) {
    throw new IrqChipError('INVALID_ARGUMENT', `a GICv${version} for ${vcpus} vCPUs`);
  }
  if (!Number.isInteger(irqs) || irqs <= SPI_BASE) {
    throw new IrqChipError('INVALID_ARGUMENT', `a GICv${version} with ${irqs} interrupts has no SPIs`);
  }
}
