import type { FeatureSet } from '../features.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import type { TransmitBatch } from './transmit-batch.ts';

/** What a backend tells the device that it is attached to. Nothing of it throws. */
export interface NetBackendClient {
  /** Frames have come since `receive()` answered that there are none. Once for each such answer. */
  readable(pair: number): void;
  /** `transmit()` takes frames again after it took fewer than it was given. */
  writable(pair: number): void;
  /** The other end of the wire is there, or gone. */
  carrier(up: boolean): void;
  /** The backend ended for good; the link goes down. */
  failed(cause: unknown): void;
}

/** What the driver negotiated; the backend may hand the guest no more than that. */
export interface NetBackendSetup {
  /** VIRTIO_NET_F_GUEST_… that are in force. */
  readonly guestOffloads: FeatureSet;
  /** Queue pairs that the driver uses, from 0. */
  readonly queuePairs: number;
}

/**
 * Where the frames of a network device go to and come from.
 *
 * All calls are synchronous and neither wait nor keep what they are given: frames are copied, or taken and
 * stored by the host's kernel, before a call returns.
 */
export interface NetBackend {
  /** For messages, e.g. `tap vmtap0`. */
  readonly description: string;
  /**
   * Offloads that it can do: numbers of VIRTIO_NET_F_CSUM, HOST_…, GUEST_…. The device completes checksums
   * for a backend without F_CSUM; the others are offered to the driver only when they are here.
   */
  readonly offloads: FeatureSet;
  /** Queue pairs that can be used, at least 1. */
  readonly maximumQueuePairs: number;
  /** Most bytes of an IP packet that it carries, when it knows. */
  readonly mtu?: number | undefined;

  /**
   * Gives the backend its device. It may call `readable()` as soon as frames are there.
   *
   * @throws VirtioDeviceError `WRONG_STATE` when it has one already
   */
  attach(client: NetBackendClient): void;

  /** The driver has set up the device, in full or anew; undefined: it is gone, frames may be dropped. */
  configure(setup: NetBackendSetup | undefined): void;

  /**
   * Takes frames from the first on, as many as there is room for, with `batch.advance()` for each. What it
   * cannot send at all it passes with `batch.drop()`. When frames are left it calls `writable()` later.
   */
  transmit(pair: number, batch: TransmitBatch): void;

  /**
   * Fills buffers until `buffers.wanted` is 0, or there is no room for the next frame: then the device calls
   * again when the driver has lent more. A backend that passed many frames without delivering one sets
   * `buffers.wanted` to 0, so as to go on in a later turn.
   *
   * @returns false when there are no more frames: `readable()` follows when there are
   */
  receive(pair: number, buffers: ReceiveBuffers): boolean;

  /** The address that the guest begins with, 6 bytes: at the start, and again when a saved device's takes its place. */
  guestAddress?(mac: Uint8Array): void;

  /** The device's link was set up or down by its owner. */
  linkChanged?(up: boolean): void;

  /** Releases what it holds; calls after that do nothing. More than once is harmless. */
  close(): void | Promise<void>;
}
