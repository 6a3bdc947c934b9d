import type { ChainReader } from '@vmm/virtio-queue';
import type { VsockType } from './connection.ts';
import { VIRTIO_VSOCK_SEQ_EOM, VIRTIO_VSOCK_SEQ_EOR } from './constants.ts';
import { ReceiveCredit } from './credit.ts';
import type { VsockHeader } from './header.ts';
import { InputQueue, MessageSizes } from './input-queue.ts';

/** What a connection has of the guest's data: the bytes that were not read, and the guest's credit for more. */
export class PeerInput {
  readonly credit: ReceiveCredit;
  /** The message that was read last ended a record. */
  endOfRecord = false;
  /** Bytes of data that ever came. */
  received = 0;

  readonly #type: VsockType;
  readonly #messageLimit: number;
  readonly #queue = new InputQueue();
  readonly #messages = new MessageSizes();
  /** Bytes received for the message that is not complete. */
  #partial = 0;

  constructor(type: VsockType, bufferSize: number) {
    this.#type = type;
    this.#messageLimit = bufferSize;
    this.credit = new ReceiveCredit(bufferSize);
  }

  get size(): number {
    return this.#queue.size;
  }

  get readable(): boolean {
    return this.#type === 'stream' ? this.#queue.size > 0 : this.#messages.length > 0;
  }

  /**
   * The guest should hear of its credit. For a message that is not whole yet, as soon as it runs out: nothing is read
   * before the rest is here.
   */
  get creditDue(): boolean {
    if (this.credit.shouldTell) return true;
    return this.#partial > 0 && this.#messages.length === 0 && this.credit.runsOut;
  }

  /** The bytes at the front, or a message. */
  read(): Uint8Array | undefined {
    if (!this.readable) return undefined;
    let bytes: Uint8Array;
    if (this.#type === 'stream') {
      bytes = this.#queue.take(Infinity);
    } else {
      const { size, endOfRecord } = this.#messages.shift()!;
      this.endOfRecord = endOfRecord;
      bytes = this.#queue.takeAll(size);
    }
    this.credit.forward(bytes.length);
    return bytes;
  }

  /**
   * Takes the data of a packet.
   *
   * @param reader at the first of `header.length` bytes
   * @param discard nobody reads any more
   * @returns whether there is more to read than before, or what rule the guest broke
   */
  receive(header: VsockHeader, reader: ChainReader, discard: boolean): boolean | string {
    const { length } = header;
    const { available } = this.credit;
    if (length > available) return `${length} bytes with credit for ${available} (§5.10.6.3)`;
    this.credit.receive(length);
    this.received += length;
    if (discard) {
      this.credit.forwardAll();
      return false;
    }
    this.#queue.append(reader, length);
    if (this.#type === 'seqpacket') {
      this.#partial += length;
      if ((header.flags & VIRTIO_VSOCK_SEQ_EOM) === 0) return false;
      if (this.#messages.length >= this.#messageLimit) return 'more empty messages than can be kept';
      this.#messages.push(this.#partial, (header.flags & VIRTIO_VSOCK_SEQ_EOR) !== 0);
      this.#partial = 0;
    }
    return true;
  }

  drop(): void {
    this.#queue.clear();
    this.#messages.clear();
    this.#partial = 0;
    this.credit.forwardAll();
  }
}
