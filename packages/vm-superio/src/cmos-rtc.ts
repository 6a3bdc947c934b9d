import type { BusDevice } from '@vmm/vm-device';
import { VmSuperioError } from './errors.ts';
import { StateReader } from './validate.ts';

// Motorola MC146818A (1984), "Address map" and "Registers".
const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
const TIME_REGISTERS: readonly number[] = [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY_OF_MONTH, MONTH, YEAR];

// Uses of its RAM on PCs.
const BASE_MEMORY = 0x15;
const EXTENDED_MEMORY = 0x17;
const EXTENDED_MEMORY_COPY = 0x30;
/** Century in the format of the year; the FADT's CENTURY names it. */
export const CMOS_CENTURY = 0x32;
const MEMORY_ABOVE_16M = 0x34;
const MEMORY_ABOVE_4G = 0x5b;

/** Update in progress, in register A. */
const A_UIP = 0x80;
/** 32768 Hz time base, 1024 Hz periodic rate. */
const A_RESET = 0x26;
const B_SET = 0x80;
const B_UIE = 0x10;
/** Binary rather than BCD. */
const B_DM = 0x04;
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_UF = 0x10;
/** The RAM and the time are valid. */
const D_VRT = 0x80;
const HOURS_PM = 0x80;

/** Seconds before the second changes in which UIP is set: t_BUC and t_UC of the 32768 Hz time base. */
const UPDATE_TIME = 0.002_228;

const RAM_SIZE = 128;
const KIB = 1024;
const MIB = 1024 * KIB;
const BASE_MEMORY_KIB = 640;
const STATE_VERSION = 1;
/** Of the guest's time against the clock, in seconds: registers reach the year 16665. */
const MAX_OFFSET = 1e12;

export interface CmosRtcOptions {
  /** Seconds since 1970-01-01T00:00:00Z, with fraction. */
  readonly clock: () => number;
  /** RAM of the machine in bytes, for the memory sizes; none by default. */
  readonly memory?: { readonly below4G: number; readonly above4G: number };
}

/** Plain, versioned state of a {@link CmosRtc}. */
export interface CmosRtcState {
  readonly version: number;
  readonly index: number;
  /** Registers and RAM, 128 bytes; time registers as the guest has set them last. */
  readonly ram: Uint8Array;
  /** Guest's time minus the clock, in seconds. */
  readonly offset: number;
  /** Guest's time in seconds when register C was read last. */
  readonly lastUpdate: number;
}

/**
 * MC146818 real time clock with 128 bytes of RAM, behind an index and a data port. It starts with the time of `clock` in
 * UTC; a guest that sets it has an offset to the clock from then on. No interrupts: alarms and periodic flags never
 * come, the update flag does.
 */
export class CmosRtc implements BusDevice {
  readonly #clock: () => number;
  readonly #ram = new Uint8Array(RAM_SIZE);
  #index = 0;
  #offset = 0;
  #lastUpdate: number;

  /** @throws VmSuperioError `INVALID_ARGUMENT` for a memory size that is no number of bytes */
  constructor(options: CmosRtcOptions) {
    this.#clock = options.clock;
    this.#ram[REGISTER_A] = A_RESET;
    this.#ram[REGISTER_B] = B_24H;
    this.#lastUpdate = this.#now();
    if (options.memory !== undefined) this.#setMemory(options.memory.below4G, options.memory.above4G);
  }

  /** Offset 0 is the index port, 0x70 on PCs, offset 1 the data port. */
  read(offset: number, length: 1 | 2 | 4): number {
    let value = 0;
    for (let i = 0; i < length; i++) value |= this.#readPort(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < length; i++) this.#writePort(offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** What the reset pin does: the index, and interrupt enables. Time and RAM have a battery. */
  reset(): void {
    this.#index = 0;
    this.#writeB(this.#register(REGISTER_B) & (B_SET | B_DM | B_24H | 1));
  }

  save(): CmosRtcState {
    return {
      version: STATE_VERSION,
      index: this.#index,
      ram: this.#ram.slice(),
      offset: this.#offset,
      lastUpdate: this.#lastUpdate,
    };
  }

  /**
   * The guest's time goes on as if it had run all the while.
   *
   * @throws VmSuperioError `INVALID_STATE`, and the device stays as it was
   */
  restore(state: CmosRtcState): void {
    const reader = new StateReader('the CMOS RTC', state, STATE_VERSION);
    const index = reader.bits('index', RAM_SIZE - 1);
    const ram = reader.bytes('ram', RAM_SIZE);
    const offset = reader.integer('offset', MAX_OFFSET, -MAX_OFFSET);
    const lastUpdate = reader.integer('lastUpdate', Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER);
    if (ram.length !== RAM_SIZE) {
      throw new VmSuperioError(
        'INVALID_STATE',
        `'ram' in the state of the CMOS RTC is not ${RAM_SIZE} bytes`,
      );
    }
    this.#index = index;
    this.#ram.set(ram);
    this.#offset = offset;
    this.#lastUpdate = lastUpdate;
  }

  #readPort(port: number): number {
    if (port === 0) return this.#index;
    if (port !== 1) return 0;
    const index = this.#index;
    switch (index) {
      case REGISTER_A:
        return this.#register(index) | (this.#updating() ? A_UIP : 0);
      case REGISTER_C:
        return this.#readC();
      case REGISTER_D:
        return D_VRT;
      default:
        return isTime(index) && !this.#setting()
          ? this.#timeRegister(index, this.#date())
          : this.#register(index);
    }
  }

  #writePort(port: number, value: number): void {
    if (port === 0) {
      // Bit 7 masks NMIs, of which there are none.
      this.#index = value & (RAM_SIZE - 1);
      return;
    }
    if (port !== 1) return;
    const index = this.#index;
    switch (index) {
      case REGISTER_A:
        this.#ram[index] = value & ~A_UIP;
        return;
      case REGISTER_B:
        this.#writeB(value);
        return;
      case REGISTER_C:
      case REGISTER_D:
        return;
      default:
        this.#writeByte(index, value);
    }
  }

  #writeByte(index: number, value: number): void {
    if (!isTime(index) || this.#setting()) {
      this.#ram[index] = value;
      return;
    }
    this.#snapshot();
    this.#ram[index] = value;
    this.#adopt();
  }

  #writeB(value: number): void {
    const was = this.#setting();
    if (!was && (value & B_SET) !== 0) this.#snapshot();
    this.#ram[REGISTER_B] = value;
    if (was && (value & B_SET) === 0) this.#adopt();
  }

  #readC(): number {
    const now = this.#now();
    const flag = now !== this.#lastUpdate && !this.#setting() ? C_UF : 0;
    this.#lastUpdate = now;
    const interrupt = flag !== 0 && (this.#register(REGISTER_B) & B_UIE) !== 0;
    return interrupt ? flag | C_IRQF : flag;
  }

  #register(index: number): number {
    return this.#ram[index]!;
  }

  #setting(): boolean {
    return (this.#register(REGISTER_B) & B_SET) !== 0;
  }

  #updating(): boolean {
    const time = this.#clock();
    return !this.#setting() && time - Math.floor(time) >= 1 - UPDATE_TIME;
  }

  /** Guest's time in whole seconds. */
  #now(): number {
    return Math.floor(this.#clock()) + this.#offset;
  }

  #date(): Date {
    return new Date(this.#now() * 1000);
  }

  /** The time that stands still while the guest sets it. */
  #snapshot(): void {
    const date = this.#date();
    for (const index of TIME_REGISTERS) this.#ram[index] = this.#timeRegister(index, date);
    this.#ram[CMOS_CENTURY] = this.#timeRegister(CMOS_CENTURY, date);
  }

  /** The guest's time is what the registers say now. */
  #adopt(): void {
    const year = 100 * this.#decode(CMOS_CENTURY) + this.#decode(YEAR);
    const date = new Date(0);
    date.setUTCFullYear(year, this.#decode(MONTH) - 1, this.#decode(DAY_OF_MONTH));
    date.setUTCHours(this.#decodeHours(), this.#decode(MINUTES), this.#decode(SECONDS));
    this.#offset = date.getTime() / 1000 - Math.floor(this.#clock());
  }

  #timeRegister(index: number, date: Date): number {
    switch (index) {
      case SECONDS:
        return this.#encode(date.getUTCSeconds());
      case MINUTES:
        return this.#encode(date.getUTCMinutes());
      case HOURS:
        return this.#encodeHours(date.getUTCHours());
      case DAY_OF_WEEK:
        return this.#encode(date.getUTCDay() + 1);
      case DAY_OF_MONTH:
        return this.#encode(date.getUTCDate());
      case MONTH:
        return this.#encode(date.getUTCMonth() + 1);
      case YEAR:
        return this.#encode(date.getUTCFullYear() % 100);
      default:
        return this.#encode(Math.floor(date.getUTCFullYear() / 100));
    }
  }

  #encode(value: number): number {
    if ((this.#register(REGISTER_B) & B_DM) !== 0) return value & 0xff;
    // Centuries from 160 on, which a guest can set, have more than the two digits of a register.
    return ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;
  }

  #encodeHours(hours: number): number {
    if ((this.#register(REGISTER_B) & B_24H) !== 0) return this.#encode(hours);
    return this.#encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? HOURS_PM : 0);
  }

  #decode(index: number): number {
    return this.#decodeByte(this.#register(index));
  }

  #decodeByte(value: number): number {
    return (this.#register(REGISTER_B) & B_DM) !== 0 ? value : 10 * (value >> 4) + (value & 0xf);
  }

  #decodeHours(): number {
    const value = this.#register(HOURS);
    if ((this.#register(REGISTER_B) & B_24H) !== 0) return this.#decodeByte(value);
    return (this.#decodeByte(value & ~HOURS_PM) % 12) + ((value & HOURS_PM) !== 0 ? 12 : 0);
  }

  #setMemory(below4G: number, above4G: number): void {
    if (!Number.isSafeInteger(below4G) || below4G < 0 || !Number.isSafeInteger(above4G) || above4G < 0) {
      throw new VmSuperioError('INVALID_ARGUMENT', `memory of ${below4G} and ${above4G} bytes`);
    }
    const extended = units(below4G - MIB, KIB, 0xffff);
    this.#setBytes(BASE_MEMORY, Math.min(BASE_MEMORY_KIB, units(below4G, KIB, 0xffff)), 2);
    this.#setBytes(EXTENDED_MEMORY, extended, 2);
    this.#setBytes(EXTENDED_MEMORY_COPY, extended, 2);
    this.#setBytes(MEMORY_ABOVE_16M, units(below4G - 16 * MIB, 64 * KIB, 0xffff), 2);
    this.#setBytes(MEMORY_ABOVE_4G, units(above4G, 64 * KIB, 0xff_ffff), 3);
  }

  #setBytes(index: number, value: number, count: number): void {
    for (let i = 0; i < count; i++) this.#ram[index + i] = (value >>> (8 * i)) & 0xff;
  }
}

function isTime(index: number): boolean {
  return TIME_REGISTERS.includes(index) || index === CMOS_CENTURY;
}

/** Whole units in a number of bytes, from 0 to `max`. */
function units(bytes: number, unit: number, max: number): number {
  return Math.min(Math.max(Math.floor(bytes / unit), 0), max);
}
