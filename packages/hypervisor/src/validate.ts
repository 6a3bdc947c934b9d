import { HypervisorError } from './errors.ts';

/** Guest physical addresses have at most 48 bits. */
export const PHYSICAL_ADDRESS_LIMIT: number = 2 ** 48;

/** @throws HypervisorError `INVALID_ARGUMENT` unless `value` is a multiple of `unit` and the range lies in 48 bits. */
export function checkRange(what: string, address: number, length: number, unit: number): void {
  if (!Number.isSafeInteger(address) || address < 0 || address % unit !== 0) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${what}: address ${hex(address)} is not a multiple of ${unit}`,
    );
  }
  if (!Number.isSafeInteger(length) || length <= 0 || address + length > PHYSICAL_ADDRESS_LIMIT) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${what}: ${length} bytes at ${hex(address)} are not inside the 48-bit guest physical address space`,
    );
  }
}

/** @throws HypervisorError `INVALID_ARGUMENT` unless `value` is an unsigned number of 8 × `bytes` bits. */
export function checkUnsigned(what: string, value: number, bytes: number): void {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * bytes)) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${what}: ${value} is not an unsigned ${8 * bytes}-bit number`,
    );
  }
}

/** @throws HypervisorError `INVALID_ARGUMENT` unless `value` is an unsigned number of `bits` bits. */
export function checkRegisterValue(name: string, value: bigint, bits: 64 | 128): void {
  if (typeof value !== 'bigint' || value < 0n || value >> BigInt(bits) !== 0n) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${name}: ${String(value)} is not an unsigned ${bits}-bit value`,
    );
  }
}

export function hex(value: number): string {
  return Number.isInteger(value) && value >= 0 ? `0x${value.toString(16)}` : String(value);
}
