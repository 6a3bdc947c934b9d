import type { ChainReader, ChainWriter } from '@vmm/virtio-queue';
import type { VirtioDeviceError } from '../errors.ts';
import type { SetTimer } from '../rate-limiter.ts';
import type { VsockConnection, VsockConnectionStatistics, VsockState, VsockType } from './connection.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE,
  VIRTIO_VSOCK_SHUTDOWN_F_SEND,
} from './constants.ts';
import { breachOf, messageTooLarge, notWritable, refusedByGuest, resetByGuest } from './failures.ts';
import type { VsockHeader } from './header.ts';
import { PeerEnds } from './peer-ends.ts';
import { PeerEvents } from './peer-events.ts';
import { PeerInput } from './peer-input.ts';
import { PeerOutput } from './peer-output.ts';
import { PeerPackets } from './peer-packets.ts';

/** What a connection asks of its device. */
export interface PeerHost {
  readonly bufferSize: number;
  readonly outputLimit: number;
  readonly closeTimeout: number;
  readonly setTimer: SetTimer;
  /** There may be a packet to send. */
  ready(peer: Peer): void;
  /** There are callbacks to make. */
  tell(peer: Peer): void;
  /** The connection takes up its ports no more. */
  gone(peer: Peer): void;
}

/** A connection with what its device keeps about it, VIRTIO 1.3 §5.10.6. */
export class Peer implements VsockConnection {
  readonly type: VsockType;
  readonly localPort: number;
  readonly peerPort: number;
  onReadable: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  onClosed: ((error: VirtioDeviceError | undefined) => void) | undefined;
  readonly initiator: 'host' | 'guest';
  /**
   * Called once from {@link deliver}: with a connection of the guest's as soon as it is asked for, with one of the host's
   * when it is open or has failed.
   */
  onOpen: (() => void) | undefined;
  /** The device has it in its list of connections with something to send. */
  queued = false;
  /** The device has it in its list of connections with something to tell. */
  telling = false;

  readonly #host: PeerHost;
  readonly #input: PeerInput;
  readonly #output: PeerOutput;
  readonly #packets: PeerPackets;
  readonly #events: PeerEvents;
  readonly #ends = new PeerEnds();
  #state: VsockState = 'connecting';
  #error: VirtioDeviceError | undefined;
  #cancelTimer: (() => void) | undefined;
  /** The guest gave up receiving while there was something for it. */
  #lost = false;

  constructor(
    initiator: 'host' | 'guest',
    type: VsockType,
    localPort: number,
    peerPort: number,
    host: PeerHost,
  ) {
    this.initiator = initiator;
    this.type = type;
    this.localPort = localPort;
    this.peerPort = peerPort;
    this.#host = host;
    this.#input = new PeerInput(type, host.bufferSize);
    this.#output = new PeerOutput(type, host.outputLimit);
    this.#packets = new PeerPackets(type, this.#output, this.#input.credit);
    this.#events = new PeerEvents(this, () => host.tell(this));
  }

  get state(): VsockState {
    return this.#state;
  }

  get error(): VirtioDeviceError | undefined {
    return this.#error;
  }

  get closed(): Promise<VirtioDeviceError | undefined> {
    return this.#events.whenClosed;
  }

  get inputBytes(): number {
    return this.#input.size;
  }

  get outputBytes(): number {
    return this.#output.size;
  }

  get statistics(): VsockConnectionStatistics {
    return { bytesFromGuest: this.#input.received, bytesToGuest: this.#output.sent };
  }

  get endOfRecord(): boolean {
    return this.#input.endOfRecord;
  }

  get readEnded(): boolean {
    if (this.#input.readable) return false;
    return this.#state === 'closed' || !this.#ends.receives || !this.#ends.peerSends;
  }

  get writable(): boolean {
    if (this.#state !== 'open' && this.#state !== 'connecting') return false;
    return this.#ends.peerReceives && this.#ends.sends;
  }

  read(): Uint8Array | undefined {
    const bytes = this.#input.read();
    if (bytes === undefined) return undefined;
    this.#tellCredit();
    this.#finishIfDone();
    return bytes;
  }

  write(bytes: Uint8Array, options: { readonly endOfRecord?: boolean } = {}): boolean {
    if (!this.writable) throw notWritable(this);
    if (this.type === 'seqpacket' && bytes.length > this.#output.allocation) {
      throw messageTooLarge(bytes.length, this.#output.allocation);
    }
    if (bytes.length > 0 || this.type === 'seqpacket') {
      this.#output.push(bytes, options.endOfRecord ?? false);
      this.#host.ready(this);
      this.#output.keep();
    }
    return this.#hasRoom();
  }

  drained(): Promise<void> {
    if (this.#hasRoom()) return Promise.resolve();
    return this.#events.whenDrained();
  }

  #hasRoom(): boolean {
    return this.#state === 'closed' || this.#output.hasRoom;
  }

  end(): void {
    if (this.#state === 'closed' || this.#state === 'closing') return;
    this.#shutDown(VIRTIO_VSOCK_SHUTDOWN_F_SEND);
    this.#finishIfDone();
  }

  close(): void {
    if (this.#state === 'closed' || this.#state === 'closing') return;
    if (this.#state === 'connecting') {
      this.destroy();
      return;
    }
    this.#state = 'closing';
    this.#input.drop();
    this.#shutDown(VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_F_SEND);
    this.#armCloseTimer();
  }

  destroy(): void {
    this.fail(undefined);
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const bytes = this.read();
      if (bytes !== undefined) yield bytes;
      else if (this.readEnded) break;
      else await this.#events.whenReadable();
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** For the device: asks the guest for a connection. */
  request(): void {
    this.#packets.request = true;
    this.#host.ready(this);
  }

  /** For the device: the guest has not been asked yet. */
  get requested(): boolean {
    return this.#packets.request;
  }

  /** For the device: the listener takes the connection. */
  accept(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.#packets.response = true;
    this.setTimeout(0, undefined);
    this.#host.ready(this);
  }

  /** For the device: one timer at a time; 0 ms is none. */
  setTimeout(milliseconds: number, expired: (() => void) | undefined): void {
    this.#cancelTimer?.();
    this.#cancelTimer = expired === undefined ? undefined : this.#host.setTimer(expired, milliseconds);
  }

  /** Ends with a reset of the guest's end; an error if something was lost that should not be. */
  fail(error: VirtioDeviceError | undefined): void {
    if (this.#state === 'closed') return;
    // A request that the guest has not seen needs no reset.
    const known = this.#state !== 'connecting' || !this.#packets.request;
    this.#input.drop();
    this.#toClosed(error);
    this.#packets.reset = known;
    if (known) this.#host.ready(this);
    else this.#host.gone(this);
  }

  /** For the device: the guest's end is gone, and needs no reset. */
  abandon(error: VirtioDeviceError): void {
    if (this.#state !== 'closed') this.#toClosed(this.#endedCleanly ? undefined : error);
    this.#packets.reset = false;
    this.#host.gone(this);
  }

  /** For the device: the guest reset its end. */
  onReset(): void {
    const isRefused = this.#state === 'connecting' && this.initiator === 'host';
    this.abandon(isRefused ? refusedByGuest(this) : resetByGuest(this));
  }

  /** For the device: what any packet of the guest says of its buffer. */
  takeCredit(header: VsockHeader): void {
    this.#output.takeCredit(header);
  }

  /**
   * For the device: any other packet for this connection; the header's addresses and type are right.
   *
   * @param reader at the first of `header.length` bytes of data
   */
  onPacket(header: VsockHeader, reader: ChainReader): void {
    if (this.#state === 'closed') return;
    this.takeCredit(header);
    switch (header.operation) {
      case VIRTIO_VSOCK_OP_RESPONSE:
        this.#onResponse();
        break;
      case VIRTIO_VSOCK_OP_RW:
        this.#onData(header, reader);
        break;
      case VIRTIO_VSOCK_OP_SHUTDOWN:
        this.#onShutdown(header.flags);
        break;
      case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        this.#packets.credit = true;
        break;
      default:
        this.breach(`operation ${header.operation}`);
    }
    this.#output.creditTold();
    this.#host.ready(this);
  }

  /** For the device: the operation of the next packet; 0 when there is nothing to send. */
  nextOperation(): number {
    return this.#packets.next(this.#state);
  }

  /**
   * For the device: fills in what {@link nextOperation} said, all but the addresses, and the data.
   *
   * @param writer with room for the header and a byte of data
   * @returns bytes of data
   */
  send(operation: number, header: VsockHeader, writer: ChainWriter): number {
    const full = !this.#hasRoom();
    const length = this.#packets.write(operation, header, writer);
    if (operation === VIRTIO_VSOCK_OP_RST) this.#host.gone(this);
    if (operation === VIRTIO_VSOCK_OP_RW) {
      if (this.#state === 'closing') this.#armCloseTimer();
      if (full && this.#hasRoom()) this.#events.outputChanged();
      this.#finishIfDone();
    }
    return length;
  }

  /** For the device: makes the callbacks that are due. */
  deliver(): void {
    const { onOpen } = this;
    if (onOpen !== undefined && (this.initiator === 'guest' || this.#state !== 'connecting')) {
      this.onOpen = undefined;
      onOpen();
    }
    this.#events.deliver();
  }

  #onResponse(): void {
    if (this.#state !== 'connecting' || this.initiator !== 'host' || this.#packets.request) {
      this.breach('RESPONSE to no request');
      return;
    }
    this.#state = 'open';
    this.setTimeout(0, undefined);
    this.#host.tell(this);
  }

  #onData(header: VsockHeader, reader: ChainReader): void {
    if (this.#state === 'connecting' || !this.#ends.peerSends) {
      this.breach('data where there can be none');
      return;
    }
    // Data may be on its way when the guest is told that nobody reads any more.
    const received = this.#input.receive(header, reader, !this.#ends.receives);
    if (typeof received === 'string') {
      this.breach(received);
      return;
    }
    if (received) this.#events.inputChanged();
    this.#tellCredit();
  }

  #onShutdown(flags: number): void {
    if (this.#state === 'connecting') {
      this.breach('SHUTDOWN before the connection');
      return;
    }
    this.#ends.endOfPeer(flags);
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) !== 0) {
      // After close() nobody asks any more what became of the data.
      if (!this.#output.empty && this.#state === 'open') this.#lost = true;
      this.#output.drop();
      this.#events.outputChanged();
    }
    if (!this.#ends.peerReceives && !this.#ends.peerSends) {
      // §5.10.6.5: the reset confirms a clean end; what was received can still be read.
      this.#toClosed(this.#lost ? resetByGuest(this) : undefined);
      this.#packets.reset = true;
    }
    this.#events.inputChanged();
    this.#finishIfDone();
  }

  /** Both sides said that they send no more, and everything was sent and read: ends the connection. */
  #finishIfDone(): void {
    if (this.#state !== 'open' || !this.readEnded) return;
    if (this.#ends.sends || !this.#output.empty) return;
    this.#state = 'closing';
    this.#shutDown(VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_F_SEND);
    this.#armCloseTimer();
  }

  #tellCredit(): void {
    if (!this.#input.creditDue) return;
    this.#packets.credit = true;
    this.#host.ready(this);
  }

  #shutDown(flags: number): void {
    if (!this.#ends.end(flags)) return;
    this.#packets.shutdown = this.#ends.mine;
    this.#host.ready(this);
  }

  /** This side has ended the connection as well, and a reset confirms that (§5.10.6.5). */
  get #endedCleanly(): boolean {
    return this.#state === 'closing' && !this.#lost;
  }

  #armCloseTimer(): void {
    const error = this.#lost ? resetByGuest(this) : undefined;
    this.setTimeout(this.#host.closeTimeout, () => this.fail(error));
  }

  /** For the device: the guest broke the rules of this connection. */
  breach(what: string): void {
    this.fail(breachOf(this, what));
  }

  #toClosed(error: VirtioDeviceError | undefined): void {
    this.#state = 'closed';
    this.#error = error;
    this.#packets.clear();
    this.setTimeout(0, undefined);
    this.#output.drop();
    this.#events.closed();
  }
}
