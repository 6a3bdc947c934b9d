import type { AbortSignalLike } from '../abort.ts';
import { VirtioDeviceError } from '../errors.ts';
import type { VsockType } from './connection.ts';

/** The ports of a connection, for messages. */
interface Ports {
  readonly localPort: number;
  readonly peerPort: number;
}

export function refusedByGuest({ peerPort }: Ports): VirtioDeviceError {
  return new VirtioDeviceError('CONNECTION_REFUSED', `nobody listens on port ${peerPort} of the guest`);
}

export function withoutType(type: VsockType): VirtioDeviceError {
  return new VirtioDeviceError('CONNECTION_REFUSED', `the guest's vsock driver has no ${type} sockets`);
}

export function resetByGuest({ peerPort }: Ports): VirtioDeviceError {
  return new VirtioDeviceError(
    'CONNECTION_RESET',
    `the guest reset the vsock connection to port ${peerPort}`,
  );
}

/** @param what the guest sent against the rules */
export function breachOf({ peerPort }: Ports, what: string): VirtioDeviceError {
  return new VirtioDeviceError(
    'CONNECTION_RESET',
    `vsock connection to port ${peerPort}: the guest sent ${what}`,
  );
}

export function driverGone(): VirtioDeviceError {
  return new VirtioDeviceError('CONNECTION_RESET', "the guest's vsock driver is gone");
}

export function notWritable({ peerPort }: Ports): VirtioDeviceError {
  return new VirtioDeviceError('CONNECTION_CLOSED', `vsock connection to port ${peerPort} takes no data`);
}

/** @param allocation bytes of the guest's buffer */
export function messageTooLarge(size: number, allocation: number): VirtioDeviceError {
  return new VirtioDeviceError(
    'MESSAGE_TOO_LARGE',
    `a message of ${size} bytes, and the guest's buffer has ${allocation}`,
  );
}

export function noAnswerOfGuest(port: number, milliseconds: number): VirtioDeviceError {
  return new VirtioDeviceError(
    'TIMED_OUT',
    `vsock port ${port}: no answer of the guest in ${milliseconds} ms`,
  );
}

export function noAnswerOfListener({ localPort }: Ports): VirtioDeviceError {
  return new VirtioDeviceError('TIMED_OUT', `vsock port ${localPort}: the listener did not answer`);
}

export function aborted(port: number, signal: AbortSignalLike | undefined): VirtioDeviceError {
  return new VirtioDeviceError('ABORTED', `connecting to vsock port ${port} was aborted`, {
    cause: signal?.reason,
  });
}

export function tooManyConnections(count: number): VirtioDeviceError {
  return new VirtioDeviceError(
    'TOO_MANY_CONNECTIONS',
    `vsock: there are ${count} connections, as many as may be`,
  );
}

/** A listener or a callback threw `cause`. */
export function handlerThrew({ localPort, peerPort }: Ports, cause: unknown): VirtioDeviceError {
  return new VirtioDeviceError(
    'DEVICE_FAULT',
    `vsock: what uses the connection from port ${peerPort} to port ${localPort} threw`,
    { cause },
  );
}

/** @throws VirtioDeviceError `INVALID_ARGUMENT` unless `port` is an integer up to `maximum` */
export function checkPort(port: number, maximum: number): void {
  if (Number.isInteger(port) && port >= 0 && port <= maximum) return;
  throw new VirtioDeviceError(
    'INVALID_ARGUMENT',
    `a vsock port is an integer from 0 to ${maximum}, not ${port}`,
  );
}
