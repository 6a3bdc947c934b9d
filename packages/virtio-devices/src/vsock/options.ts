import type { AbortSignalLike } from '../abort.ts';
import type { VirtioDeviceError } from '../errors.ts';
import type { SetTimer } from '../rate-limiter.ts';
import type { VsockConnection, VsockType } from './connection.ts';

export interface VirtioVsockOptions {
  /** The guest's context id, 3 to 2^32 - 2. */
  readonly guestCid: number;
  /** Bytes that the guest may send ahead on one connection, 4096 to 2^30. Default 262144. */
  readonly bufferSize?: number;
  /** Bytes that may wait on one connection before `write()` answers false. Default 262144. */
  readonly outputLimit?: number;
  /** Connections at one time, 1 to 65536; more are refused. Default 1024. */
  readonly maxConnections?: number;
  /** Milliseconds that either side has to accept a connection. Default 10000. */
  readonly connectTimeout?: number;
  /** Milliseconds that the guest has to take the rest and to confirm the end of a connection. Default 8000. */
  readonly closeTimeout?: number;
  /** Offer F_SEQPACKET. Default true. */
  readonly seqpacket?: boolean;
  /** Queue Size of every queue. Default 128. */
  readonly queueSize?: number;
  /** What a callback of a connection or a listener threw. Must not throw. */
  readonly onError?: (error: VirtioDeviceError) => void;
  readonly setTimer?: SetTimer;
}

export interface VsockConnectOptions {
  /** Default `stream`. */
  readonly type?: VsockType;
  /** Milliseconds; default the device's `connectTimeout`. */
  readonly timeout?: number;
  /** Ends the attempt. */
  readonly signal?: AbortSignalLike;
}

export interface VsockListenOptions {
  /** Default `stream`. A port takes one type. */
  readonly type?: VsockType;
}

/**
 * Takes a connection that a program of the guest made; the program waits until the answer is there. To refuse:
 * `destroy()` the connection, throw or reject.
 */
export type VsockHandler = (connection: VsockConnection) => void | PromiseLike<void>;

/** A port that is listened on; disposing of it ends that, and no connection. */
export interface VsockListener extends Disposable {
  readonly port: number;
  readonly type: VsockType;
}

export interface VirtioVsockStatistics {
  /** Connections now, those that are being opened or closed included. */
  readonly connections: number;
  readonly accepted: number;
  readonly connected: number;
  /** Requests of the guest for which there was no listener or no room. */
  readonly refused: number;
  readonly packetsFromGuest: number;
  readonly packetsToGuest: number;
  readonly bytesFromGuest: number;
  readonly bytesToGuest: number;
  /** Packets that were no packets: too short, or of another sender. */
  readonly dropped: number;
}

/** Plain, versioned state: connections do not survive, and the guest is told so. */
export interface VirtioVsockState {
  readonly version: 1;
  readonly resetDue: boolean;
}
