// 82093AA I/O APIC (Intel order number 290566), chapter 3, and the EOI register of later versions
// (Intel 500-series PCH datasheet, volume 2, §11.2). Offsets are from the base of the register window.

/** Register select: the index of what {@link IOWIN} shows. */
export const IOREGSEL = 0x00;
export const IOWIN = 0x10;
/** Write-only: ends the level-triggered interrupts of a vector. From version 0x20 on. */
export const IOEOI = 0x40;
export const WINDOW_SIZE = 0x1000;

/** Index registers. */
export const IOAPICID = 0x00;
export const IOAPICVER = 0x01;
export const IOAPICARB = 0x02;
/** Low word of redirection entry 0; the high one follows, and then the next entry. */
export const IOREDTBL = 0x10;

export const ID_SHIFT = 24;
export const ID_MASK = 0xf;

/** Bits of the low word of a redirection entry. */
export const RTE_VECTOR = 0xff;
export const RTE_DELIVERY_MODE = 0x700;
export const RTE_DELIVERY_MODE_SHIFT = 8;
export const RTE_DESTINATION_MODE = 0x800;
export const RTE_DELIVERY_STATUS = 0x1000;
export const RTE_POLARITY = 0x2000;
export const RTE_REMOTE_IRR = 0x4000;
export const RTE_LEVEL = 0x8000;
export const RTE_MASK = 0x1_0000;
/** What a guest can write. */
export const RTE_LOW_WRITABLE: number =
  RTE_VECTOR | RTE_DELIVERY_MODE | RTE_DESTINATION_MODE | RTE_POLARITY | RTE_LEVEL | RTE_MASK;
/** Destination: bits 63:56 of the entry. */
export const RTE_HIGH_WRITABLE = 0xff00_0000;

/** Delivery modes (§3.2.4). */
export const DELIVERY_FIXED = 0;
export const DELIVERY_LOWEST_PRIORITY = 1;
export const DELIVERY_SMI = 2;
export const DELIVERY_NMI = 4;
export const DELIVERY_INIT = 5;
export const DELIVERY_EXTINT = 7;

/** Vectors below are refused by local APICs (Intel SDM Vol. 3 §11.5.2). */
export const FIRST_VECTOR = 0x10;

/** Message address and data (Intel SDM Vol. 3 §11.11). */
export const MSI_ADDRESS_BASE = 0xfee0_0000;
export const MSI_DESTINATION_SHIFT = 12;
export const MSI_REDIRECTION_HINT = 0x8;
export const MSI_LOGICAL = 0x4;
export const MSI_ASSERT = 0x4000;
export const MSI_LEVEL = 0x8000;
