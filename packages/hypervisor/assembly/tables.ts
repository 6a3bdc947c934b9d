import { TABLE_BITMASK, TABLE_CRC32, TABLE_CRC32C } from './layout';

/** Index of the 32-bit half of the table of bitmask immediates. */
const WORD_IMMEDIATES: u32 = 8192;

/** DecodeBitMasks(), Arm ARM J1.2.3, immediate form; 0 for a reserved combination (no immediate is 0). */
function bitMask(n: u32, immr: u32, imms: u32): u64 {
  const selector = (n << 6) | (~imms & 0x3f);
  if (selector < 2) return 0;
  const length: u32 = 31 - clz(selector);
  const size: u32 = 1 << length;
  const levels = size - 1;
  const s = imms & levels;
  const r = immr & levels;
  if (s == levels) return 0;
  let element = (<u64>1 << (s + 1)) - 1;
  if (r != 0) {
    element = (element >> r) | (element << (size - r));
    if (size < 64) element &= (<u64>1 << size) - 1;
  }
  for (let width = size; width < 64; width <<= 1) element |= element << width;
  return element;
}

/** Index into the table for the fields of a logical immediate. */
// @ts-ignore: decorator
@inline
export function bitMaskIndex(insn: u32): u32 {
  // N:immr:imms lie together in bits 22:10.
  const fields = (insn >> 10) & 0x1fff;
  return (insn >> 31) ? fields : WORD_IMMEDIATES + fields;
}

/** The immediate at an index; 0 for a reserved encoding. */
// @ts-ignore: decorator
@inline
export function bitMaskImmediate(index: u32): u64 {
  return load<u64>(TABLE_BITMASK + (index << 3));
}

function fillCrc(table: usize, polynomial: u32): void {
  for (let i: u32 = 0; i < 256; i++) {
    let value = i;
    for (let bit = 0; bit < 8; bit++) value = (value & 1) ? (value >> 1) ^ polynomial : value >> 1;
    store<u32>(table + (i << 2), value);
  }
}

/** CRC32X and its kin: `size` bytes of `data` into `accumulator`. */
export function crc32(table: usize, accumulator: u32, data: u64, size: u32): u32 {
  for (let i: u32 = 0; i < size; i++) {
    accumulator = load<u32>(table + (((accumulator ^ <u32>data) & 0xff) << 2)) ^ (accumulator >> 8);
    data >>= 8;
  }
  return accumulator;
}

export function fillTables(): void {
  for (let fields: u32 = 0; fields < 8192; fields++) {
    const mask = bitMask(fields >> 12, (fields >> 6) & 63, fields & 63);
    store<u64>(TABLE_BITMASK + (fields << 3), mask);
    if (fields < 4096) store<u64>(TABLE_BITMASK + ((WORD_IMMEDIATES + fields) << 3), mask & 0xffffffff);
  }
  // IEEE 802.3 and Castagnoli, bit-reversed.
  fillCrc(TABLE_CRC32, 0xedb88320);
  fillCrc(TABLE_CRC32C, 0x82f63b78);
}
