/** Stable codes of {@link VmDeviceError}. */
export type VmDeviceErrorCode =
  'INVALID_ARGUMENT' | 'OVERLAP' | 'EXHAUSTED' | 'NOT_ALLOCATED' | 'INVALID_STATE' | 'DEVICE_FAULT';

/** An operation on a bus, an allocator or PCI that could not be carried out. */
export class VmDeviceError extends Error {
  override readonly name: string = 'VmDeviceError';
  readonly code: VmDeviceErrorCode;

  constructor(code: VmDeviceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** How an address or a size is written in messages. */
export function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** @throws VmDeviceError `INVALID_ARGUMENT` unless `value` is an integer from `minimum` to 2^53-1 */
export function checkInteger(what: string, value: number, minimum: number): void {
  if (!Number.isSafeInteger(value) || value < minimum) {
    throw new VmDeviceError(
      'INVALID_ARGUMENT',
      `${what} must be an integer from ${minimum} to 2^53-1, not ${value}`,
    );
  }
}
