import type { ChainReader } from '@vmm/virtio-queue';
import { VIRTIO_VSOCK_HEADER_SIZE } from './constants.ts';

/**
 * `struct virtio_vsock_hdr`, VIRTIO 1.3 §5.10.6: one object that packets are read into and written from. Context ids
 * are two halves, of which the upper is 0 for every id that exists.
 */
export class VsockHeader {
  readonly bytes: Uint8Array = new Uint8Array(VIRTIO_VSOCK_HEADER_SIZE);
  readonly #view: DataView = new DataView(this.bytes.buffer);

  /** Takes the header at the cursor, once: later changes of the driver's have no effect. */
  read(reader: ChainReader): void {
    reader.read(this.bytes);
  }

  get sourceCid(): number {
    return this.#view.getUint32(0, true);
  }

  get sourceCidHigh(): number {
    return this.#view.getUint32(4, true);
  }

  get destinationCid(): number {
    return this.#view.getUint32(8, true);
  }

  get destinationCidHigh(): number {
    return this.#view.getUint32(12, true);
  }

  get sourcePort(): number {
    return this.#view.getUint32(16, true);
  }

  get destinationPort(): number {
    return this.#view.getUint32(20, true);
  }

  /** Bytes of data that follow. */
  get length(): number {
    return this.#view.getUint32(24, true);
  }

  get type(): number {
    return this.#view.getUint16(28, true);
  }

  get operation(): number {
    return this.#view.getUint16(30, true);
  }

  get flags(): number {
    return this.#view.getUint32(32, true);
  }

  get bufferAllocation(): number {
    return this.#view.getUint32(36, true);
  }

  get forwardCount(): number {
    return this.#view.getUint32(40, true);
  }

  setAddresses(
    sourceCid: number,
    sourceCidHigh: number,
    sourcePort: number,
    destinationCid: number,
    destinationPort: number,
  ): void {
    const view = this.#view;
    view.setUint32(0, sourceCid, true);
    view.setUint32(4, sourceCidHigh, true);
    view.setUint32(8, destinationCid, true);
    view.setUint32(12, 0, true);
    view.setUint32(16, sourcePort, true);
    view.setUint32(20, destinationPort, true);
  }

  setPacket(type: number, operation: number, flags: number, length: number): void {
    const view = this.#view;
    view.setUint32(24, length, true);
    view.setUint16(28, type, true);
    view.setUint16(30, operation, true);
    view.setUint32(32, flags, true);
  }

  setCredit(bufferAllocation: number, forwardCount: number): void {
    this.#view.setUint32(36, bufferAllocation, true);
    this.#view.setUint32(40, forwardCount, true);
  }
}
