import type { BusDevice, Interrupt } from '@vmm/vm-device';
import { InputQueue } from './input-queue.ts';
import { OutputBuffer } from './output-buffer.ts';
import { ReceiveFifo } from './receive-fifo.ts';
import * as R from './uart16550a-registers.ts';
import {
  ENTRY_BREAK,
  readUart16550AState,
  UART16550A_STATE_VERSION,
  type Uart16550AState,
} from './uart16550a-state.ts';

/** Modem inputs of a terminal that is there and ready. */
const MODEM_CONNECTED = R.MSR_CTS | R.MSR_DSR | R.MSR_DCD;

export interface Uart16550AOptions {
  /** INTR. */
  readonly interrupt: Interrupt;
  /** How the line is wired: `edge` (as ISA interrupts are, the default) triggers it when INTR rises. */
  readonly trigger?: 'edge' | 'level';
  /**
   * Takes what the guest sends, several bytes at a time; the array is the callee's. Must not throw. When it
   * cannot follow, call {@link Uart16550A.blockOutput}.
   */
  readonly output: (bytes: Uint8Array) => void;
  /** Bytes that {@link Uart16550A.enqueueInput} keeps for the guest, 1…2^30. Default 65536. */
  readonly inputLimit?: number;
  /** Runs when half of the input limit is free again after bytes have been refused. */
  readonly onDrained?: () => void;
  /**
   * Hands input to the receive FIFO only while the guest has the receive interrupt enabled and let through by OUT2, as
   * PCs have it; and keeps what is in the FIFO when it is switched on or off. A driver that tries the registers and empties
   * the FIFO when it starts, as Linux's does, then loses nothing of what was typed before; a guest that only polls receives
   * nothing. Default `false`.
   */
  readonly holdInput?: boolean;
}

/** What a {@link Uart16550A} has counted since it was made. */
export interface Uart16550AStatistics {
  /** Bytes that the guest has sent. */
  readonly sentBytes: number;
  /** Bytes that the guest has read from the receive FIFO. */
  readonly receivedBytes: number;
  /** Bytes that the guest sent while output was blocked and its buffer full. */
  readonly lostBytes: number;
  /** Edges, or rises of the level, of INTR. */
  readonly interrupts: number;
}

/**
 * PC16550D universal asynchronous receiver and transmitter with FIFOs, eight byte registers. It transmits at once; baud
 * rate and line format keep their values and have no effect. INTR does not depend on OUT2, which gates it on a PC's
 * board.
 *
 * Stores to the transmitter (offset 0) may come late, several at once, provided that they come before any later access
 * to another register: whether they go to THR or DLL is then decided by the same DLAB as on hardware.
 */
export class Uart16550A implements BusDevice {
  readonly #interrupt: Interrupt;
  readonly #edge: boolean;
  readonly #onDrained: (() => void) | undefined;
  readonly #holdInput: boolean;
  readonly #input: InputQueue;
  #inputRefused = false;
  readonly #fifo = new ReceiveFifo(R.UART_FIFO_DEPTH);
  /** Breaks in the FIFO that LSR has not shown. */
  #breaks = 0;
  readonly #output: OutputBuffer;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  #dll = R.DLL_RESET;
  #dlm = 0;
  #modem = MODEM_CONNECTED;
  #delta = 0;
  #overrun = false;
  #thrEmpty = false;
  #high = false;
  #edgeDue = false;
  #sent = 0;
  #received = 0;
  #interrupts = 0;

  /** @throws VmSuperioError `INVALID_ARGUMENT` */
  constructor(options: Uart16550AOptions) {
    this.#interrupt = options.interrupt;
    this.#edge = (options.trigger ?? 'edge') === 'edge';
    this.#output = new OutputBuffer(options.output);
    this.#onDrained = options.onDrained;
    this.#holdInput = options.holdInput ?? false;
    this.#input = new InputQueue(options.inputLimit);
  }

  /** Bytes of input that the guest has not read. */
  get pendingInput(): number {
    return this.#input.length + this.#fifo.count;
  }

  /** Bytes that the guest sent into a full transmitter while output was blocked. */
  get lostOutput(): number {
    return this.#output.lost;
  }

  get statistics(): Uart16550AStatistics {
    return {
      sentBytes: this.#sent,
      receivedBytes: this.#received,
      lostBytes: this.#output.lost,
      interrupts: this.#interrupts,
    };
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

  /** Sends a break to the guest (§8.4). False when the receive FIFO has no place for it. */
  sendBreak(): boolean {
    if (!this.#receiving() || this.#fifo.count >= this.#depth()) return false;
    this.#fifo.push(ENTRY_BREAK);
    this.#breaks++;
    this.#update();
    return true;
  }

  /**
   * Hands buffered output to the sink and raises the interrupt for it now. Without it that happens in a microtask after
   * the guest's access, and when 4096 bytes have come together.
   */
  flush(): void {
    this.#output.flush();
    this.#settleEdge();
  }

  /**
   * Makes the transmitter full until {@link Uart16550A.resumeOutput}. What the guest sends all the same is kept, up to
   * 4096 bytes.
   */
  blockOutput(): void {
    this.#output.block();
    this.#thrEmpty = false;
    this.#update();
  }

  resumeOutput(): void {
    if (!this.#output.blocked) return;
    this.#output.resume();
    this.#thrEmpty = !this.#output.blocked;
    this.#update();
  }

  /** Wider accesses are those of the bytes that they cover, as on an 8-bit bus. */
  read(offset: number, length: 1 | 2 | 4): number {
    let value = this.#readRegister(offset);
    for (let i = 1; i < length; i++) value |= this.#readRegister(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, length: 1 | 2 | 4, value: number): void {
    for (let i = 0; i < length; i++) this.#writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** Reset values of all registers; queued input and buffered output stay. */
  reset(): void {
    this.#ier = 0;
    this.#fcr = 0;
    this.#lcr = 0;
    this.#mcr = 0;
    this.#scr = 0;
    this.#dll = R.DLL_RESET;
    this.#dlm = 0;
    this.#modem = MODEM_CONNECTED;
    this.#delta = 0;
    this.#overrun = false;
    this.#thrEmpty = false;
    this.#clearFifo();
    this.#update();
  }

  save(): Uart16550AState {
    return {
      version: UART16550A_STATE_VERSION,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scr: this.#scr,
      dll: this.#dll,
      dlm: this.#dlm,
      delta: this.#delta,
      overrun: this.#overrun,
      // A blocked sink is the host's: where the state is restored, the transmitter is empty.
      thrEmpty: this.#thrEmpty || this.#output.blocked,
      fifo: this.#fifo.toArray(),
      input: this.#input.toBytes(),
      output: this.#output.toBytes(),
    };
  }

  /** @throws VmSuperioError `INVALID_STATE`, and the device stays as it was */
  restore(state: Uart16550AState): void {
    const next = readUart16550AState(state, this.#input.limit);
    this.#ier = next.ier;
    this.#fcr = next.fcr;
    this.#lcr = next.lcr;
    this.#mcr = next.mcr;
    this.#scr = next.scr;
    this.#dll = next.dll;
    this.#dlm = next.dlm;
    this.#modem = this.#modemInputs();
    this.#delta = next.delta;
    this.#overrun = next.overrun;
    this.#thrEmpty = next.thrEmpty;
    this.#clearFifo();
    for (const entry of next.fifo) this.#fifo.push(entry);
    this.#breaks = next.fifo.filter((entry) => entry === ENTRY_BREAK).length;
    this.#input.clear();
    this.#input.push(next.input);
    this.#inputRefused = false;
    this.#output.set(next.output);
    // One edge too many does no harm, and one too few stops a driver.
    if (this.#edge) this.#high = false;
    this.#update();
  }

  #readRegister(register: number): number {
    switch (register) {
      case R.RBR:
        return this.#dlab() ? this.#dll : this.#readReceiver();
      case R.IER:
        return this.#dlab() ? this.#dlm : this.#ier;
      case R.IIR:
        return this.#readInterrupt();
      case R.LCR:
        return this.#lcr;
      case R.MCR:
        return this.#mcr;
      case R.LSR:
        return this.#readLineStatus();
      case R.MSR: {
        const value = this.#modem | this.#delta;
        this.#delta = 0;
        this.#update();
        return value;
      }
      case R.SCR:
        return this.#scr;
      default:
        return 0;
    }
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case R.THR:
        if (this.#dlab()) this.#dll = value;
        else this.#transmit(value);
        return;
      case R.IER:
        if (this.#dlab()) this.#dlm = value;
        else this.#enableInterrupts(value & R.IER_MASK);
        return;
      case R.FCR:
        this.#controlFifos(value);
        return;
      case R.LCR:
        this.#lcr = value;
        return;
      case R.MCR:
        this.#mcr = value & R.MCR_MASK;
        this.#modemChanged();
        this.#receive();
        this.#update();
        return;
      case R.SCR:
        this.#scr = value;
        return;
      default:
        return;
    }
  }

  #dlab(): boolean {
    return (this.#lcr & R.LCR_DLAB) !== 0;
  }

  #readReceiver(): number {
    if (this.#fifo.count === 0) return 0;
    const entry = this.#fifo.shift();
    if (entry === ENTRY_BREAK) this.#breaks--;
    this.#received++;
    // INTR falls with the last character, also when the next ones are there: each fill is an edge of its own.
    if (this.#fifo.count === 0) {
      this.#update();
      this.#receive();
    }
    this.#update();
    return entry & 0xff;
  }

  #readInterrupt(): number {
    const cause = this.#cause();
    if (cause === R.IIR_THR_EMPTY) {
      this.#thrEmpty = false;
      this.#update();
    }
    return (this.#fcr & R.FCR_ENABLE) !== 0 ? cause | R.IIR_FIFOS : cause;
  }

  #readLineStatus(): number {
    let value = this.#output.blocked ? 0 : R.LSR_THRE | R.LSR_TEMT;
    if (this.#fifo.count > 0) value |= R.LSR_DR;
    if (!this.#overrun && this.#breaks === 0) return value;
    if (this.#overrun) value |= R.LSR_OE;
    if (this.#breaks > 0 && (this.#fcr & R.FCR_ENABLE) !== 0) value |= R.LSR_FIFO_ERROR;
    if (this.#breakFirst()) {
      value |= R.LSR_BI;
      this.#fifo.first = 0;
      this.#breaks--;
    }
    this.#overrun = false;
    this.#update();
    return value;
  }

  #breakFirst(): boolean {
    return this.#breaks > 0 && this.#fifo.first === ENTRY_BREAK;
  }

  #transmit(byte: number): void {
    this.#sent++;
    if ((this.#mcr & R.MCR_LOOP) !== 0) this.#loop(byte);
    else this.#output.push(byte);
    if (this.#output.blocked) return;
    this.#thrEmpty = true;
    if (this.#edge) this.#deferEdge();
    else this.#update();
  }

  /**
   * THR is full and empty again, so INTR falls and rises: an edge. A driver that writes in bursts and reads IIR to see
   * whether to go on needs none, so it has until the end of the turn to do that.
   */
  #deferEdge(): void {
    if (this.#edgeDue || this.#cause() !== R.IIR_THR_EMPTY) return;
    this.#edgeDue = true;
    void Promise.resolve().then(() => this.#settleEdge());
  }

  #settleEdge(): void {
    if (!this.#edgeDue) return;
    this.#edgeDue = false;
    this.#high = this.#cause() !== R.IIR_NONE;
    if (this.#high) this.#raise();
  }

  #loop(byte: number): void {
    if (this.#fifo.count < this.#depth()) {
      this.#fifo.push(byte);
      return;
    }
    this.#overrun = true;
    // The FIFO keeps what it has; without it the new character takes the place of the old (§8.4).
    if ((this.#fcr & R.FCR_ENABLE) === 0) this.#fifo.first = byte;
  }

  #enableInterrupts(value: number): void {
    const rising = value & ~this.#ier;
    this.#ier = value;
    if ((value & R.IER_ETBEI) === 0) this.#thrEmpty = false;
    else if ((rising & R.IER_ETBEI) !== 0) this.#thrEmpty = !this.#output.blocked;
    this.#receive();
    this.#update();
  }

  #controlFifos(value: number): void {
    const enable = (value & R.FCR_ENABLE) !== 0;
    const changed = enable !== ((this.#fcr & R.FCR_ENABLE) !== 0);
    if (changed && this.#holdInput && (this.#mcr & R.MCR_LOOP) === 0) this.#putBack();
    if (changed || (enable && (value & R.FCR_RESET_RECEIVER) !== 0)) this.#clearFifo();
    // Other bits are not programmed without bit 0 (§8.5).
    this.#fcr = enable ? value & R.FCR_MASK : 0;
    this.#update();
    this.#receive();
    this.#update();
  }

  #putBack(): void {
    for (const entry of this.#fifo.toArray().reverse()) {
      if (entry !== ENTRY_BREAK) this.#input.unshift(entry);
    }
  }

  #clearFifo(): void {
    this.#fifo.clear();
    this.#breaks = 0;
  }

  #depth(): number {
    return (this.#fcr & R.FCR_ENABLE) !== 0 ? R.UART_FIFO_DEPTH : 1;
  }

  /** Whether characters from outside arrive. */
  #receiving(): boolean {
    if ((this.#mcr & R.MCR_LOOP) !== 0) return false;
    if (!this.#holdInput) return true;
    return (this.#ier & R.IER_ERBFI) !== 0 && (this.#mcr & R.MCR_OUT2) !== 0;
  }

  /** Moves input to the receive FIFO, as far as there is place: input never overruns. */
  #receive(): void {
    if (this.#input.length === 0 || !this.#receiving()) return;
    const depth = this.#depth();
    while (this.#input.length > 0 && this.#fifo.count < depth) this.#fifo.push(this.#input.shift());
    if (this.#inputRefused && this.#input.length <= this.#input.limit >> 1) {
      this.#inputRefused = false;
      this.#onDrained?.();
    }
  }

  /** In loopback the modem outputs are the inputs (§8.6). */
  #modemInputs(): number {
    const mcr = this.#mcr;
    if ((mcr & R.MCR_LOOP) === 0) return MODEM_CONNECTED;
    return (
      ((mcr & R.MCR_RTS) !== 0 ? R.MSR_CTS : 0) |
      ((mcr & R.MCR_DTR) !== 0 ? R.MSR_DSR : 0) |
      ((mcr & R.MCR_OUT1) !== 0 ? R.MSR_RI : 0) |
      ((mcr & R.MCR_OUT2) !== 0 ? R.MSR_DCD : 0)
    );
  }

  #modemChanged(): void {
    const before = this.#modem;
    const now = this.#modemInputs();
    const changed = before ^ now;
    this.#modem = now;
    if ((changed & R.MSR_CTS) !== 0) this.#delta |= R.MSR_DCTS;
    if ((changed & R.MSR_DSR) !== 0) this.#delta |= R.MSR_DDSR;
    if ((changed & before & R.MSR_RI) !== 0) this.#delta |= R.MSR_TERI;
    if ((changed & R.MSR_DCD) !== 0) this.#delta |= R.MSR_DDCD;
  }

  /** IIR bits 3:0: the enabled interrupt of the highest priority (§8.7). */
  #cause(): number {
    const ier = this.#ier;
    if ((ier & R.IER_ELSI) !== 0 && (this.#overrun || this.#breakFirst())) return R.IIR_LINE_STATUS;
    const count = this.#fifo.count;
    if ((ier & R.IER_ERBFI) !== 0 && count > 0) {
      // Nothing more is on the line, so that the timeout of four characters is over at once.
      return count >= this.#rxTrigger() ? R.IIR_RECEIVED : R.IIR_TIMEOUT;
    }
    if ((ier & R.IER_ETBEI) !== 0 && this.#thrEmpty) return R.IIR_THR_EMPTY;
    if ((ier & R.IER_EDSSI) !== 0 && this.#delta !== 0) return R.IIR_MODEM_STATUS;
    return R.IIR_NONE;
  }

  #rxTrigger(): number {
    if ((this.#fcr & R.FCR_ENABLE) === 0) return 1;
    return R.UART_RX_TRIGGER[this.#fcr >> R.FCR_TRIGGER_SHIFT]!;
  }

  /** Derives INTR anew and reports a change. */
  #update(): void {
    const high = this.#cause() !== R.IIR_NONE;
    if (high === this.#high || (high && this.#edgeDue)) return;
    this.#high = high;
    if (high) this.#raise();
    else if (!this.#edge) this.#interrupt.setLevel(false);
  }

  #raise(): void {
    this.#interrupts++;
    if (this.#edge) this.#interrupt.trigger();
    else this.#interrupt.setLevel(true);
  }
}
