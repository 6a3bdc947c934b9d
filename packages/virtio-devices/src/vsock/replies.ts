import { VIRTIO_VSOCK_OP_RST, VMADDR_CID_HOST } from './constants.ts';
import type { VsockHeader } from './header.ts';

/** Where a reset goes, as two context ids and ports. */
interface Reply {
  readonly type: number;
  readonly cid: number;
  readonly cidHigh: number;
  readonly localPort: number;
  readonly peerPort: number;
}

/**
 * Resets for packets of no connection (VIRTIO 1.3 §5.10.6.4), until the driver lends buffers for them. There is room
 * for so many; when that is full, the device takes no more packets, as §5.10.6.1 has it.
 */
export class ResetReplies {
  readonly #limit: number;
  readonly #replies: Reply[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  get empty(): boolean {
    return this.#replies.length === 0;
  }

  get full(): boolean {
    return this.#replies.length >= this.#limit;
  }

  /** Answers the packet with this header. */
  push(header: VsockHeader): void {
    this.#replies.push({
      type: header.type,
      cid: header.destinationCid,
      cidHigh: header.destinationCidHigh,
      localPort: header.destinationPort,
      peerPort: header.sourcePort,
    });
  }

  /** Makes `header` the oldest one, which is there. */
  shift(header: VsockHeader, guestCid: number): void {
    const reply = this.#replies.shift();
    header.setAddresses(
      reply?.cid ?? VMADDR_CID_HOST,
      reply?.cidHigh ?? 0,
      reply?.localPort ?? 0,
      guestCid,
      reply?.peerPort ?? 0,
    );
    header.setPacket(reply?.type ?? 0, VIRTIO_VSOCK_OP_RST, 0, 0);
    header.setCredit(0, 0);
  }

  clear(): void {
    this.#replies.length = 0;
  }
}
