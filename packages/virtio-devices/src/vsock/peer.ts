import type { ChainReader, ChainWriter } from '@vmm/virtio-queue';
import { VirtioDeviceError } from '../errors.ts';
import type { SetTimer } from '../rate-limiter.ts';
import type { VsockConnection, VsockConnectionStatistics, VsockState, VsockType } from './connection.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE,
  VIRTIO_VSOCK_SHUTDOWN_F_SEND,
  VIRTIO_VSOCK_TYPE_SEQPACKET,
  VIRTIO_VSOCK_TYPE_STREAM,
} from './constants.ts';
import type { VsockHeader } from './header.ts';
import { PeerEvents } from './peer-events.ts';
import { PeerInput } from './peer-input.ts';
import { PeerOutput } from './peer-output.ts';

const BOTH = VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_F_SEND;

/** Nothing is to be sent; VIRTIO_VSOCK_OP_INVALID. */
const NONE = 0;

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

/**
 * A connection with what its device keeps about it (VIRTIO 1.3 §5.10.6). What the guest has to be told is state and no
 * list of packets, so that a guest that takes nothing makes nothing grow.
 */
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
  readonly #events: PeerEvents;
  #state: VsockState = 'connecting';
  #error: VirtioDeviceError | undefined;
  #cancelTimer: (() => void) | undefined;

  #due = { request: false, response: false, reset: false, shutdown: 0, credit: false };
  /** Flags of SHUTDOWN that this side meant, told the guest, and got. */
  #ending = 0;
  #peerEnded = 0;

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
    this.#events = new PeerEvents(this, () => host.tell(this));
    this.#output = new PeerOutput(type, host.outputLimit);
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
    if (this.#state === 'closed' || (this.#ending & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) !== 0) return true;
    return (this.#peerEnded & VIRTIO_VSOCK_SHUTDOWN_F_SEND) !== 0;
  }

  get writable(): boolean {
    if (this.#state !== 'open' && this.#state !== 'connecting') return false;
    if ((this.#peerEnded & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) !== 0) return false;
    return (this.#ending & VIRTIO_VSOCK_SHUTDOWN_F_SEND) === 0;
  }

  read(): Uint8Array | undefined {
    const bytes = this.#input.read();
    if (bytes === undefined) return undefined;
    this.#tellCredit();
    this.#finishIfDone();
    return bytes;
  }

  write(bytes: Uint8Array, options: { readonly endOfRecord?: boolean } = {}): boolean {
    if (!this.writable) {
      throw new VirtioDeviceError(
        'CONNECTION_CLOSED',
        `vsock connection to port ${this.peerPort} takes no data`,
      );
    }
    if (this.type === 'seqpacket' && this.#state === 'open' && bytes.length > this.#output.allocation) {
      throw this.#tooLarge(bytes.length);
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
    this.#shutDown(BOTH);
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
    this.#due.request = true;
    this.#host.ready(this);
  }

  /** For the device: the guest has not been asked yet. */
  get requested(): boolean {
    return this.#due.request;
  }

  /** For the device: the listener takes the connection. */
  accept(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.#due.response = true;
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
    const known = this.#state !== 'connecting' || !this.#due.request;
    this.#input.drop();
    this.#toClosed(error);
    if (known) {
      this.#due.reset = true;
      this.#host.ready(this);
    } else {
      this.#host.gone(this);
    }
  }

  /** For the device: the guest's driver is gone. */
  abandon(error: VirtioDeviceError): void {
    this.#due.reset = false;
    if (this.#state === 'closed') {
      this.#host.gone(this);
      return;
    }
    this.#toClosed(this.#state === 'closing' ? undefined : error);
    this.#host.gone(this);
  }

  /** For the device: the guest reset its end. */
  onReset(): void {
    if (this.#state === 'connecting') {
      this.#toClosed(
        new VirtioDeviceError('CONNECTION_REFUSED', `nobody listens on port ${this.peerPort} of the guest`),
      );
    } else if (this.#state !== 'closed') {
      // With both directions ended this is the confirmation (§5.10.6.5).
      this.#toClosed(this.#state === 'closing' ? undefined : this.#resetByGuest());
    }
    this.#due.reset = false;
    this.#host.gone(this);
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
        this.#onShutdown(header.flags & BOTH);
        break;
      case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        break;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        this.#due.credit = true;
        break;
      default:
        this.breach(`operation ${header.operation}`);
    }
    this.#output.creditTold();
    this.#host.ready(this);
  }

  /** For the device: the operation of the next packet; 0 when there is nothing to send. */
  nextOperation(): number {
    const due = this.#due;
    if (due.reset) return VIRTIO_VSOCK_OP_RST;
    if (this.#state === 'closed') return NONE;
    if (due.request) return VIRTIO_VSOCK_OP_REQUEST;
    if (due.response) return VIRTIO_VSOCK_OP_RESPONSE;
    if (this.#state === 'connecting') return NONE;
    if (this.#output.sendable) return VIRTIO_VSOCK_OP_RW;
    if (this.#output.empty && due.shutdown !== 0) return VIRTIO_VSOCK_OP_SHUTDOWN;
    if (due.credit) return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    if (this.#output.wantsCredit) return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
    return NONE;
  }

  /**
   * For the device: fills in what {@link nextOperation} said, all but the addresses, and the data.
   *
   * @param writer with room for the header and a byte of data
   * @returns bytes of data
   */
  send(operation: number, header: VsockHeader, writer: ChainWriter): number {
    let flags = 0;
    let length = 0;
    const due = this.#due;
    switch (operation) {
      case VIRTIO_VSOCK_OP_RST:
        due.reset = false;
        break;
      case VIRTIO_VSOCK_OP_REQUEST:
        due.request = false;
        break;
      case VIRTIO_VSOCK_OP_RESPONSE:
        due.response = false;
        break;
      case VIRTIO_VSOCK_OP_SHUTDOWN:
        flags = due.shutdown;
        due.shutdown = 0;
        break;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        this.#output.creditAsked();
        break;
      case VIRTIO_VSOCK_OP_RW:
        length = this.#output.packetLength(writer);
        flags = this.#output.packetFlags(length);
        break;
    }
    header.setPacket(
      this.type === 'stream' ? VIRTIO_VSOCK_TYPE_STREAM : VIRTIO_VSOCK_TYPE_SEQPACKET,
      operation,
      flags,
      length,
    );
    this.#input.credit.tell(header);
    due.credit = false;
    writer.write(header.bytes);
    if (operation === VIRTIO_VSOCK_OP_RW) this.#sendData(writer, length);
    if (operation === VIRTIO_VSOCK_OP_RST) this.#host.gone(this);
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

  #sendData(writer: ChainWriter, length: number): void {
    const full = !this.#hasRoom();
    this.#output.send(writer, length);
    if (this.#state === 'closing') this.#armCloseTimer();
    if (full && this.#hasRoom()) this.#events.outputChanged();
  }

  #onResponse(): void {
    if (this.#state !== 'connecting' || this.initiator !== 'host' || this.#due.request) {
      this.breach('RESPONSE to no request');
      return;
    }
    this.#state = 'open';
    this.setTimeout(0, undefined);
    this.#host.tell(this);
    const { largestMessage, allocation } = this.#output;
    if (this.type === 'seqpacket' && largestMessage > allocation) this.fail(this.#tooLarge(largestMessage));
  }

  #onData(header: VsockHeader, reader: ChainReader): void {
    if (this.#state === 'connecting' || (this.#peerEnded & VIRTIO_VSOCK_SHUTDOWN_F_SEND) !== 0) {
      this.breach('data where there can be none');
      return;
    }
    // Data may be on its way when the guest is told that nobody reads any more.
    const discard = (this.#ending & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) !== 0;
    const received = this.#input.receive(header, reader, discard);
    if (typeof received === 'string') this.breach(received);
    else if (received) this.#events.inputChanged();
    else if (discard) this.#tellCredit();
  }

  #onShutdown(flags: number): void {
    if (this.#state === 'connecting') {
      this.breach('SHUTDOWN before the connection');
      return;
    }
    this.#peerEnded |= flags;
    if ((flags & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) !== 0) {
      const lost = this.#output.size > 0 && this.#state === 'open';
      this.#output.drop();
      this.#events.outputChanged();
      if (this.#peerEnded === BOTH) {
        // §5.10.6.5: the reset confirms a clean end; what was received can still be read.
        this.#toClosed(lost ? this.#resetByGuest() : undefined);
        this.#due.reset = true;
      }
    } else if (this.#peerEnded === BOTH) {
      this.#toClosed(undefined);
      this.#due.reset = true;
    }
    this.#events.inputChanged();
    this.#finishIfDone();
  }

  /** Both sides said that they send no more, and everything was read: ends the connection. */
  #finishIfDone(): void {
    if (this.#state !== 'open' || !this.readEnded) return;
    if ((this.#ending & VIRTIO_VSOCK_SHUTDOWN_F_SEND) === 0) return;
    this.#state = 'closing';
    this.#shutDown(BOTH);
    this.#armCloseTimer();
  }

  #tellCredit(): void {
    if (!this.#input.credit.shouldTell) return;
    this.#due.credit = true;
    this.#host.ready(this);
  }

  #shutDown(flags: number): void {
    const added = flags & ~this.#ending;
    if (added === 0) return;
    this.#ending |= flags;
    this.#due.shutdown = this.#ending;
    this.#host.ready(this);
  }

  #armCloseTimer(): void {
    this.setTimeout(this.#host.closeTimeout, () => this.fail(undefined));
  }

  /** For the device: the guest broke the rules of this connection. */
  breach(what: string): void {
    this.fail(
      new VirtioDeviceError(
        'CONNECTION_RESET',
        `vsock connection to port ${this.peerPort}: the guest sent ${what}`,
      ),
    );
  }

  #tooLarge(size: number): VirtioDeviceError {
    return new VirtioDeviceError(
      'MESSAGE_TOO_LARGE',
      `a message of ${size} bytes, and the guest's buffer has ${this.#output.allocation}`,
    );
  }

  #resetByGuest(): VirtioDeviceError {
    return new VirtioDeviceError(
      'CONNECTION_RESET',
      `the guest reset the vsock connection to port ${this.peerPort}`,
    );
  }

  #toClosed(error: VirtioDeviceError | undefined): void {
    this.#state = 'closed';
    this.#error = error;
    this.#due = { request: false, response: false, reset: false, shutdown: 0, credit: false };
    this.setTimeout(0, undefined);
    this.#output.drop();
    this.#events.closed();
  }
}
