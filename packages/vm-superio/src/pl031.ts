import type { BusDevice, Interrupt } from '@vmm/vm-device';
import { identification, lanes, PERIPH_ID0 } from './primecell.ts';
import { StateReader } from './validate.ts';

// PrimeCell Real Time Clock (PL031) r1p3, DDI 0224, chapter 3.
const RTCDR = 0x000;
const RTCMR = 0x004;
const RTCLR = 0x008;
const RTCCR = 0x00c;
const RTCIMSC = 0x010;
const RTCRIS = 0x014;
const RTCMIS = 0x018;
const RTCICR = 0x01c;
const FRAME_SIZE = 0x1000;
/** Part number 0x031, designer 0x41. */
const PL031_PERIPH_ID = [0x31, 0x10, 0x04, 0x00] as const;

const STATE_VERSION = 1;
const WRAP = 2 ** 32;
/** A timer is asked for at most this far ahead, in seconds, and set again then. */
const MAX_TIMER = 86_400;
/** And at least this, so that a timer that comes early is not set again in a busy loop. */
const MIN_TIMER = 0.001;

export interface Pl031Options {
  /** RTCINTR: a level. */
  readonly interrupt: Interrupt;
  /** Seconds since 1970-01-01T00:00:00Z, with fraction. */
  readonly clock: () => number;
  /**
   * Runs `callback` once after `seconds` (0.001…86400), sooner or later does no harm; disposing the result
   * prevents it.
   */
  readonly setTimer: (seconds: number, callback: () => void) => Disposable;
}

/** Plain, versioned state of a {@link Pl031}. */
export interface Pl031State {
  readonly version: number;
  readonly mr: number;
  readonly lr: number;
  readonly imsc: number;
  readonly ris: number;
  /** Guest's time minus the clock, in seconds. */
  readonly offset: number;
  /** Time of the next match by the clock, in seconds. */
  readonly match: number;
}

/**
 * PrimeCell Real Time Clock (PL031), DDI 0224: seconds in 32 bits and an interrupt when they match. It starts
 * enabled and with the time of `clock`, as one behind a battery does; a guest that sets it has an offset to the clock
 * from then on.
 */
export class Pl031 implements BusDevice, Disposable {
  readonly #interrupt: Interrupt;
  readonly #clock: () => number;
  readonly #setTimer: Pl031Options['setTimer'];
  #timer: Disposable | undefined;
  #mr = 0;
  #lr = 0;
  #imsc = 0;
  #ris = 0;
  #offset = 0;
  #match = 0;
  #level = false;

  constructor(options: Pl031Options) {
    this.#interrupt = options.interrupt;
    this.#clock = options.clock;
    this.#setTimer = options.setTimer;
    this.#findMatch();
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if ((offset & 3) + length > 4) return 0;
    return lanes(this.#readRegister(offset & ~3), offset, length);
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    if (length !== 4) return;
    switch (offset) {
      case RTCMR:
        this.#poll();
        this.#mr = value >>> 0;
        this.#findMatch();
        break;
      case RTCLR:
        this.#poll();
        this.#lr = value >>> 0;
        this.#offset = this.#lr - this.#seconds();
        this.#findMatch();
        break;
      case RTCIMSC:
        this.#imsc = value & 1;
        break;
      case RTCICR:
        this.#poll();
        this.#ris &= ~value;
        break;
      default:
        // RTCCR too: once enabled, writes have no effect until a reset (§3.3.4).
        return;
    }
    this.#update();
  }

  /** Reset values of the registers; the guest's time goes back to the clock's. */
  reset(): void {
    this.#mr = 0;
    this.#lr = 0;
    this.#imsc = 0;
    this.#offset = 0;
    this.#findMatch();
    this.#ris = 0;
    this.#update();
  }

  save(): Pl031State {
    this.#poll();
    return {
      version: STATE_VERSION,
      mr: this.#mr,
      lr: this.#lr,
      imsc: this.#imsc,
      ris: this.#ris,
      offset: this.#offset,
      match: this.#match,
    };
  }

  /**
   * The guest's time goes on as if it had run all the while, and a match that has passed counts.
   *
   * @throws VmSuperioError `INVALID_STATE`, and the device stays as it was
   */
  restore(state: Pl031State): void {
    const reader = new StateReader('the PL031', state, STATE_VERSION);
    const far = Number.MAX_SAFE_INTEGER / 4;
    const next = {
      mr: reader.integer('mr', WRAP - 1),
      lr: reader.integer('lr', WRAP - 1),
      imsc: reader.bits('imsc', 1),
      ris: reader.bits('ris', 1),
      offset: reader.integer('offset', far, -far),
      match: reader.integer('match', far, -far),
    };
    this.#mr = next.mr;
    this.#lr = next.lr;
    this.#imsc = next.imsc;
    this.#ris = next.ris;
    this.#offset = next.offset;
    this.#match = next.match;
    this.#update();
  }

  /** Gives the timer back. The device is not used after that. */
  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
  }

  #readRegister(register: number): number {
    switch (register) {
      case RTCDR:
        return this.#now();
      case RTCMR:
        return this.#mr;
      case RTCLR:
        return this.#lr;
      case RTCCR:
        return 1;
      case RTCIMSC:
        return this.#imsc;
      case RTCRIS:
        this.#update();
        return this.#ris;
      case RTCMIS:
        this.#update();
        return this.#ris & this.#imsc;
      default:
        return register >= PERIPH_ID0 && register < FRAME_SIZE
          ? identification(register, PL031_PERIPH_ID)
          : 0;
    }
  }

  /** The clock in whole seconds. */
  #seconds(): number {
    return Math.floor(this.#clock());
  }

  /** RTCDR. */
  #now(): number {
    return wrap(this.#seconds() + this.#offset);
  }

  /** The counter matches when it comes to RTCMR the next time; it may be there now. */
  #findMatch(): void {
    const seconds = this.#seconds();
    this.#match = seconds + wrap(this.#mr - wrap(seconds + this.#offset));
    this.#poll();
  }

  /** Raises RTCRIS when the match has come, and looks to the next, one turn of the counter later. */
  #poll(): void {
    const seconds = this.#seconds();
    if (!(seconds >= this.#match)) return;
    this.#ris = 1;
    this.#match += (Math.floor((seconds - this.#match) / WRAP) + 1) * WRAP;
  }

  #update(): void {
    this.#poll();
    const level = (this.#ris & this.#imsc) !== 0;
    if (level !== this.#level) {
      this.#level = level;
      this.#interrupt.setLevel(level);
    }
    this.#timer?.[Symbol.dispose]();
    this.#timer = undefined;
    // Without an interrupt to raise, reads find the match by themselves.
    if (this.#imsc === 0 || this.#ris !== 0) return;
    const delay = Math.min(Math.max(this.#match - this.#clock(), MIN_TIMER), MAX_TIMER);
    this.#timer = this.#setTimer(delay, () => {
      this.#timer = undefined;
      this.#update();
    });
  }
}

/** An integer modulo 2^32, from 0 to 2^32 - 1. */
function wrap(value: number): number {
  return ((value % WRAP) + WRAP) % WRAP;
}
