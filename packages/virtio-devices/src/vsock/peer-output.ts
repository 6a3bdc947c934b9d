import type { ChainWriter } from '@vmm/virtio-queue';
import type { VsockType } from './connection.ts';
import { VIRTIO_VSOCK_HEADER_SIZE, VIRTIO_VSOCK_SEQ_EOM, VIRTIO_VSOCK_SEQ_EOR } from './constants.ts';
import { SendCredit } from './credit.ts';
import type { VsockHeader } from './header.ts';
import { OutputQueue } from './output-queue.ts';

/** Most bytes of data in one packet, as Linux has it. */
const MAX_PACKET = 64 * 1024;

/** What a connection has for the guest: the bytes that were not sent, and the credit that the guest gives for them. */
export class PeerOutput {
  /** Bytes of data that were ever sent. */
  sent = 0;

  readonly #type: VsockType;
  readonly #limit: number;
  readonly #queue = new OutputQueue();
  readonly #credit = new SendCredit();
  #creditAsked = false;

  constructor(type: VsockType, limit: number) {
    this.#type = type;
    this.#limit = limit;
  }

  get size(): number {
    return this.#queue.size;
  }

  get empty(): boolean {
    return this.#queue.empty;
  }

  get hasRoom(): boolean {
    return this.#queue.size < this.#limit;
  }

  /** Bytes that the guest's buffer has in all. */
  get allocation(): number {
    return this.#credit.allocation;
  }

  /** There is data, and the guest has room for some of it. */
  get sendable(): boolean {
    return !this.#queue.empty && (this.#credit.available > 0 || this.#queue.headSize === 0);
  }

  /** There is data, and the guest was not asked for credit since it gave some. */
  get wantsCredit(): boolean {
    return !this.#queue.empty && !this.#creditAsked;
  }

  /** Takes bytes whose memory is the caller's again after {@link keep}. */
  push(bytes: Uint8Array, endOfRecord: boolean): void {
    this.#queue.push(bytes, endOfRecord);
  }

  /** Copies what is left of the bytes that came last. */
  keep(): void {
    this.#queue.keepLast();
  }

  takeCredit(header: VsockHeader): void {
    this.#credit.take(header);
  }

  creditAsked(): void {
    this.#creditAsked = true;
  }

  /** A packet of the guest was dealt with: it may be asked again when its credit is used up. */
  creditTold(): void {
    if (this.#credit.available > 0) this.#creditAsked = false;
  }

  /** Bytes of data for a packet in this buffer. */
  packetLength(writer: ChainWriter): number {
    const room = Math.min(writer.remaining - VIRTIO_VSOCK_HEADER_SIZE, MAX_PACKET, this.#credit.available);
    return Math.min(room, this.#type === 'stream' ? this.#queue.size : this.#queue.headSize);
  }

  /** VIRTIO_VSOCK_SEQ_… of a packet with that many bytes of data. */
  packetFlags(length: number): number {
    const { headSize, headEndsRecord } = this.#queue;
    if (this.#type === 'stream' || length !== headSize) return 0;
    return VIRTIO_VSOCK_SEQ_EOM | (headEndsRecord ? VIRTIO_VSOCK_SEQ_EOR : 0);
  }

  /** Moves a packet's data. */
  send(writer: ChainWriter, length: number): void {
    if (length > 0) this.#queue.moveTo(writer, length);
    else this.#queue.shift();
    this.#credit.spend(length);
    this.sent += length;
  }

  drop(): void {
    this.#queue.clear();
  }
}
