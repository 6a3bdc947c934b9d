import { VirtioDeviceError } from '../errors.ts';
import { StateReader } from '../state.ts';
import { ReceiveFilter } from './filter.ts';

/** Plain, versioned state of a VirtioNet. */
export interface VirtioNetState {
  readonly version: 1;
  readonly mac: Uint8Array;
  readonly filter: Uint8Array;
  readonly linkUp: boolean;
  readonly queuePairs: number;
  readonly maximumQueuePairs: number;
  readonly guestOffloadsLow: number;
  readonly guestOffloadsHigh: number;
  /** Of RateLimiter. */
  readonly receiveLimiter: unknown;
  readonly transmitLimiter: unknown;
}

/**
 * Reads a saved state for a device of that many queue pairs.
 *
 * @throws VirtioDeviceError `INVALID_STATE`
 */
export function readNetState(state: unknown, maximumPairs: number): VirtioNetState {
  const reader = new StateReader('network device state', state);
  reader.version(1);
  const mac = reader.bytes('mac');
  const maximumQueuePairs = reader.integer('maximumQueuePairs', 1, 16);
  if (maximumQueuePairs !== maximumPairs) {
    throw new VirtioDeviceError(
      'INVALID_STATE',
      `the guest was saved with ${maximumQueuePairs} queue pairs, this device has ${maximumPairs}`,
    );
  }
  if (mac.length !== 6) {
    throw new VirtioDeviceError('INVALID_STATE', 'network device state: mac must be 6 bytes');
  }
  return {
    version: 1,
    mac,
    filter: ReceiveFilter.read(reader, 'filter'),
    linkUp: reader.boolean('linkUp'),
    queuePairs: reader.integer('queuePairs', 1, maximumQueuePairs),
    maximumQueuePairs,
    guestOffloadsLow: reader.uint32('guestOffloadsLow'),
    guestOffloadsHigh: reader.uint32('guestOffloadsHigh'),
    receiveLimiter: reader.unknown('receiveLimiter'),
    transmitLimiter: reader.unknown('transmitLimiter'),
  };
}
