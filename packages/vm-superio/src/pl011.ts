import type { BusDevice, Interrupt } from '@vmm/vm-device';
import { InputQueue } from './input-queue.ts';
import { OUTPUT_BUFFER_SIZE, OutputBuffer } from './output-buffer.ts';
import { identification, lanes, PERIPH_ID0 } from './primecell.ts';
import * as R from './pl011-registers.ts';
import { ReceiveFifo } from './receive-fifo.ts';
import { StateReader } from './validate.ts';

const STATE_VERSION = 1;
const FRAME_SIZE = 0x1000;
/** Modem inputs of a terminal that is there and ready. */
const MODEM_CONNECTED = R.FR_CTS | R.FR_DSR | R.FR_DCD;
const MODEM_MASK = MODEM_CONNECTED | R.FR_RI;

export interface Pl011Options {
  /** UARTINTR, the combined interrupt: a level. */
  readonly interrupt: Interrupt;
  /**
   * Takes what the guest sends, several bytes at a time; the array is the callee's. Must not throw. When it
   * cannot follow, call {@link Pl011.blockOutput}.
   */
  readonly output: (bytes: Uint8Array) => void;
  /** Bytes that {@link Pl011.enqueueInput} keeps for the guest. Default 65536. */
  readonly inputLimit?: number;
  /** Runs when half of the input limit is free again after bytes have been refused. */
  readonly onDrained?: () => void;
  /** Runs with the new value whenever UARTFR changes, and once at the start: keeps a read shadow up to date. */
  readonly onFlagsChanged?: (value: number) => void;
  /**
   * Hands input to the receive FIFO only while the guest has a receive interrupt enabled. A driver that empties
   * the FIFO when it starts, as Linux's does, then loses nothing of what was typed before; a guest that only
   * polls receives nothing. Default `false`.
   */
  readonly holdInput?: boolean;
}

/** Plain, versioned state of a {@link Pl011}. */
export interface Pl011State {
  readonly version: number;
  readonly ilpr: number;
  readonly ibrd: number;
  readonly fbrd: number;
  readonly lcrH: number;
  readonly cr: number;
  readonly ifls: number;
  readonly imsc: number;
  readonly ris: number;
  readonly rsr: number;
  readonly dmacr: number;
  /** An overrun waits for the character that will carry it. */
  readonly overrun: boolean;
  /** Receive FIFO, oldest first: data in bits 7:0, error bits as in UARTDR. */
  readonly fifo: readonly number[];
  readonly input: Uint8Array;
  readonly output: Uint8Array;
}

/**
 * PrimeCell UART (PL011) r1p5, DDI 0183G. It transmits at once and whatever UARTCR says, because the early console
 * of a kernel relies on firmware that has enabled it; it receives once UARTEN and RXE are set. Baud rate, parity,
 * IrDA and DMA registers keep their values and have no effect.
 */
export class Pl011 implements BusDevice {
  readonly #interrupt: Interrupt;
  readonly #onDrained: (() => void) | undefined;
  readonly #onFlagsChanged: ((value: number) => void) | undefined;
  readonly #holdInput: boolean;
  readonly #input: InputQueue;
  #inputRefused = false;

  readonly #fifo = new ReceiveFifo(R.FIFO_DEPTH);
  readonly #output: OutputBuffer;

  #ilpr = 0;
  #ibrd = 0;
  #fbrd = 0;
  #lcrH = 0;
  #cr = R.CR_RXE | R.CR_TXE;
  #ifls = R.IFLS_RESET;
  #imsc = 0;
  #ris = 0;
  #rsr = 0;
  #dmacr = 0;
  #overrun = false;
  #flags = 0;
  #level = false;

  /** @throws VmSuperioError `INVALID_ARGUMENT` for an input limit that is not from 1 to 2^30 */
  constructor(options: Pl011Options) {
    this.#interrupt = options.interrupt;
    this.#output = new OutputBuffer(options.output);
    this.#onDrained = options.onDrained;
    this.#onFlagsChanged = options.onFlagsChanged;
    this.#holdInput = options.holdInput ?? false;
    this.#input = new InputQueue(options.inputLimit);
    this.#update();
  }

  /** UARTFR. */
  get flags(): number {
    return this.#flags;
  }

  /** Bytes of input that the guest has not read. */
  get pendingInput(): number {
    return this.#input.length + this.#fifo.count;
  }

  /** Bytes that the guest sent into a full FIFO while output was blocked. */
  get lostOutput(): number {
    return this.#output.lost;
  }

  /**
   * Queues bytes for the guest. Returns how many were taken, from the start; when that is not all, wait for
   * `onDrained`.
   */
  enqueueInput(bytes: Uint8Array): number {
    const accepted = this.#input.push(bytes);
    if (accepted < bytes.length) this.#inputRefused = true;
    this.#receive();
    this.#update();
    return accepted;
  }

  /** Sends a break to the guest (DDI 0183G §2.4.2). False when the receive FIFO has no place for it. */
  sendBreak(): boolean {
    if (!this.#receiving() || this.#fifo.count >= this.#depth()) return false;
    this.#pushFifo(R.DR_BE);
    this.#ris |= R.INT_BE | R.INT_RT;
    this.#update();
    return true;
  }

  /**
   * Hands buffered output to the sink now. Without it that happens in a microtask after the guest's access, and
   * when 4096 bytes have come together.
   */
  flush(): void {
    this.#output.flush();
  }

  /**
   * Makes the transmit FIFO full until {@link Pl011.resumeOutput}. What the guest sends all the same is kept, up to
   * 4096 bytes.
   */
  blockOutput(): void {
    this.#output.block();
    this.#update();
  }

  resumeOutput(): void {
    if (!this.#output.blocked) return;
    this.#ris |= R.INT_TX;
    this.#output.resume();
    this.#update();
  }

  read(offset: number, length: 1 | 2 | 4): number {
    if ((offset & 3) + length > 4) return 0;
    const register = offset & ~3;
    if (register === R.UARTDR && offset !== register) return 0;
    return lanes(this.#readRegister(register), offset, length);
  }

  write(offset: number, _length: 1 | 2 | 4, value: number): void {
    switch (offset) {
      case R.UARTDR:
        this.#transmit(value & 0xff);
        break;
      case R.UARTRSR:
        this.#rsr = 0;
        break;
      case R.UARTILPR:
        this.#ilpr = value & 0xff;
        break;
      case R.UARTIBRD:
        this.#ibrd = value & 0xffff;
        break;
      case R.UARTFBRD:
        this.#fbrd = value & 0x3f;
        break;
      case R.UARTLCR_H:
        this.#lcrH = value & R.LCR_H_MASK;
        break;
      case R.UARTCR:
        this.#cr = value & R.CR_MASK;
        break;
      case R.UARTIFLS:
        this.#ifls = value & R.IFLS_MASK;
        break;
      case R.UARTIMSC:
        this.#imsc = value & R.INT_MASK;
        break;
      case R.UARTICR:
        this.#ris &= ~value;
        break;
      case R.UARTDMACR:
        this.#dmacr = value & R.DMACR_MASK;
        break;
      default:
        return;
    }
    this.#receive();
    this.#update();
  }

  /** Reset values of all registers; queued input and buffered output stay. */
  reset(): void {
    this.#ilpr = 0;
    this.#ibrd = 0;
    this.#fbrd = 0;
    this.#lcrH = 0;
    this.#cr = R.CR_RXE | R.CR_TXE;
    this.#ifls = R.IFLS_RESET;
    this.#imsc = 0;
    this.#rsr = 0;
    this.#dmacr = 0;
    this.#overrun = false;
    this.#fifo.clear();
    this.#update();
    this.#ris = 0;
    this.#update();
  }

  save(): Pl011State {
    return {
      version: STATE_VERSION,
      ilpr: this.#ilpr,
      ibrd: this.#ibrd,
      fbrd: this.#fbrd,
      lcrH: this.#lcrH,
      cr: this.#cr,
      ifls: this.#ifls,
      imsc: this.#imsc,
      ris: this.#ris,
      rsr: this.#rsr,
      dmacr: this.#dmacr,
      overrun: this.#overrun,
      fifo: this.#fifo.toArray(),
      input: this.#input.toBytes(),
      output: this.#output.toBytes(),
    };
  }

  /** @throws VmSuperioError `INVALID_STATE`, and the device stays as it was */
  restore(state: Pl011State): void {
    const reader = new StateReader('the PL011', state, STATE_VERSION);
    const next = {
      ilpr: reader.bits('ilpr', 0xff),
      ibrd: reader.bits('ibrd', 0xffff),
      fbrd: reader.bits('fbrd', 0x3f),
      lcrH: reader.bits('lcrH', R.LCR_H_MASK),
      cr: reader.bits('cr', R.CR_MASK),
      ifls: reader.bits('ifls', R.IFLS_MASK),
      imsc: reader.bits('imsc', R.INT_MASK),
      ris: reader.bits('ris', R.INT_MASK),
      rsr: reader.bits('rsr', 0xf),
      dmacr: reader.bits('dmacr', R.DMACR_MASK),
      overrun: reader.boolean('overrun'),
      fifo: reader.integers('fifo', R.FIFO_DEPTH, 0xfff),
      input: reader.bytes('input', this.#input.limit),
      output: reader.bytes('output', OUTPUT_BUFFER_SIZE),
    };
    this.#ilpr = next.ilpr;
    this.#ibrd = next.ibrd;
    this.#fbrd = next.fbrd;
    this.#lcrH = next.lcrH;
    this.#cr = next.cr;
    this.#ifls = next.ifls;
    this.#imsc = next.imsc;
    this.#rsr = next.rsr;
    this.#dmacr = next.dmacr;
    this.#overrun = next.overrun;
    this.#fifo.clear();
    for (const entry of next.fifo) this.#fifo.push(entry);
    this.#input.clear();
    this.#input.push(next.input);
    this.#inputRefused = false;
    this.#output.set(next.output);
    // Modem lines that differ from those before are no events of the guest.
    this.#update();
    this.#ris = next.ris;
    this.#receive();
    this.#update();
  }

  #readRegister(register: number): number {
    switch (register) {
      case R.UARTDR:
        return this.#readData();
      case R.UARTRSR:
        return this.#rsr;
      case R.UARTFR:
        return this.#flags;
      case R.UARTILPR:
        return this.#ilpr;
      case R.UARTIBRD:
        return this.#ibrd;
      case R.UARTFBRD:
        return this.#fbrd;
      case R.UARTLCR_H:
        return this.#lcrH;
      case R.UARTCR:
        return this.#cr;
      case R.UARTIFLS:
        return this.#ifls;
      case R.UARTIMSC:
        return this.#imsc;
      case R.UARTRIS:
        return this.#ris;
      case R.UARTMIS:
        return this.#ris & this.#imsc;
      case R.UARTDMACR:
        return this.#dmacr;
      default:
        return register >= PERIPH_ID0 && register < FRAME_SIZE
          ? identification(register, R.PL011_PERIPH_ID)
          : 0;
    }
  }

  #readData(): number {
    if (this.#fifo.count === 0) return 0;
    const entry = this.#fifo.shift();
    // FE, PE and BE belong to the character; OE stays until UARTECR is written (§3.3.2).
    this.#rsr = (this.#rsr & R.RSR_OE) | (entry >> 8);
    if (this.#fifo.count === 0) this.#ris &= ~R.INT_RT;
    if (this.#fifo.count < this.#rxTrigger()) {
      this.#ris &= ~R.INT_RX;
      // Not earlier: the interrupt comes anew when the FIFO fills through its trigger level.
      this.#receive();
    }
    this.#update();
    return entry;
  }

  #transmit(byte: number): void {
    if ((this.#cr & R.CR_LBE) !== 0) this.#loop(byte);
    this.#output.push(byte);
    // The FIFO has emptied through its trigger level already (§2.8.4), unless nothing takes the bytes.
    if (!this.#output.blocked) this.#ris |= R.INT_TX;
  }

  #loop(byte: number): void {
    if ((this.#cr & R.CR_RXE) === 0) return;
    if (this.#fifo.count < this.#depth()) {
      this.#pushFifo(byte);
      this.#ris |= R.INT_RT;
      return;
    }
    this.#overrun = true;
    this.#rsr |= R.RSR_OE;
    this.#ris |= R.INT_OE;
  }

  #depth(): number {
    return (this.#lcrH & R.LCR_H_FEN) !== 0 ? R.FIFO_DEPTH : 1;
  }

  #rxTrigger(): number {
    if ((this.#lcrH & R.LCR_H_FEN) === 0) return 1;
    return R.RX_TRIGGER[Math.min(this.#ifls >> 3, R.RX_TRIGGER.length - 1)]!;
  }

  /** Whether characters from outside arrive. */
  #receiving(): boolean {
    if ((this.#cr & (R.CR_UARTEN | R.CR_RXE | R.CR_LBE)) !== (R.CR_UARTEN | R.CR_RXE)) return false;
    return !this.#holdInput || (this.#imsc & (R.INT_RX | R.INT_RT)) !== 0;
  }

  /** Moves input to the receive FIFO, as far as there is place. */
  #receive(): void {
    if (this.#input.length === 0 || !this.#receiving()) return;
    const depth = this.#depth();
    if (this.#fifo.count >= depth) return;
    while (this.#input.length > 0 && this.#fifo.count < depth) this.#pushFifo(this.#input.shift());
    // When nothing more comes, the receive timeout of 32 bit periods is over at once.
    if (this.#input.length === 0 || (this.#ris & R.INT_RX) === 0) this.#ris |= R.INT_RT;
    if (this.#inputRefused && this.#input.length <= this.#input.limit >> 1) {
      this.#inputRefused = false;
      this.#onDrained?.();
    }
  }

  #pushFifo(entry: number): void {
    this.#fifo.push(this.#overrun ? entry | R.DR_OE : entry);
    this.#overrun = false;
    if (this.#fifo.count === this.#rxTrigger()) this.#ris |= R.INT_RX;
  }

  #modem(): number {
    if ((this.#cr & R.CR_LBE) === 0) return MODEM_CONNECTED;
    return (
      ((this.#cr & R.CR_RTS) !== 0 ? R.FR_CTS : 0) |
      ((this.#cr & R.CR_DTR) !== 0 ? R.FR_DSR : 0) |
      ((this.#cr & R.CR_OUT1) !== 0 ? R.FR_DCD : 0) |
      ((this.#cr & R.CR_OUT2) !== 0 ? R.FR_RI : 0)
    );
  }

  /** Derives UARTFR and UARTINTR anew and reports what has changed. */
  #update(): void {
    const flags =
      this.#modem() |
      (this.#fifo.count === 0 ? R.FR_RXFE : 0) |
      (this.#fifo.count >= this.#depth() ? R.FR_RXFF : 0) |
      (this.#output.blocked ? R.FR_TXFF : R.FR_TXFE);
    const before = this.#flags;
    if (flags !== before) {
      if (before !== 0) this.#ris |= modemEvents(flags ^ before);
      this.#flags = flags;
      this.#onFlagsChanged?.(flags);
    }
    const level = (this.#ris & this.#imsc) !== 0;
    if (level !== this.#level) {
      this.#level = level;
      this.#interrupt.setLevel(level);
    }
  }
}

/** Interrupts for modem inputs that have changed (§2.8.1); the order of the bits differs from UARTFR's. */
function modemEvents(changed: number): number {
  if ((changed & MODEM_MASK) === 0) return 0;
  return (
    ((changed & R.FR_RI) !== 0 ? R.INT_RI : 0) |
    ((changed & R.FR_CTS) !== 0 ? R.INT_CTS : 0) |
    ((changed & R.FR_DCD) !== 0 ? R.INT_DCD : 0) |
    ((changed & R.FR_DSR) !== 0 ? R.INT_DSR : 0)
  );
}
