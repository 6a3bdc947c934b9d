import { VirtioVsock, VIRTIO_VSOCK_HEADER_SIZE } from '../src/index.ts';
import * as vsock from '../src/index.ts';
import type { VirtioVsockOptions, VsockConnection, VsockType } from '../src/index.ts';
import { MockMmioDriver } from '../src/mock/index.ts';
import type { MockMmioDriverOptions } from '../src/mock/index.ts';

export const GUEST_CID = 42;

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
export const decode = (bytes: Uint8Array | undefined): string | undefined =>
  bytes === undefined ? undefined : new TextDecoder().decode(bytes);

/** A packet as the guest sees it. */
export interface Packet {
  readonly sourceCid: number;
  readonly destinationCid: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly type: number;
  readonly operation: number;
  readonly flags: number;
  readonly allocation: number;
  readonly forwarded: number;
  readonly data: string;
}

export interface PacketFields {
  readonly hostPort?: number;
  readonly guestPort?: number;
  readonly operation: number;
  readonly type?: number;
  readonly flags?: number;
  readonly data?: Uint8Array | string;
  readonly allocation?: number;
  readonly forwarded?: number;
  readonly sourceCid?: number;
  readonly destinationCid?: number;
  readonly sourceCidHigh?: number;
  /** What the header says, where that is not the truth. */
  readonly length?: number;
}

export interface MockGuestOptions extends Partial<VirtioVsockOptions> {
  readonly driver?: MockMmioDriverOptions;
  /** Receive buffers that the driver lends from the beginning. Default 16. */
  readonly buffers?: number;
  readonly bufferBytes?: number;
  /** Whether the driver brings the device up. Default true. */
  readonly start?: boolean;
}

/** A guest's socket driver that does what a test says. */
export class MockGuest {
  readonly device: VirtioVsock;
  readonly driver: MockMmioDriver;
  readonly #bufferBytes: number;

  constructor(options: MockGuestOptions = {}) {
    const { driver = {}, buffers = 16, bufferBytes = 4096, start = true, ...rest } = options;
    this.device = new VirtioVsock({ guestCid: GUEST_CID, ...rest });
    this.#bufferBytes = bufferBytes;
    this.driver = new MockMmioDriver(this.device, { queueSize: 16, ...driver });
    if (!start) return;
    this.driver.start();
    this.lend(buffers);
  }

  /** Adds receive buffers. */
  lend(count: number, bytes: number = this.#bufferBytes): void {
    for (let i = 0; i < count; i++) this.driver.rings[vsock.VSOCK_RXQ]!.add([{ writable: bytes }]);
    this.driver.kick(vsock.VSOCK_RXQ);
  }

  /** Sends a packet of port 1000 to port 5 of the host, with plenty of credit. */
  send(fields: PacketFields): void {
    this.add(fields);
    this.driver.kick(vsock.VSOCK_TXQ);
  }

  add(fields: PacketFields): void {
    const data =
      typeof fields.data === 'string'
        ? new TextEncoder().encode(fields.data)
        : (fields.data ?? new Uint8Array());
    const header = new DataView(new ArrayBuffer(VIRTIO_VSOCK_HEADER_SIZE));
    header.setUint32(0, fields.sourceCid ?? GUEST_CID, true);
    header.setUint32(4, fields.sourceCidHigh ?? 0, true);
    header.setUint32(8, fields.destinationCid ?? 2, true);
    header.setUint32(16, fields.guestPort ?? 1000, true);
    header.setUint32(20, fields.hostPort ?? 5, true);
    header.setUint32(24, fields.length ?? data.length, true);
    header.setUint16(28, fields.type ?? vsock.VIRTIO_VSOCK_TYPE_STREAM, true);
    header.setUint16(30, fields.operation, true);
    header.setUint32(32, fields.flags ?? 0, true);
    header.setUint32(36, fields.allocation ?? 65_536, true);
    header.setUint32(40, fields.forwarded ?? 0, true);
    const readable = new Uint8Array(header.buffer);
    this.driver.rings[vsock.VSOCK_TXQ]!.add(
      data.length === 0 ? [{ readable }] : [{ readable }, { readable: data }],
    );
  }

  /** Takes what the device has sent, and lends as many buffers again. */
  received(lendAgain = true): Packet[] {
    const packets: Packet[] = [];
    for (let used = this.#collect(); used.length > 0; used = lendAgain ? this.#collect() : []) {
      packets.push(...used.map(({ written }) => parse(written)));
      if (lendAgain) this.lend(used.length);
    }
    return packets;
  }

  /** The same, in words: `RW stream 5>1000 "text"`. */
  async receivedText(): Promise<string[]> {
    await turns();
    return this.received().map(describePacket);
  }

  /** Takes what the device has sent: the bytes of its data packets. Lends as many buffers again. */
  rawData(): Uint8Array[] {
    const used = this.#collect();
    this.lend(used.length);
    return used
      .filter(({ written }) => written[30] === vsock.VIRTIO_VSOCK_OP_RW)
      .map(({ written }) => written.subarray(VIRTIO_VSOCK_HEADER_SIZE));
  }

  #collect(): { readonly written: Uint8Array }[] {
    this.driver.rings[vsock.VSOCK_TXQ]!.collect();
    return this.driver.rings[vsock.VSOCK_RXQ]!.collect();
  }
}

const OPERATIONS = [
  'INVALID',
  'REQUEST',
  'RESPONSE',
  'RST',
  'SHUTDOWN',
  'RW',
  'CREDIT_UPDATE',
  'CREDIT_REQUEST',
];

export function describePacket(packet: Packet): string {
  const { operation, flags, data, hostPort, guestPort } = packet;
  const parts = [OPERATIONS[operation], `${hostPort}>${guestPort}`];
  if (flags !== 0) parts.push(`flags ${flags}`);
  if (data !== '') parts.push(JSON.stringify(data));
  return parts.join(' ');
}

function parse(bytes: Uint8Array): Packet {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getUint32(24, true);
  if (bytes.length !== VIRTIO_VSOCK_HEADER_SIZE + length) {
    throw new Error(`a packet of ${length} bytes of data in ${bytes.length}`);
  }
  return {
    sourceCid: view.getUint32(0, true),
    destinationCid: view.getUint32(8, true),
    hostPort: view.getUint32(16, true),
    guestPort: view.getUint32(20, true),
    type: view.getUint16(28, true),
    operation: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    allocation: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
    data: new TextDecoder().decode(bytes.subarray(VIRTIO_VSOCK_HEADER_SIZE)),
  };
}

/** Lets promises run. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 8; i++) await Promise.resolve();
}

/** A guest with an open connection from its port 1000 to port 5. */
export async function accepted(
  options: MockGuestOptions = {},
  type: VsockType = 'stream',
): Promise<{ guest: MockGuest; connection: VsockConnection }> {
  const guest = new MockGuest(options);
  const connections: VsockConnection[] = [];
  guest.device.listen(5, (each) => void connections.push(each), { type });
  guest.send({ operation: vsock.VIRTIO_VSOCK_OP_REQUEST, type: typeOf(type) });
  const answers = await guest.receivedText();
  const connection = connections[0];
  if (connection === undefined || answers.join() !== 'RESPONSE 5>1000') {
    throw new Error(`the device answered ${answers.join() || 'nothing'}`);
  }
  return { guest, connection };
}

export function typeOf(type: VsockType): number {
  return type === 'stream' ? vsock.VIRTIO_VSOCK_TYPE_STREAM : vsock.VIRTIO_VSOCK_TYPE_SEQPACKET;
}

/** Timers that run when a test says so. */
export class ManualTimers {
  readonly #timers = new Map<() => void, number>();

  readonly set = (callback: () => void, milliseconds: number): (() => void) => {
    const timer = (): void => callback();
    this.#timers.set(timer, milliseconds);
    return () => void this.#timers.delete(timer);
  };

  /** Milliseconds of those that were set and neither ran nor were cancelled. */
  get pending(): number[] {
    return [...this.#timers.values()];
  }

  run(): void {
    const timers = [...this.#timers.keys()];
    this.#timers.clear();
    for (const timer of timers) timer();
  }
}
