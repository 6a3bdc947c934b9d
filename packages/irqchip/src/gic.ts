import { IrqChipError } from './errors.ts';
import { GICC_SIZE, GICD_SIZE } from './gicv2-registers.ts';
import type { InterruptLine, IrqChip, IrqChipState, Trigger } from './irq-chip.ts';

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

/** A GICv2's CPU targets are eight bits (IHI 0048 §4.3.12). */
export const GICV2_MAX_CPUS = 8;

/** A shared peripheral interrupt that belongs to one device. */
export interface GicLine extends InterruptLine {
  /** SPI number, from 0. */
  readonly spi: number;
  readonly specifier: InterruptSpecifier;
}

/** What a device tree says of a GIC: plain data. */
export interface GicDescription {
  readonly version: 2 | 3;
  /** `compatible`, most specific first. */
  readonly compatible: readonly string[];
  /** `reg`, in the binding's order. */
  readonly reg: readonly { readonly address: number; readonly size: number }[];
  /** `#interrupt-cells`. */
  readonly interruptCells: 3;
}

/** What a device tree says of a GICv2. */
export interface GicV2Description extends GicDescription {
  readonly version: 2;
  readonly distributor: number;
  readonly cpuInterface: number;
}

/** A Generic Interrupt Controller: an {@link IrqChip} whose inputs are SPIs, and its place in a device tree. */
export interface Gic<S extends IrqChipState = IrqChipState> extends IrqChip<S> {
  readonly description: GicDescription;
  /** Number of SPIs: their numbers are 0 to this minus one. The same as `inputs`. */
  readonly spis: number;

  createLine(spi: number, trigger: Trigger): GicLine;

  /**
   * Gives the lowest free SPI to a device.
   *
   * @throws IrqChipError `EXHAUSTED`
   */
  allocateLine(trigger: Trigger): GicLine;

  /** Specifier of a private peripheral interrupt, 0…15: INTID - 16. */
  ppiSpecifier(ppi: number, trigger: Trigger): InterruptSpecifier;
}

/** What a device tree says of a GICv2 at these addresses. */
export function gicV2Description(distributor: number, cpuInterface: number): GicV2Description {
  return {
    version: 2,
    compatible: ['arm,cortex-a15-gic'],
    reg: [
      { address: distributor, size: GICD_SIZE },
      { address: cpuInterface, size: GICC_SIZE },
    ],
    interruptCells: 3,
    distributor,
    cpuInterface,
  };
}

/**
 * @param cpus of a GICv2, which says in bits 15:8 of the flags to whom the interrupt is wired
 * @throws IrqChipError `INVALID_ARGUMENT`
 */
export function ppiSpecifier(ppi: number, trigger: Trigger, cpus = 0): InterruptSpecifier {
  checkPpi(ppi);
  return { type: GIC_PPI, number: ppi, flags: flagsOf(trigger) | ((2 ** cpus - 1) << 8) };
}

export function flagsOf(trigger: Trigger): number {
  return trigger === 'edge' ? IRQ_TYPE_EDGE_RISING : IRQ_TYPE_LEVEL_HIGH;
}

/** @throws IrqChipError `INVALID_ARGUMENT` */
export function checkPpi(ppi: number): void {
  if (!Number.isInteger(ppi) || ppi < 0 || ppi >= SPI_BASE - PPI_BASE) {
    throw new IrqChipError('INVALID_ARGUMENT', `PPI ${ppi}: there are 16, from 0 on`);
  }
}
