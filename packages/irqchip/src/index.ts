export { IrqChipError } from './errors.ts';
export type { IrqChipErrorCode } from './errors.ts';
export {
  GIC_PPI,
  GIC_SPI,
  INTID_END,
  IRQ_TYPE_EDGE_RISING,
  IRQ_TYPE_LEVEL_HIGH,
  PPI_BASE,
  SPI_BASE,
} from './irq-chip.ts';
export type {
  InterruptLine,
  InterruptSpecifier,
  IrqChip,
  IrqChipDescription,
  IrqChipState,
  Trigger,
} from './irq-chip.ts';
export { createVmGicV3 } from './gicv3.ts';
export type { GicV3Description, GicV3Options, VmGicV3, VmGicV3State } from './gicv3.ts';
export { GicV2 } from './gicv2.ts';
export type { GicV2Description, GicV2Options } from './gicv2.ts';
export type { GicV2State } from './gicv2-state.ts';
