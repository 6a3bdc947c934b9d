import { FeatureSet, VirtioNet, type VirtioNetOptions } from '../src/index.ts';
import type { NetBackend, NetBackendClient, NetBackendSetup } from '../src/net/backend.ts';
import type { ReceiveBuffers } from '../src/net/receive-buffers.ts';
import type { TransmitBatch } from '../src/net/transmit-batch.ts';
import { startDriver, type CreateDriverOptions, type MockVirtioDriver } from '../src/mock/index.ts';

export const MAC = '02:00:00:00:00:01';

/** A network that does what a test says. */
export class TestBackend implements NetBackend {
  readonly description = 'test network';
  readonly offloads: FeatureSet;
  readonly maximumQueuePairs: number;
  readonly mtu: number | undefined;
  readonly sent: { readonly pair: number; readonly frame: Uint8Array }[] = [];
  readonly setups: (NetBackendSetup | undefined)[] = [];
  readonly links: boolean[] = [];
  /** Frames that it takes before it asks to wait. */
  capacity = Infinity;
  /** Thrown by everything. */
  fault: Error | undefined;
  client: NetBackendClient | undefined;
  readonly #waiting: { readonly frame: Uint8Array; readonly flags: number }[][] = [];
  readonly #idle: boolean[] = [];

  constructor(
    options: { readonly offloads?: readonly number[]; readonly pairs?: number; readonly mtu?: number } = {},
  ) {
    this.offloads = FeatureSet.of(...(options.offloads ?? []));
    this.maximumQueuePairs = options.pairs ?? 1;
    this.mtu = options.mtu;
    for (let i = 0; i < this.maximumQueuePairs; i++) {
      this.#waiting.push([]);
      this.#idle.push(true);
    }
  }

  attach(client: NetBackendClient): void {
    this.client = client;
  }

  configure(setup: NetBackendSetup | undefined): void {
    this.setups.push(setup);
  }

  transmit(pair: number, batch: TransmitBatch): void {
    if (this.fault !== undefined) throw this.fault;
    for (; batch.remaining > 0 && this.capacity > 0; this.capacity--) {
      const frame = batch.copyFrame();
      if (frame === undefined) {
        batch.drop();
      } else {
        this.sent.push({ pair, frame });
        batch.advance();
      }
    }
  }

  receive(pair: number, buffers: ReceiveBuffers): boolean {
    if (this.fault !== undefined) throw this.fault;
    const waiting = this.#waiting[pair]!;
    while (buffers.wanted > 0) {
      const [next] = waiting;
      if (next === undefined) {
        this.#idle[pair] = true;
        return false;
      }
      if (!buffers.deliver(next.frame, next.flags)) break;
      waiting.shift();
    }
    return true;
  }

  linkChanged(up: boolean): void {
    this.links.push(up);
  }

  close(): void {
    // Nothing is open.
  }

  /** A frame for the guest. */
  push(frame: Uint8Array, pair = 0, flags = 0): void {
    this.#waiting[pair]!.push({ frame, flags });
    if (!this.#idle[pair]) return;
    this.#idle[pair] = false;
    this.client?.readable(pair);
  }

  /** Frames that the guest has not got. */
  waiting(pair = 0): number {
    return this.#waiting[pair]!.length;
  }

  /** Takes frames again. */
  resume(capacity = Infinity, pair = 0): void {
    this.capacity = capacity;
    this.client?.writable(pair);
  }
}

/** An Ethernet frame whose payload counts up from `seed`. */
export function frameOf(length: number, seed = 0, to: string = MAC): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, index) => (index + seed) & 0xff);
  frame.set(bytesOf(to));
  frame.set(bytesOf('02:00:00:00:00:99'), 6);
  frame[12] = 0x88;
  frame[13] = 0xb5;
  return frame;
}

export function bytesOf(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (digits) => Number.parseInt(digits, 16));
}

/** A header of VIRTIO 1.3 §5.1.6. */
export function header(
  fields: {
    readonly flags?: number;
    readonly gsoType?: number;
    readonly csumStart?: number;
    readonly csumOffset?: number;
  } = {},
): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, fields.flags ?? 0);
  view.setUint8(1, fields.gsoType ?? 0);
  view.setUint16(6, fields.csumStart ?? 0, true);
  view.setUint16(8, fields.csumOffset ?? 0, true);
  return bytes;
}

/** A device with its driver. */
export class NetRig<Backend extends NetBackend = TestBackend> {
  readonly backend: Backend;
  readonly device: VirtioNet;
  readonly driver: MockVirtioDriver;
  readonly errors: string[] = [];
  /** Tasks that the transport put off. */
  readonly deferred: (() => void)[] = [];

  constructor(backend: Backend, options: Partial<VirtioNetOptions> = {}, driver: CreateDriverOptions = {}) {
    this.backend = backend;
    this.device = new VirtioNet({
      backend,
      mac: MAC,
      onError: (error) => this.errors.push(error.message),
      ...options,
    });
    this.driver = startDriver(this.device, {
      ...driver,
      transportOptions: { defer: (task) => this.deferred.push(task), ...driver.transportOptions },
    });
  }

  /** Index of the control queue. */
  get control(): number {
    return this.device.queueSizes.length - 1;
  }

  /** Lends receive buffers. */
  lend(count: number, size: number, pair = 0): void {
    for (let i = 0; i < count; i++) this.driver.rings[2 * pair]!.add([{ writable: size }]);
    this.driver.kick(2 * pair);
  }

  /** Frames that the driver got since the last call, put together from merged buffers. */
  received(
    pair = 0,
  ): { readonly header: Uint8Array; readonly frame: Uint8Array; readonly buffers: number }[] {
    const used = this.driver.rings[2 * pair]!.collect();
    const frames: { header: Uint8Array; frame: Uint8Array; buffers: number }[] = [];
    for (let i = 0; i < used.length;) {
      const { written } = used[i]!;
      const buffers = written[10]! | (written[11]! << 8);
      const parts = used.slice(i, i + buffers).map((element) => element.written);
      const whole = new Uint8Array(Buffer.concat(parts));
      frames.push({ header: whole.subarray(0, 12), frame: whole.subarray(12), buffers });
      i += Math.max(1, buffers);
    }
    return frames;
  }

  /** Sends a frame of the guest's; answers how many chains came back. */
  send(frame: Uint8Array, head: Uint8Array = header(), pair = 0): number {
    const ring = this.driver.rings[2 * pair + 1]!;
    ring.add([{ readable: head }, { readable: frame }]);
    this.driver.kick(2 * pair + 1);
    return ring.collect().length;
  }

  /** A control command; answers `ack`. */
  command(group: number, command: number, ...data: readonly (readonly number[] | Uint8Array)[]): number {
    const ring = this.driver.rings[this.control]!;
    ring.add([{ readable: [group, command] }, ...data.map((readable) => ({ readable })), { writable: 1 }]);
    this.driver.kick(this.control);
    return ring.collect()[0]!.written[0]!;
  }

  /** Runs what was put off, and what that puts off. */
  settle(): void {
    for (let task = this.deferred.shift(); task !== undefined; task = this.deferred.shift()) task();
  }
}
