import { HypervisorError } from '@vmm/hypervisor';
import { IdAllocator, VmDeviceError } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import {
  GIC_SPI,
  IRQ_TYPE_EDGE_RISING,
  IRQ_TYPE_LEVEL_HIGH,
  PPI_BASE,
  SPI_BASE,
  type InterruptLine,
  type InterruptSpecifier,
  type Trigger,
} from './irq-chip.ts';

/** Where lines lead: the inputs of a controller, by INTID. */
export interface SpiInputs {
  setSpi(intid: number, level: boolean): void;
  pulseSpi(intid: number): void;
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

class Line implements InterruptLine {
  readonly spi: number;
  readonly specifier: InterruptSpecifier;
  #inputs: SpiInputs | undefined;
  #release: (() => void) | undefined;

  constructor(spi: number, trigger: Trigger, inputs: SpiInputs, release: () => void) {
    this.spi = spi;
    this.specifier = { type: GIC_SPI, number: spi, flags: flagsOf(trigger) };
    this.#inputs = inputs;
    this.#release = release;
  }

  trigger(): void {
    try {
      this.#inputs?.pulseSpi(SPI_BASE + this.spi);
    } catch (error) {
      this.#detach(error);
    }
  }

  setLevel(high: boolean): void {
    try {
      this.#inputs?.setSpi(SPI_BASE + this.spi, high);
    } catch (error) {
      this.#detach(error);
    }
  }

  [Symbol.dispose](): void {
    this.setLevel(false);
    this.#inputs = undefined;
    this.#release?.();
    this.#release = undefined;
  }

  /** Completions of a device may come after the end of the VM: they reach nothing then. */
  #detach(error: unknown): void {
    if (!(error instanceof HypervisorError && error.code === 'DISPOSED')) throw error;
    this.#inputs = undefined;
  }
}

/** The SPIs of a controller and who has them. */
export class LineSet {
  readonly spis: number;
  readonly #inputs: SpiInputs;
  readonly #numbers: IdAllocator;

  constructor(spis: number, inputs: SpiInputs) {
    this.spis = spis;
    this.#inputs = inputs;
    this.#numbers = new IdAllocator(0, spis - 1);
  }

  /** @throws IrqChipError `IN_USE`, `INVALID_ARGUMENT`, `EXHAUSTED` */
  create(spi: number | undefined, trigger: Trigger): InterruptLine {
    const taken = this.#take(spi);
    return new Line(taken, trigger, this.#inputs, () => this.#numbers.free(taken));
  }

  #take(spi: number | undefined): number {
    try {
      return this.#numbers.allocate(spi);
    } catch (cause) {
      if (!(cause instanceof VmDeviceError)) throw cause;
      switch (cause.code) {
        case 'OVERLAP':
          throw new IrqChipError('IN_USE', `SPI ${String(spi)} has a device already`, { cause });
        case 'EXHAUSTED':
          throw new IrqChipError('EXHAUSTED', `all ${this.spis} SPIs have a device`, { cause });
        default:
          throw new IrqChipError(
            'INVALID_ARGUMENT',
            `SPI ${String(spi)}: there are ${this.spis}, from 0 on`,
            { cause },
          );
      }
    }
  }
}
