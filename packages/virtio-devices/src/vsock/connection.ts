import type { VirtioDeviceError } from '../errors.ts';

/** Kinds of sockets, VIRTIO 1.3 §5.10.6.3: bytes, or messages whose borders are kept. */
export type VsockType = 'stream' | 'seqpacket';

/**
 * - `connecting`: the other side has not accepted yet.
 * - `open`: data flows, in both directions unless one has ended.
 * - `closing`: both directions have ended on this side; the guest has not confirmed it.
 * - `closed`: nothing is sent or received any more. What was received before can still be read.
 */
export type VsockState = 'connecting' | 'open' | 'closing' | 'closed';

export interface VsockConnectionStatistics {
  readonly bytesFromGuest: number;
  readonly bytesToGuest: number;
}

/**
 * The host's end of a connection. Data is pulled with {@link read} (told of by {@link onReadable}) or by iterating;
 * what is not read takes up the connection's buffer and stops the guest when that is full.
 *
 * Callbacks come in a later step than what they tell of, never from inside a call of a method here, and must not
 * throw: one that does ends its connection, and the device's `onError` has what was thrown.
 */
export interface VsockConnection extends AsyncIterable<Uint8Array>, Disposable {
  readonly type: VsockType;
  /** The host's port. */
  readonly localPort: number;
  /** The guest's port. */
  readonly peerPort: number;
  readonly state: VsockState;
  /** Everything was read and nothing will follow. */
  readonly readEnded: boolean;
  /** The guest still takes data, and {@link end} was not called. */
  readonly writable: boolean;
  /** Bytes received and not read. */
  readonly inputBytes: number;
  /** Bytes written that the guest has not been given. */
  readonly outputBytes: number;
  /** Whether the message that `read()` answered last ended a record (MSG_EOR); always false for a stream. */
  readonly endOfRecord: boolean;
  readonly statistics: VsockConnectionStatistics;
  /** Why the connection failed, if it did. */
  readonly error: VirtioDeviceError | undefined;
  /** Resolves when the state becomes `closed`, with {@link error}. */
  readonly closed: Promise<VirtioDeviceError | undefined>;

  /** `read()` has something to answer, or {@link readEnded} became true. */
  onReadable: (() => void) | undefined;
  /** After a `write()` that answered false: there is room again. */
  onDrained: (() => void) | undefined;
  /** The state became `closed`. */
  onClosed: ((error: VirtioDeviceError | undefined) => void) | undefined;

  /**
   * The bytes that lie together at the front, or one whole message (which may be empty). The bytes are the caller's.
   *
   * @returns undefined when there is nothing now
   */
  read(): Uint8Array | undefined;

  /**
   * Sends bytes, or one message. What the guest does not take at once is copied.
   *
   * @param options `endOfRecord`: the message ends a record (MSG_EOR)
   * @returns false when as much waits as should: go on after {@link drained}
   * @throws VirtioDeviceError `CONNECTION_CLOSED` unless {@link writable}; `MESSAGE_TOO_LARGE` for a message that the
   *   guest's buffer cannot hold
   */
  write(bytes: Uint8Array, options?: { readonly endOfRecord?: boolean }): boolean;

  /** Resolves when `write()` would answer true, or the connection has closed. */
  drained(): Promise<void>;

  /** No more will be written: when everything was sent, the guest reads end-of-file. Reading goes on. */
  end(): void;

  /**
   * Ends both directions when everything written was sent; what the guest sends meanwhile is dropped. A guest that does
   * not take the rest or does not confirm the end within the device's `closeTimeout` is cut off.
   */
  close(): void;

  /** Ends the connection at once, with a reset; what was not sent or read is lost. */
  destroy(): void;
}
