// PrimeCell UART (PL011) r1p5, DDI 0183G, chapter 3: offsets in bytes and fields.

export const UARTDR = 0x000;
/** UARTRSR when read, UARTECR when written. */
export const UARTRSR = 0x004;
export const UARTFR = 0x018;
export const UARTILPR = 0x020;
export const UARTIBRD = 0x024;
export const UARTFBRD = 0x028;
export const UARTLCR_H = 0x02c;
export const UARTCR = 0x030;
export const UARTIFLS = 0x034;
export const UARTIMSC = 0x038;
export const UARTRIS = 0x03c;
export const UARTMIS = 0x040;
export const UARTICR = 0x044;
export const UARTDMACR = 0x048;

/** UARTDR bits 11:8, as they lie in the receive FIFO; the same in UARTRSR, 8 bits lower. */
export const DR_BE = 0x400;
export const DR_OE = 0x800;
export const RSR_OE = 0x8;

export const FR_CTS = 0x1;
export const FR_DSR = 0x2;
export const FR_DCD = 0x4;
export const FR_RXFE = 0x10;
export const FR_TXFF = 0x20;
export const FR_RXFF = 0x40;
export const FR_TXFE = 0x80;
export const FR_RI = 0x100;

export const LCR_H_FEN = 0x10;
export const LCR_H_MASK = 0xff;

export const CR_UARTEN = 0x1;
export const CR_LBE = 0x80;
export const CR_TXE = 0x100;
export const CR_RXE = 0x200;
export const CR_DTR = 0x400;
export const CR_RTS = 0x800;
export const CR_OUT1 = 0x1000;
export const CR_OUT2 = 0x2000;
/** Bits 6:3 are reserved. */
export const CR_MASK = 0xff87;

export const IFLS_MASK = 0x3f;
/** Half full, for both FIFOs. */
export const IFLS_RESET = 0x12;

/** Bits of IMSC, RIS, MIS and ICR. */
export const INT_RI = 0x1;
export const INT_CTS = 0x2;
export const INT_DCD = 0x4;
export const INT_DSR = 0x8;
export const INT_RX = 0x10;
export const INT_TX = 0x20;
export const INT_RT = 0x40;
export const INT_BE = 0x200;
export const INT_OE = 0x400;
export const INT_MASK = 0x7ff;

export const DMACR_MASK = 0x7;

/** Part number 0x011, designer 0x41, revision 3 (r1p5). */
export const PL011_PERIPH_ID: readonly [number, number, number, number] = [0x11, 0x10, 0x34, 0x00];

/** Entries of each FIFO. */
export const FIFO_DEPTH = 32;
/** Entries at which the receive interrupt comes, by UARTIFLS.RXIFLSEL; values above 4 are reserved. */
export const RX_TRIGGER: readonly number[] = [4, 8, 16, 24, 28];
