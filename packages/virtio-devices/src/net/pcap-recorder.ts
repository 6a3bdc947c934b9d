import { checkOption } from '../errors.ts';
import type { FeatureSet } from '../features.ts';
import type { NetBackend, NetBackendClient, NetBackendSetup } from './backend.ts';
import { PCAP_FROM_GUEST, PCAP_TO_GUEST, PcapEncoder } from './pcap.ts';
import type { ReceiveBuffers } from './receive-buffers.ts';
import type { TransmitBatch } from './transmit-batch.ts';

/** Takes the bytes of the file in order. They are used again: copy or store them before it returns. */
export type PcapSink = (bytes: Uint8Array) => void;

export interface PcapRecorderOptions {
  readonly sink: PcapSink;
  /** Bytes kept of each frame, 64 to 262144. Default 262144: all. */
  readonly snapLength?: number;
  /** Microseconds since 1970. Default: the host's clock. */
  readonly now?: () => number;
}

/**
 * Records what a device sends and receives as a pcapng file, which tcpdump and Wireshark read: frames as they
 * cross between the driver and the backend. With offloads these are larger than on a wire, and checksums of
 * what the guest sends are not complete.
 */
export class PcapRecorder implements NetBackend {
  readonly description: string;
  readonly offloads: FeatureSet;
  readonly maximumQueuePairs: number;
  readonly mtu: number | undefined;
  readonly #inner: NetBackend;
  readonly #sink: PcapSink;
  readonly #now: () => number;
  readonly #encoder: PcapEncoder;
  #frames = 0;

  /** @throws VirtioDeviceError `INVALID_OPTION` */
  constructor(backend: NetBackend, options: PcapRecorderOptions) {
    this.#inner = backend;
    this.description = backend.description;
    this.offloads = backend.offloads;
    this.maximumQueuePairs = backend.maximumQueuePairs;
    this.mtu = backend.mtu;
    this.#sink = options.sink;
    this.#now = options.now ?? hostClock;
    this.#encoder = new PcapEncoder(checkOption('snapLength', options.snapLength ?? 262_144, 64, 262_144));
    this.#sink(this.#encoder.header(backend.description));
  }

  /** Frames recorded. */
  get frames(): number {
    return this.#frames;
  }

  attach(client: NetBackendClient): void {
    this.#inner.attach(client);
  }

  guestAddress(mac: Uint8Array): void {
    this.#inner.guestAddress?.(mac);
  }

  configure(setup: NetBackendSetup | undefined): void {
    this.#inner.configure(setup);
  }

  transmit(pair: number, batch: TransmitBatch): void {
    const { begin } = batch;
    this.#inner.transmit(pair, batch);
    for (let i = begin; i < batch.begin; i++) {
      this.#record(batch.length(i), PCAP_FROM_GUEST, (target) => batch.peek(i, target));
    }
  }

  receive(pair: number, buffers: ReceiveBuffers): boolean {
    const { free } = buffers;
    const more = this.#inner.receive(pair, buffers);
    for (let i = free; i < buffers.free; i++) {
      const length = buffers.frameLength(i);
      if (length === 0) continue;
      this.#record(length, PCAP_TO_GUEST, (target) => buffers.copyFrame(i, target));
    }
    return more;
  }

  linkChanged(up: boolean): void {
    this.#inner.linkChanged?.(up);
  }

  close(): void | Promise<void> {
    return this.#inner.close();
  }

  #record(length: number, direction: number, fill: (target: Uint8Array) => void): void {
    this.#frames++;
    this.#sink(this.#encoder.packet(length, direction, this.#now(), fill));
  }
}

/** What hosts have of clocks; not part of ECMAScript. */
interface HostTime {
  readonly performance?: { readonly timeOrigin: number; now(): number };
}

function hostClock(): number {
  const { performance } = globalThis as HostTime;
  return performance === undefined
    ? Date.now() * 1000
    : Math.floor((performance.timeOrigin + performance.now()) * 1000);
}
