/** PCellID0…3 of every PrimeCell (DDI 0183G §3.3.20 and others). */
const PCELL_ID = [0x0d, 0xf0, 0x05, 0xb1] as const;

/** Offset of PeriphID0; the eight identification registers end the 4 KiB frame. */
export const PERIPH_ID0 = 0xfe0;

/**
 * Value of an identification register.
 *
 * @param offset word offset from {@link PERIPH_ID0} on, less than 0x1000
 * @param peripheral PeriphID0…3
 */
export function identification(
  offset: number,
  peripheral: readonly [number, number, number, number],
): number {
  const index = (offset - PERIPH_ID0) >> 2;
  return index < 4 ? peripheral[index]! : PCELL_ID[index - 4]!;
}

/**
 * The part of a register that a read of `length` bytes at `offset` sees: devices answer for whole words, and
 * the bus takes byte lanes.
 */
export function lanes(value: number, offset: number, length: 1 | 2 | 4): number {
  const shifted = value >>> (8 * (offset & 3));
  return length === 4 ? shifted : shifted & (length === 2 ? 0xffff : 0xff);
}
