/** Stable codes of {@link VirtioDeviceError}. */
export type VirtioDeviceErrorCode =
  /** An option is missing, out of range or contradicts another. */
  | 'INVALID_OPTION'
  /** An argument of a method is out of range. */
  | 'INVALID_ARGUMENT'
  /** A saved state is malformed, of another version or of another device. */
  | 'INVALID_STATE'
  /** The call is not possible now, e.g. `save()` of a running device. */
  | 'WRONG_STATE'
  /** The port's host side is closed. */
  | 'PORT_CLOSED'
  /** The driver set the device up in a way that cannot work; DRIVER_OK was refused. */
  | 'ACTIVATION_FAILED'
  /** The driver broke a rule of the standard; the device waits for a reset. */
  | 'DRIVER_FAULT'
  /** The device model threw; the device waits for a reset. */
  | 'DEVICE_FAULT'
  /** A file behind a device does not exist. */
  | 'NOT_FOUND'
  /** A file behind a device may not be opened as asked. */
  | 'ACCESS_DENIED'
  /** What is behind a path is no regular file (or block device). */
  | 'NOT_A_FILE'
  /** The size of a disk image is 0 or no multiple of 512. */
  | 'INVALID_SIZE'
  /** The file is no overlay of a disk, or is one of another version. */
  | 'NOT_AN_OVERLAY'
  /** Another process has the disk image open for writing, or has it open and it is to be written here. */
  | 'LOCKED'
  /** An interface of the host is in use, or is something else. */
  | 'IN_USE'
  /** The native addon is needed and is not there; `cause` says why. */
  | 'NO_ADDON'
  /** The host failed to read, write or flush; `cause` has its error. */
  | 'IO_ERROR'
  /** Nobody in the guest listens on that vsock port. */
  | 'CONNECTION_REFUSED'
  /** The guest, its driver or a breach of the protocol ended a vsock connection. */
  | 'CONNECTION_RESET'
  /** The guest did not answer in time. */
  | 'TIMED_OUT'
  /** The vsock connection takes no more data. */
  | 'CONNECTION_CLOSED'
  /** A vsock port is listened on already. */
  | 'ADDRESS_IN_USE'
  /** There are as many vsock connections as may be. */
  | 'TOO_MANY_CONNECTIONS'
  /** A message does not fit into the guest's buffer. */
  | 'MESSAGE_TOO_LARGE'
  /** An AbortSignal ended the operation; `cause` is its reason. */
  | 'ABORTED';

/** An operation on a virtio device, transport or backend that could not be carried out. */
export class VirtioDeviceError extends Error {
  override readonly name: string = 'VirtioDeviceError';
  readonly code: VirtioDeviceErrorCode;

  constructor(code: VirtioDeviceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** @throws VirtioDeviceError `INVALID_OPTION` unless `value` is an integer of the range */
export function checkOption(name: string, value: number, minimum: number, maximum: number): number {
  if (!Number.isSafeInteger(value) || value < minimum || value > maximum) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `${name} must be an integer from ${minimum} to ${maximum}, not ${value}`,
    );
  }
  return value;
}

/** For messages: what was thrown, which may be anything and of another realm. */
export function messageOf(cause: unknown): string {
  if (typeof cause === 'object' && cause !== null && 'message' in cause) return String(cause.message);
  return String(cause);
}
