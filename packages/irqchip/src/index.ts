export { IrqChipError } from './errors.ts';
export type { IrqChipErrorCode } from './errors.ts';
export type { InterruptLine, IrqChip, IrqChipState, Trigger } from './irq-chip.ts';
export {
  GIC_PPI,
  GIC_SPI,
  INTID_END,
  IRQ_TYPE_EDGE_RISING,
  IRQ_TYPE_LEVEL_HIGH,
  PPI_BASE,
  SPI_BASE,
} from './gic.ts';
export type { Gic, GicDescription, GicLine, GicV2Description, InterruptSpecifier } from './gic.ts';
export type { VmGicState } from './vm-gic.ts';
export { createVmGicV2 } from './vm-gicv2.ts';
export type { VmGicV2, VmGicV2Options } from './vm-gicv2.ts';
export { createVmGicV3 } from './vm-gicv3.ts';
export type { GicV3Description, GicV3Options, VmGicV3 } from './vm-gicv3.ts';
export { GicV2m, GICV2M_FRAME_SIZE } from './gicv2m.ts';
export type { GicV2mOptions } from './gicv2m.ts';
export { GicV2 } from './gicv2.ts';
export type { GicV2Options } from './gicv2.ts';
export type { GicV2State } from './gicv2-state.ts';
export { createVmIrqChip } from './vm-irq-chip.ts';
export type { VmIrqChip, VmIrqChipOptions, VmIrqChipState } from './vm-irq-chip.ts';
export type { GsiLineOptions } from './gsi-lines.ts';
export { IoApic } from './ioapic.ts';
export type { IoApicOptions } from './ioapic.ts';
export type { IoApicState } from './ioapic-state.ts';
