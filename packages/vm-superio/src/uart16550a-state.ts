import { OUTPUT_BUFFER_SIZE } from './output-buffer.ts';
import * as R from './uart16550a-registers.ts';
import { StateReader } from './validate.ts';

export const UART16550A_STATE_VERSION = 1;
/** An entry of the receive FIFO that stands for a break. */
export const ENTRY_BREAK = 0x100;

/** Plain, versioned state of a `Uart16550A`. */
export interface Uart16550AState {
  readonly version: number;
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly scr: number;
  readonly dll: number;
  readonly dlm: number;
  /** MSR bits 3:0. */
  readonly delta: number;
  /** LSR.OE. */
  readonly overrun: boolean;
  /** The transmitter-empty interrupt waits for the guest. */
  readonly thrEmpty: boolean;
  /** Receive FIFO, oldest first: data in bits 7:0; bit 8 for a break. */
  readonly fifo: readonly number[];
  readonly input: Uint8Array;
  readonly output: Uint8Array;
}

/**
 * A state of unknown origin, with every field checked.
 *
 * @param inputLimit bytes of input that the device can keep
 * @throws VmSuperioError `INVALID_STATE`
 */
export function readUart16550AState(state: unknown, inputLimit: number): Uart16550AState {
  const reader = new StateReader('the 16550A', state, UART16550A_STATE_VERSION);
  return {
    version: UART16550A_STATE_VERSION,
    ier: reader.bits('ier', R.IER_MASK),
    fcr: reader.bits('fcr', R.FCR_MASK),
    lcr: reader.bits('lcr', 0xff),
    mcr: reader.bits('mcr', R.MCR_MASK),
    scr: reader.bits('scr', 0xff),
    dll: reader.bits('dll', 0xff),
    dlm: reader.bits('dlm', 0xff),
    delta: reader.bits('delta', R.MSR_DELTA),
    overrun: reader.boolean('overrun'),
    thrEmpty: reader.boolean('thrEmpty'),
    fifo: reader.integers('fifo', R.UART_FIFO_DEPTH, ENTRY_BREAK),
    input: reader.bytes('input', inputLimit),
    output: reader.bytes('output', OUTPUT_BUFFER_SIZE),
  };
}
