import type { ChainWriter } from '@vmm/virtio-queue';
import type { VsockState, VsockType } from './connection.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_TYPE_SEQPACKET,
  VIRTIO_VSOCK_TYPE_STREAM,
} from './constants.ts';
import type { ReceiveCredit } from './credit.ts';
import type { VsockHeader } from './header.ts';
import type { PeerOutput } from './peer-output.ts';

/** Nothing is to be sent; VIRTIO_VSOCK_OP_INVALID. */
const NONE = 0;

/** The number of a type in a packet, §5.10.6.3. */
export function typeNumber(type: VsockType): number {
  return type === 'stream' ? VIRTIO_VSOCK_TYPE_STREAM : VIRTIO_VSOCK_TYPE_SEQPACKET;
}

/**
 * The packets that a connection owes the guest, and their order (VIRTIO 1.3 §5.10.6). What the guest has to be told is
 * state and no list of packets, so that a guest that takes nothing makes nothing grow.
 */
export class PeerPackets {
  request = false;
  response = false;
  reset = false;
  credit = false;
  /** Flags of SHUTDOWN; 0 for none. Comes after all data. */
  shutdown = 0;

  readonly #type: number;
  readonly #output: PeerOutput;
  readonly #inputCredit: ReceiveCredit;

  /** @param inputCredit what every packet tells of this side's buffer */
  constructor(type: VsockType, output: PeerOutput, inputCredit: ReceiveCredit) {
    this.#type = typeNumber(type);
    this.#output = output;
    this.#inputCredit = inputCredit;
  }

  clear(): void {
    this.request = false;
    this.response = false;
    this.reset = false;
    this.credit = false;
    this.shutdown = 0;
  }

  /** The operation of the next packet; 0 when there is nothing to send. */
  next(state: VsockState): number {
    if (this.reset) return VIRTIO_VSOCK_OP_RST;
    if (state === 'closed') return NONE;
    if (this.request) return VIRTIO_VSOCK_OP_REQUEST;
    if (this.response) return VIRTIO_VSOCK_OP_RESPONSE;
    if (state === 'connecting') return NONE;
    if (this.#output.sendable) return VIRTIO_VSOCK_OP_RW;
    if (this.#output.empty && this.shutdown !== 0) return VIRTIO_VSOCK_OP_SHUTDOWN;
    if (this.credit) return VIRTIO_VSOCK_OP_CREDIT_UPDATE;
    if (this.#output.wantsCredit) return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
    return NONE;
  }

  /**
   * Writes the packet that {@link next} named.
   *
   * @param header with its addresses
   * @param writer with room for the header and a byte of data
   * @returns bytes of data
   */
  write(operation: number, header: VsockHeader, writer: ChainWriter): number {
    let flags = 0;
    let length = 0;
    switch (operation) {
      case VIRTIO_VSOCK_OP_RST:
        this.reset = false;
        break;
      case VIRTIO_VSOCK_OP_REQUEST:
        this.request = false;
        break;
      case VIRTIO_VSOCK_OP_RESPONSE:
        this.response = false;
        break;
      case VIRTIO_VSOCK_OP_SHUTDOWN:
        flags = this.shutdown;
        this.shutdown = 0;
        break;
      case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        this.#output.creditAsked();
        break;
      case VIRTIO_VSOCK_OP_RW:
        length = this.#output.packetLength(writer);
        flags = this.#output.packetFlags(length);
        break;
    }
    header.setPacket(this.#type, operation, flags, length);
    this.#inputCredit.tell(header);
    this.credit = false;
    writer.write(header.bytes);
    if (operation === VIRTIO_VSOCK_OP_RW) this.#output.send(writer, length);
    return length;
  }
}
