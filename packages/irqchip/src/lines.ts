import { HypervisorError } from '@vmm/hypervisor';
import { IdAllocator, VmDeviceError } from '@vmm/vm-device';
import { IrqChipError } from './errors.ts';
import { flagsOf, GIC_SPI, SPI_BASE, type GicLine, type InterruptSpecifier } from './gic.ts';
import type { InterruptLine, Trigger } from './irq-chip.ts';

/** The controller's end of a line. */
export interface LineEnd {
  trigger(): void;
  setLevel(high: boolean): void;
  /** Gives back what the line holds; once, after the level is low. */
  close?(): void;
}

/** A line from a device to a {@link LineEnd}, until one of the two goes. */
export class Line implements InterruptLine {
  readonly input: number;
  #end: LineEnd | undefined;
  #release: (() => void) | undefined;

  constructor(input: number, end: LineEnd, release: () => void) {
    this.input = input;
    this.#end = end;
    this.#release = release;
  }

  trigger(): void {
    try {
      this.#end?.trigger();
    } catch (error) {
      this.#detach(error);
    }
  }

  setLevel(high: boolean): void {
    try {
      this.#end?.setLevel(high);
    } catch (error) {
      this.#detach(error);
    }
  }

  [Symbol.dispose](): void {
    this.setLevel(false);
    const end = this.#end;
    this.#end = undefined;
    this.#release?.();
    this.#release = undefined;
    end?.close?.();
  }

  /** Completions of a device may come after the end of the VM: they reach nothing then. */
  #detach(error: unknown): void {
    if (!(error instanceof HypervisorError && error.code === 'DISPOSED')) throw error;
    this.#end = undefined;
  }
}

/** The inputs of a controller and who has them. */
export class InputSet {
  readonly #name: string;
  readonly #count: number;
  readonly #numbers: IdAllocator;

  /** @param name of an input, in messages */
  constructor(name: string, count: number) {
    this.#name = name;
    this.#count = count;
    this.#numbers = new IdAllocator(0, count - 1);
  }

  /**
   * @param input the lowest free one when it is not given
   * @throws IrqChipError `IN_USE`, `INVALID_ARGUMENT`, `EXHAUSTED`
   */
  take(input?: number): number {
    try {
      return this.#numbers.allocate(input);
    } catch (cause) {
      if (!(cause instanceof VmDeviceError)) throw cause;
      switch (cause.code) {
        case 'OVERLAP':
          throw new IrqChipError('IN_USE', `${this.#name} ${String(input)} has a device already`, { cause });
        case 'EXHAUSTED':
          throw new IrqChipError('EXHAUSTED', `all ${this.#count} ${this.#name}s have a device`, { cause });
        default:
          throw new IrqChipError(
            'INVALID_ARGUMENT',
            `${this.#name} ${String(input)}: there are ${this.#count}, from 0 on`,
            { cause },
          );
      }
    }
  }

  free(input: number): void {
    this.#numbers.free(input);
  }
}

/** Where the lines of a GIC lead: its inputs, by INTID. */
export interface SpiInputs {
  setSpi(intid: number, level: boolean): void;
  pulseSpi(intid: number): void;
}

class SpiLine extends Line implements GicLine {
  readonly specifier: InterruptSpecifier;

  constructor(spi: number, trigger: Trigger, inputs: SpiInputs, release: () => void) {
    const intid = SPI_BASE + spi;
    super(
      spi,
      { trigger: () => inputs.pulseSpi(intid), setLevel: (high) => inputs.setSpi(intid, high) },
      release,
    );
    this.specifier = { type: GIC_SPI, number: spi, flags: flagsOf(trigger) };
  }

  get spi(): number {
    return this.input;
  }
}

/** The SPIs of a GIC. */
export class SpiSet {
  readonly #inputs: SpiInputs;
  readonly #set: InputSet;

  constructor(spis: number, inputs: SpiInputs) {
    this.#inputs = inputs;
    this.#set = new InputSet('SPI', spis);
  }

  /** @throws IrqChipError `IN_USE`, `INVALID_ARGUMENT`, `EXHAUSTED` */
  create(spi: number | undefined, trigger: Trigger): GicLine {
    const taken = this.#set.take(spi);
    return new SpiLine(taken, trigger, this.#inputs, () => this.#set.free(taken));
  }
}
