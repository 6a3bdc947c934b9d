import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import { PIECES_PER_TURN } from '../drain.ts';
import { VIRTIO_VSOCK_HEADER_SIZE, VMADDR_CID_HOST, VSOCK_RXQ } from './constants.ts';
import { VsockHeader } from './header.ts';
import type { Peer } from './peer.ts';
import { SendTurns } from './peer-lists.ts';
import { ResetReplies } from './replies.ts';

/** Resets for packets of no connection that may wait for buffers. */
const MAX_REPLIES = 256;

/** The device's side of the receive queue: packets to the guest, as far as its driver lent buffers (§5.10.6.1). */
export class PacketSender {
  packets = 0;
  /** Bytes of data in them. */
  bytes = 0;

  readonly #guestCid: number;
  readonly #replies = new ResetReplies(MAX_REPLIES);
  readonly #turns = new SendTurns();
  readonly #header = new VsockHeader();
  /** Packets, and pieces of buffers, that may be sent in this turn of the event loop. */
  #budget = 0;
  #pieces = 0;

  constructor(guestCid: number) {
    this.#guestCid = guestCid;
  }

  /** No more replies can wait. */
  get full(): boolean {
    return this.#replies.full;
  }

  /** The connection may have something to send. */
  add(peer: Peer): void {
    this.#turns.add(peer);
  }

  /** Answers a packet of no connection with a reset; not when {@link full}. */
  reply(header: VsockHeader): void {
    this.#replies.push(header);
  }

  /** A turn of the event loop begins. @param chains the size of the queue */
  startTurn(chains: number): void {
    this.#budget = chains;
    this.#pieces = PIECES_PER_TURN;
  }

  clear(): void {
    this.#replies.clear();
    this.#turns.clear();
  }

  /** Sends what is due; what the turn or the buffers do not suffice for follows with the queue's next notification. */
  send(context: ActivateContext): void {
    const queue = context.queues[VSOCK_RXQ];
    if (queue === undefined) return;
    for (;;) {
      const peer = this.#turns.next();
      if (this.#replies.empty && peer === undefined) {
        // Buffers that come back are of no interest until there is something to put into them.
        queue.disableNotifications();
        break;
      }
      if (this.#budget === 0 || this.#pieces <= 0) {
        context.renotify(VSOCK_RXQ);
        break;
      }
      const chain = queue.pop();
      if (chain === null) {
        if (queue.enableNotifications()) continue;
        break;
      }
      if (chain.writableBytes <= VIRTIO_VSOCK_HEADER_SIZE) {
        context.interrupt.needsReset('a receive buffer has no room for a header and data (§5.10.6.1)');
        return;
      }
      this.#budget--;
      this.#pieces -= chain.length;
      this.#fill(chain, peer);
      queue.addUsed(chain, chain.writer.position);
    }
    if (queue.needsInterrupt()) context.interrupt.queue(VSOCK_RXQ);
  }

  /** Replies come first: they bound what is taken from the guest. */
  #fill({ writer }: DescriptorChain, peer: Peer | undefined): void {
    const header = this.#header;
    if (!this.#replies.empty) {
      this.#replies.shift(header, this.#guestCid);
      writer.write(header.bytes);
    } else if (peer !== undefined) {
      header.setAddresses(VMADDR_CID_HOST, 0, peer.localPort, this.#guestCid, peer.peerPort);
      this.bytes += peer.send(peer.nextOperation(), header, writer);
      this.#turns.pass();
    }
    this.packets++;
  }
}
