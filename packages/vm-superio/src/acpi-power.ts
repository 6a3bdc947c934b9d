import type { BusDevice } from '@vmm/vm-device';
import { StateReader } from './validate.ts';

// ACPI 6.5 §4.8.3.7 (sleep control and status registers) and §4.8.3.6 (reset register). Offsets in the block.
export const ACPI_SLEEP_CONTROL = 0;
export const ACPI_SLEEP_STATUS = 1;
export const ACPI_RESET = 2;
/** Ports of the block. */
export const ACPI_POWER_SIZE = 3;
/** SLP_TYP that the DSDT's \_S5 names. */
export const ACPI_SLP_TYP_S5 = 5;
/** RESET_VALUE of the FADT. */
export const ACPI_RESET_VALUE = 0x01;

const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 0x1c;
const SLP_EN = 0x20;
const WAK_STS = 0x80;

const STATE_VERSION = 1;

export interface AcpiPowerOptions {
  /** The guest enters S5, possibly more than once. Must not throw. */
  readonly onShutdown: () => void;
  /** The guest asks for a reset of the machine, possibly more than once. Must not throw. */
  readonly onReset: () => void;
}

/** Plain, versioned state of an {@link AcpiPower}. */
export interface AcpiPowerState {
  readonly version: number;
  /** Sleep control register without SLP_EN. */
  readonly control: number;
  /** Sleep status register. */
  readonly status: number;
}

/**
 * The registers of a hardware-reduced ACPI machine that turn it off and reset it: sleep control, sleep status and reset,
 * one byte each. S5 is the only sleep state; others are ignored.
 */
export class AcpiPower implements BusDevice {
  readonly #options: AcpiPowerOptions;
  #control = 0;
  #status = 0;

  constructor(options: AcpiPowerOptions) {
    this.#options = options;
  }

  read(offset: number, length: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < length; i++) value |= this.#readRegister(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < length; i++) this.#writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  reset(): void {
    this.#control = 0;
    this.#status = 0;
  }

  save(): AcpiPowerState {
    return { version: STATE_VERSION, control: this.#control, status: this.#status };
  }

  /** @throws VmSuperioError `INVALID_STATE`, and the device stays as it was */
  restore(state: AcpiPowerState): void {
    const reader = new StateReader('the ACPI power registers', state, STATE_VERSION);
    const control = reader.bits('control', SLP_TYP_MASK);
    const status = reader.bits('status', WAK_STS);
    this.#control = control;
    this.#status = status;
  }

  #readRegister(register: number): number {
    switch (register) {
      case ACPI_SLEEP_CONTROL:
        return this.#control;
      case ACPI_SLEEP_STATUS:
        return this.#status;
      default:
        return 0;
    }
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case ACPI_SLEEP_CONTROL:
        this.#control = value & SLP_TYP_MASK;
        // SLP_EN is write-only and reads as 0.
        if ((value & SLP_EN) !== 0 && this.#control >> SLP_TYP_SHIFT === ACPI_SLP_TYP_S5) {
          this.#options.onShutdown();
        }
        return;
      case ACPI_SLEEP_STATUS:
        this.#status &= ~(value & WAK_STS);
        return;
      case ACPI_RESET:
        if (value === ACPI_RESET_VALUE) this.#options.onReset();
        return;
      default:
        return;
    }
  }
}
