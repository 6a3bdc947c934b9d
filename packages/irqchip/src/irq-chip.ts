import type { Interrupt } from '@vmm/vm-device';

/** How an interrupt input is described to the guest, and so how the guest configures it. */
export type Trigger = 'edge' | 'level';

/** An input of an interrupt controller that belongs to one device until it is disposed of. */
export interface InterruptLine extends Interrupt, Disposable {
  /** Its number, as {@link IrqChip.createLine} takes it. */
  readonly input: number;
}

/** Plain, versioned state of an interrupt controller. */
export interface IrqChipState {
  readonly version: number;
  /** Which model it is of. */
  readonly model: string;
}

/** An interrupt controller, as the rest of a virtual machine monitor sees it. */
export interface IrqChip<S extends IrqChipState = IrqChipState> {
  /** Inputs are numbered from 0 to this minus one: SPIs of a GIC, global system interrupts of a PC. */
  readonly inputs: number;

  /**
   * Gives an input to a device.
   *
   * @param input SPI number (INTID - 32), or global system interrupt
   * @throws IrqChipError `IN_USE`, `INVALID_ARGUMENT`
   */
  createLine(input: number, trigger: Trigger): InterruptLine;

  /** Only while no vCPU runs. Lines that are handed out are not part of the state; their levels are. */
  save(): S;

  /** @throws IrqChipError `INVALID_STATE`, or HypervisorError for a controller beside the vCPUs */
  restore(state: S): void;
}

/** What a saved state of unknown origin has for fields; none when it is no object. */
export function stateFields(state: unknown): Readonly<Record<string, unknown>> {
  return typeof state === 'object' && state !== null ? (state as Record<string, unknown>) : {};
}
