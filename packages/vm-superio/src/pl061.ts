import type { BusDevice, Interrupt } from '@vmm/vm-device';
import { VmSuperioError } from './errors.ts';
import { identification, lanes, PERIPH_ID0 } from './primecell.ts';
import { StateReader } from './validate.ts';

// PrimeCell General Purpose Input/Output (PL061), DDI 0190B, chapter 3.
/** End of GPIODATA: bits 9:2 of the address are the mask of the pins that an access is about. */
const DATA_END = 0x400;
const GPIODIR = 0x400;
const GPIOIS = 0x404;
const GPIOIBE = 0x408;
const GPIOIEV = 0x40c;
const GPIOIE = 0x410;
const GPIORIS = 0x414;
const GPIOMIS = 0x418;
const GPIOIC = 0x41c;
const GPIOAFSEL = 0x420;
const FRAME_SIZE = 0x1000;
/** Part number 0x061, designer 0x41. */
const PL061_PERIPH_ID = [0x61, 0x10, 0x04, 0x00] as const;

/** Pins of a PL061. */
export const PL061_PINS = 8;
const ALL_PINS = 0xff;
const STATE_VERSION = 1;

export interface Pl061Options {
  /** GPIOINTR: a level. */
  readonly interrupt: Interrupt;
}

/** Plain, versioned state of a {@link Pl061}: registers by their names, and the levels of the pins from outside. */
export interface Pl061State {
  readonly version: number;
  readonly input: number;
  readonly output: number;
  readonly dir: number;
  readonly is: number;
  readonly ibe: number;
  readonly iev: number;
  readonly ie: number;
  /** Edges that have been seen and not been cleared. */
  readonly edges: number;
  readonly afsel: number;
}

/**
 * PrimeCell GPIO (PL061), DDI 0190B: eight pins, the host's end of which are inputs only: what a guest drives out goes
 * nowhere. There is no alternate function behind GPIOAFSEL.
 */
export class Pl061 implements BusDevice {
  readonly #interrupt: Interrupt;
  #input = 0;
  #output = 0;
  #dir = 0;
  #is = 0;
  #ibe = 0;
  #iev = 0;
  #ie = 0;
  #edges = 0;
  #afsel = 0;
  #level = false;

  constructor(options: Pl061Options) {
    this.#interrupt = options.interrupt;
  }

  /**
   * Drives a pin from outside.
   *
   * @param pin 0 to 7
   * @throws VmSuperioError `INVALID_ARGUMENT`
   */
  setPin(pin: number, high: boolean): void {
    if (!Number.isInteger(pin) || pin < 0 || pin >= PL061_PINS) {
      throw new VmSuperioError(
        'INVALID_ARGUMENT',
        `pin ${pin} of a PL061: it has 0 to ${String(PL061_PINS - 1)}`,
      );
    }
    const bit = 1 << pin;
    this.#setInput(high ? this.#input | bit : this.#input & ~bit);
    this.#update();
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if ((offset & 3) + length > 4) return 0;
    return lanes(this.#readRegister(offset & ~3), offset, length);
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    // Registers have eight bits, and drivers store bytes.
    if ((offset & 3) !== 0 || length > 4) return;
    this.#writeRegister(offset, value & ALL_PINS);
    this.#update();
  }

  /** Reset values of the registers; the pins keep their levels. */
  reset(): void {
    this.#output = 0;
    this.#dir = 0;
    this.#is = 0;
    this.#ibe = 0;
    this.#iev = 0;
    this.#ie = 0;
    this.#edges = 0;
    this.#afsel = 0;
    this.#update();
  }

  save(): Pl061State {
    return {
      version: STATE_VERSION,
      input: this.#input,
      output: this.#output,
      dir: this.#dir,
      is: this.#is,
      ibe: this.#ibe,
      iev: this.#iev,
      ie: this.#ie,
      edges: this.#edges,
      afsel: this.#afsel,
    };
  }

  /** @throws VmSuperioError `INVALID_STATE`, and the device stays as it was */
  restore(state: Pl061State): void {
    const reader = new StateReader('the PL061', state, STATE_VERSION);
    const pins = (field: keyof Pl061State): number => reader.bits(field, ALL_PINS);
    const next = {
      input: pins('input'),
      output: pins('output'),
      dir: pins('dir'),
      is: pins('is'),
      ibe: pins('ibe'),
      iev: pins('iev'),
      ie: pins('ie'),
      edges: pins('edges'),
      afsel: pins('afsel'),
    };
    this.#input = next.input;
    this.#output = next.output;
    this.#dir = next.dir;
    this.#is = next.is;
    this.#ibe = next.ibe;
    this.#iev = next.iev;
    this.#ie = next.ie;
    this.#edges = next.edges;
    this.#afsel = next.afsel;
    this.#update();
  }

  #readRegister(register: number): number {
    if (register < DATA_END) return this.#pins() & (register >> 2);
    switch (register) {
      case GPIODIR:
        return this.#dir;
      case GPIOIS:
        return this.#is;
      case GPIOIBE:
        return this.#ibe;
      case GPIOIEV:
        return this.#iev;
      case GPIOIE:
        return this.#ie;
      case GPIORIS:
        return this.#raw();
      case GPIOMIS:
        return this.#raw() & this.#ie;
      case GPIOAFSEL:
        return this.#afsel;
      default:
        return register >= PERIPH_ID0 && register < FRAME_SIZE
          ? identification(register, PL061_PERIPH_ID)
          : 0;
    }
  }

  #writeRegister(register: number, value: number): void {
    if (register < DATA_END) {
      const mask = (register >> 2) & this.#dir;
      this.#output = (this.#output & ~mask) | (value & mask);
      return;
    }
    switch (register) {
      case GPIODIR:
        this.#dir = value;
        return;
      case GPIOIS:
        this.#is = value;
        return;
      case GPIOIBE:
        this.#ibe = value;
        return;
      case GPIOIEV:
        this.#iev = value;
        return;
      case GPIOIE:
        this.#ie = value;
        return;
      case GPIOIC:
        this.#edges &= ~value;
        return;
      case GPIOAFSEL:
        this.#afsel = value;
        return;
      default:
        // Identification registers and those that tell the state of interrupts are read only.
        return;
    }
  }

  /** Levels of all pins. */
  #pins(): number {
    return (this.#input & ~this.#dir) | (this.#output & this.#dir);
  }

  #setInput(input: number): void {
    const changed = (this.#input ^ input) & ~this.#dir & ~this.#is;
    this.#input = input;
    // GPIOIBE: both edges count; else GPIOIEV says whether it is the rising or the falling one.
    this.#edges |= changed & (this.#ibe | ~(input ^ this.#iev)) & ALL_PINS;
  }

  /** Raw interrupt status: edges that were seen, and levels that are there. */
  #raw(): number {
    const levels = ~(this.#input ^ this.#iev) & this.#is & ~this.#dir;
    return ((this.#edges & ~this.#is) | levels) & ALL_PINS;
  }

  #update(): void {
    const level = (this.#raw() & this.#ie) !== 0;
    if (level === this.#level) return;
    this.#level = level;
    this.#interrupt.setLevel(level);
  }
}
