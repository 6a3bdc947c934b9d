import { FdtError } from './errors.ts';
import { encodeText } from './text.ts';

/**
 * What a property holds (Devicetree Specification v0.4 §2.2.4.2): `true` is an empty property, a number one
 * 32-bit cell, a bigint one 64-bit value, an array of numbers and bigints a list of those, a string a
 * NUL-terminated string, an array of strings a list of those, and bytes are taken as they are. An empty
 * array is an empty value.
 */
export type FdtValue =
  true | number | bigint | string | readonly (number | bigint)[] | readonly string[] | Uint8Array;

const U64_END = 1n << 64n;

/** @throws FdtError `BAD_VALUE` unless `value` is an integer of 0…2^32-1 */
export function checkU32(value: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
    throw new FdtError('BAD_VALUE', `${what} is ${value}, not an integer of 0…2^32-1`);
  }
  return value;
}

/** @throws FdtError `BAD_VALUE` unless `value` is an integer of 0…2^64-1 (a number: to 2^53-1) */
export function checkU64(value: number | bigint, what: string): bigint {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw new FdtError('BAD_VALUE', `${what} is ${value}, not a safe integer`);
  }
  const wide = BigInt(value);
  if (wide < 0n || wide >= U64_END) {
    throw new FdtError('BAD_VALUE', `${what} is ${String(value)}, not an integer of 0…2^64-1`);
  }
  return wide;
}

/**
 * The 32-bit cells of 64-bit values, high cell first: `reg = [...cells64(address, size)]` for
 * `#address-cells` and `#size-cells` of 2.
 *
 * @param values integers of 0…2^53-1
 * @throws FdtError `BAD_VALUE`
 */
export function cells64(...values: number[]): number[] {
  return values.flatMap((value) => {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new FdtError('BAD_VALUE', `cell value ${value} is not an integer of 0…2^53-1`);
    }
    return [Math.floor(value / 0x100000000), value >>> 0];
  });
}

/**
 * The bytes of a property value.
 *
 * @param what names the property in errors
 * @throws FdtError `BAD_VALUE`
 */
export function encodeValue(value: FdtValue, what: string): Uint8Array {
  if (value === true) return new Uint8Array(0);
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'string') return encodeStrings([value], what);
  if (typeof value === 'number' || typeof value === 'bigint') return encodeCells([value], what);
  return isStringList(value) ? encodeStrings(value, what) : encodeCells(value, what);
}

function isStringList(value: readonly (number | bigint)[] | readonly string[]): value is readonly string[] {
  return typeof value[0] === 'string';
}

export function encodeCells(values: readonly (number | bigint)[], what: string): Uint8Array {
  let length = 0;
  for (const value of values) length += typeof value === 'bigint' ? 8 : 4;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') {
      view.setBigUint64(at, checkU64(value, what));
      at += 8;
    } else {
      view.setUint32(at, checkU32(value, what));
      at += 4;
    }
  }
  return bytes;
}

export function encodeStrings(values: readonly string[], what: string): Uint8Array {
  for (const value of values) {
    if (typeof value !== 'string' || value.includes('\0')) {
      throw new FdtError('BAD_VALUE', `${what} is not a string without NUL: ${JSON.stringify(value)}`);
    }
  }
  return encodeText(values.map((value) => `${value}\0`).join(''));
}
