// PC16550D (National Semiconductor, June 1995), section 8: offsets in bytes and fields.

/** RBR when read, THR when written; DLL with DLAB. */
export const RBR = 0;
export const THR = 0;
export const DLL = 0;
/** DLM with DLAB. */
export const IER = 1;
export const DLM = 1;
/** IIR when read, FCR when written. */
export const IIR = 2;
export const FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

export const IER_ERBFI = 0x1;
export const IER_ETBEI = 0x2;
export const IER_ELSI = 0x4;
export const IER_EDSSI = 0x8;
export const IER_MASK = 0xf;

/** Values of IIR bits 3:0, by falling priority. */
export const IIR_LINE_STATUS = 0x6;
export const IIR_RECEIVED = 0x4;
export const IIR_TIMEOUT = 0xc;
export const IIR_THR_EMPTY = 0x2;
export const IIR_MODEM_STATUS = 0x0;
export const IIR_NONE = 0x1;
/** Both bits are set while the FIFOs are enabled. */
export const IIR_FIFOS = 0xc0;

export const FCR_ENABLE = 0x1;
export const FCR_RESET_RECEIVER = 0x2;
/** DMA mode select, without effect. */
export const FCR_DMA = 0x8;
export const FCR_TRIGGER_SHIFT = 6;
/** Bits that stay: the two resets clear themselves. */
export const FCR_MASK = 0xc9;

export const LCR_DLAB = 0x80;

export const MCR_DTR = 0x1;
export const MCR_RTS = 0x2;
export const MCR_OUT1 = 0x4;
export const MCR_OUT2 = 0x8;
export const MCR_LOOP = 0x10;
export const MCR_MASK = 0x1f;

export const LSR_DR = 0x1;
export const LSR_OE = 0x2;
export const LSR_BI = 0x10;
export const LSR_THRE = 0x20;
export const LSR_TEMT = 0x40;
export const LSR_FIFO_ERROR = 0x80;

export const MSR_DCTS = 0x1;
export const MSR_DDSR = 0x2;
export const MSR_TERI = 0x4;
export const MSR_DDCD = 0x8;
export const MSR_DELTA = 0xf;
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;

/** Entries of the receive FIFO. */
export const UART_FIFO_DEPTH = 16;
/** Entries at which the receive interrupt comes, by FCR bits 7:6. */
export const UART_RX_TRIGGER: readonly [number, number, number, number] = [1, 4, 8, 14];
/** 115200 / 9600: what firmware leaves behind. */
export const DLL_RESET = 12;
/** Register bytes. */
export const UART16550A_SIZE = 8;
