import type { BusDevice } from '@vmm/vm-device';
import { StateReader } from './validate.ts';

// Keyboard controller of the PC AT (IBM 1502494, section 1; PS/2 Hardware Interface Technical Reference).

/** Status register. */
const STATUS_OUTPUT_FULL = 0x01;
const STATUS_SYSTEM = 0x04;
const STATUS_COMMAND = 0x08;
/** The keyboard is not locked. */
const STATUS_UNLOCKED = 0x10;

/** Controller commands. */
const READ_COMMAND_BYTE = 0x20;
const WRITE_COMMAND_BYTE = 0x60;
const DISABLE_AUX = 0xa7;
const ENABLE_AUX = 0xa8;
const TEST_AUX = 0xa9;
const SELF_TEST = 0xaa;
const TEST_KEYBOARD = 0xab;
const DISABLE_KEYBOARD = 0xad;
const ENABLE_KEYBOARD = 0xae;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KEYBOARD_OUTPUT = 0xd2;
const WRITE_AUX_OUTPUT = 0xd3;
const WRITE_AUX = 0xd4;
/** 0xF0…0xFF pulse the output port's bits 3:0 that are 0 in the command. */
const PULSE_OUTPUT_PORT = 0xf0;

const COMMAND_BYTE_SYSTEM = 0x04;
const COMMAND_BYTE_KEYBOARD_DISABLED = 0x10;
const COMMAND_BYTE_AUX_DISABLED = 0x20;
const SELF_TEST_PASSED = 0x55;
/** The interface's clock line is stuck low: there is no device. */
const INTERFACE_TEST_FAILED = 0x01;
/** Output port bit 0, inverted: resets the processor. */
const OUTPUT_PORT_NO_RESET = 0x01;
const OUTPUT_PORT_A20 = 0x02;

const STATE_VERSION = 1;

export interface I8042Options {
  /** The guest asks for a reset of the machine, possibly more than once. Must not throw. */
  readonly onReset: () => void;
}

/** Plain, versioned state of an {@link I8042}. */
export interface I8042State {
  readonly version: number;
  readonly commandByte: number;
  /** Command that waits for its data byte; 0 for none. */
  readonly pending: number;
  /** The last write was to the command port. */
  readonly lastWasCommand: boolean;
  /** Byte for the guest; -1 for none. */
  readonly output: number;
}

/**
 * A keyboard controller with nothing plugged in: what a guest's probe asks of it is answered at once, and it resets the
 * machine. No interrupts.
 */
export class I8042 {
  /** Belongs on port 0x60, one byte. */
  readonly data: BusDevice = {
    read: () => this.#readData(),
    write: (offset, _length, value) => {
      if (offset === 0) this.#writeData(value & 0xff);
    },
  };
  /** Belongs on port 0x64, one byte: status when read. */
  readonly command: BusDevice = {
    read: () => this.#status(),
    write: (offset, _length, value) => {
      if (offset === 0) this.#writeCommand(value & 0xff);
    },
  };

  readonly #onReset: () => void;
  #commandByte = 0;
  #pending = 0;
  #lastWasCommand = false;
  #output = -1;

  constructor(options: I8042Options) {
    this.#onReset = options.onReset;
    this.reset();
  }

  reset(): void {
    this.#commandByte = COMMAND_BYTE_SYSTEM | COMMAND_BYTE_KEYBOARD_DISABLED | COMMAND_BYTE_AUX_DISABLED;
    this.#pending = 0;
    this.#lastWasCommand = false;
    this.#output = -1;
  }

  save(): I8042State {
    return {
      version: STATE_VERSION,
      commandByte: this.#commandByte,
      pending: this.#pending,
      lastWasCommand: this.#lastWasCommand,
      output: this.#output,
    };
  }

  /** @throws VmSuperioError `INVALID_STATE`, and the device stays as it was */
  restore(state: I8042State): void {
    const reader = new StateReader('the i8042', state, STATE_VERSION);
    const commandByte = reader.bits('commandByte', 0xff);
    const pending = reader.bits('pending', 0xff);
    const lastWasCommand = reader.boolean('lastWasCommand');
    const output = reader.integer('output', 0xff, -1);
    this.#commandByte = commandByte;
    this.#pending = pending;
    this.#lastWasCommand = lastWasCommand;
    this.#output = output;
  }

  #status(): number {
    return (
      STATUS_UNLOCKED |
      (this.#commandByte & COMMAND_BYTE_SYSTEM ? STATUS_SYSTEM : 0) |
      (this.#lastWasCommand ? STATUS_COMMAND : 0) |
      (this.#output >= 0 ? STATUS_OUTPUT_FULL : 0)
    );
  }

  #readData(): number {
    const value = Math.max(this.#output, 0);
    this.#output = -1;
    return value;
  }

  #writeData(value: number): void {
    this.#lastWasCommand = false;
    const command = this.#pending;
    this.#pending = 0;
    switch (command) {
      case WRITE_COMMAND_BYTE:
        this.#commandByte = value;
        return;
      case WRITE_OUTPUT_PORT:
        if ((value & OUTPUT_PORT_NO_RESET) === 0) this.#onReset();
        return;
      case WRITE_KEYBOARD_OUTPUT:
      case WRITE_AUX_OUTPUT:
        this.#output = value;
        return;
      default:
        // For a keyboard or a mouse that is not there.
        return;
    }
  }

  #writeCommand(value: number): void {
    this.#lastWasCommand = true;
    this.#pending = 0;
    switch (value) {
      case READ_COMMAND_BYTE:
        this.#output = this.#commandByte;
        return;
      case WRITE_COMMAND_BYTE:
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_OUTPUT:
      case WRITE_AUX_OUTPUT:
      case WRITE_AUX:
        this.#pending = value;
        return;
      case DISABLE_AUX:
        this.#commandByte |= COMMAND_BYTE_AUX_DISABLED;
        return;
      case ENABLE_AUX:
        this.#commandByte &= ~COMMAND_BYTE_AUX_DISABLED;
        return;
      case DISABLE_KEYBOARD:
        this.#commandByte |= COMMAND_BYTE_KEYBOARD_DISABLED;
        return;
      case ENABLE_KEYBOARD:
        this.#commandByte &= ~COMMAND_BYTE_KEYBOARD_DISABLED;
        return;
      case SELF_TEST:
        this.#commandByte |= COMMAND_BYTE_SYSTEM;
        this.#output = SELF_TEST_PASSED;
        return;
      case TEST_AUX:
      case TEST_KEYBOARD:
        this.#output = INTERFACE_TEST_FAILED;
        return;
      case READ_OUTPUT_PORT:
        this.#output = OUTPUT_PORT_NO_RESET | OUTPUT_PORT_A20;
        return;
      default:
        if (value >= PULSE_OUTPUT_PORT && (value & OUTPUT_PORT_NO_RESET) === 0) this.#onReset();
    }
  }
}
