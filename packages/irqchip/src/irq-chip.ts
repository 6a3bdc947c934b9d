import type { Interrupt } from '@vmm/vm-device';

/** How an interrupt input is described to the guest, and so how the guest configures it. */
export type Trigger = 'edge' | 'level';

/**
 * An interrupt specifier of the `arm,gic` and `arm,gic-v3` device tree bindings: the three cells of an
 * `interrupts` property.
 */
export interface InterruptSpecifier {
  /** {@link GIC_SPI} or {@link GIC_PPI}. */
  readonly type: number;
  /** SPI number (INTID - 32) or PPI number (INTID - 16). */
  readonly number: number;
  /** {@link IRQ_TYPE_EDGE_RISING} or {@link IRQ_TYPE_LEVEL_HIGH}; with a GICv2 the CPUs of a PPI in bits 15:8. */
  readonly flags: number;
}

/** First cell: a shared peripheral interrupt. */
export const GIC_SPI = 0;
/** First cell: a private peripheral interrupt. */
export const GIC_PPI = 1;
/** Third cell. */
export const IRQ_TYPE_EDGE_RISING = 1;
/** Third cell. */
export const IRQ_TYPE_LEVEL_HIGH = 4;

/** INTID of SPI 0 (IHI 0069 §2.2.1, IHI 0048 §2.2.1). */
export const SPI_BASE = 32;
/** INTID of PPI 0. */
export const PPI_BASE = 16;
/** INTIDs from here on are special. */
export const INTID_END = 1020;

/** An input of an interrupt controller that belongs to one device until it is disposed of. */
export interface InterruptLine extends Interrupt, Disposable {
  /** SPI number, from 0. */
  readonly spi: number;
  readonly specifier: InterruptSpecifier;
}

/** What a device tree says of an interrupt controller: plain data. */
export interface IrqChipDescription {
  readonly version: 2 | 3;
  /** `compatible`, most specific first. */
  readonly compatible: readonly string[];
  /** `reg`, in the binding's order. */
  readonly reg: readonly { readonly address: number; readonly size: number }[];
  /** `#interrupt-cells`. */
  readonly interruptCells: 3;
}

/** Plain, versioned state of an interrupt controller. */
export interface IrqChipState {
  readonly version: number;
  /** Which model it is of. */
  readonly model: string;
}

/** An interrupt controller, as the rest of a virtual machine monitor sees it. */
export interface IrqChip<S extends IrqChipState = IrqChipState> {
  readonly description: IrqChipDescription;
  /** Number of SPIs: their numbers are 0 to this minus one. */
  readonly spis: number;

  /**
   * Gives the input of an SPI to a device.
   *
   * @param spi SPI number; INTID - 32
   * @throws IrqChipError `IN_USE`, `INVALID_ARGUMENT`
   */
  createLine(spi: number, trigger: Trigger): InterruptLine;

  /**
   * Gives the lowest free SPI to a device.
   *
   * @throws IrqChipError `EXHAUSTED`
   */
  allocateLine(trigger: Trigger): InterruptLine;

  /** Specifier of a private peripheral interrupt, 0…15: INTID - 16. */
  ppiSpecifier(ppi: number, trigger: Trigger): InterruptSpecifier;

  /** Only while no vCPU runs. Lines that are handed out are not part of the state; their levels are. */
  save(): S;

  /** @throws IrqChipError `INVALID_STATE`, or HypervisorError for a controller beside the vCPUs */
  restore(state: S): void;
}
