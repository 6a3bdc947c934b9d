import type { VirtioDeviceError } from '../errors.ts';
import type { RateLimiter } from '../rate-limiter.ts';
import type { NetBackend } from './backend.ts';

export interface VirtioNetOptions {
  /** Where frames go to and come from; the device's from now on, but its owner closes it. */
  readonly backend: NetBackend;
  /** The address that the guest takes: 6 bytes, or text like `02:00:5e:10:00:01`. Default random. */
  readonly mac?: string | Uint8Array;
  /** Most bytes of an IP packet, 68 to 65535. Default: the backend's, or the guest's own choice. */
  readonly mtu?: number;
  /** Queue pairs, 1 to 16 and at most what the backend has. Default 1. */
  readonly queuePairs?: number;
  /** Queue Size of receive and transmit queues, a power of two from 4. Default 256. */
  readonly queueSize?: number;
  /** Whether the link is up at the beginning. Default true. */
  readonly linkUp?: boolean;
  /** Speed of the link that the guest is told, in Mbit/s, 0 to 2^31 - 1. Default: unknown. */
  readonly speed?: number;
  /** Checksum and segmentation offloads. Default true. */
  readonly offloads?: boolean;
  /** VIRTIO_NET_F_MRG_RXBUF. Default true. */
  readonly mergeable?: boolean;
  /** For frames to the guest, of this device alone. */
  readonly receiveLimiter?: RateLimiter;
  /** For frames from the guest, of this device alone. */
  readonly transmitLimiter?: RateLimiter;
  /** The backend failed: `IO_ERROR`, with its cause. The link is down then. Must not throw. */
  readonly onError?: (error: VirtioDeviceError) => void;
}

/** Counters since the device was made. "Receive" and "transmit" are the guest's. */
export interface VirtioNetStatistics {
  readonly receivedFrames: number;
  readonly receivedBytes: number;
  /** Frames that the driver did not want (§5.1.6.5). */
  readonly receiveFiltered: number;
  /** Frames that did not fit into a buffer of the driver's. */
  readonly receiveTooLarge: number;
  readonly transmittedFrames: number;
  readonly transmittedBytes: number;
  /** Frames of the guest's that were malformed, refused by the backend, or sent while the link was down. */
  readonly transmitDropped: number;
  readonly controlCommands: number;
  /** Control commands answered with VIRTIO_NET_ERR. */
  readonly controlErrors: number;
}
