import { VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND } from './constants.ts';

const BOTH = VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE | VIRTIO_VSOCK_SHUTDOWN_F_SEND;

/** Which directions of a connection have ended, and who said so: VIRTIO_VSOCK_SHUTDOWN_F_…, §5.10.6.5. */
export class PeerEnds {
  #mine = 0;
  #peers = 0;

  /** Everything that this side has ended. */
  get mine(): number {
    return this.#mine;
  }

  /** This side takes data. */
  get receives(): boolean {
    return (this.#mine & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) === 0;
  }

  get sends(): boolean {
    return (this.#mine & VIRTIO_VSOCK_SHUTDOWN_F_SEND) === 0;
  }

  /** The guest takes data. */
  get peerReceives(): boolean {
    return (this.#peers & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE) === 0;
  }

  get peerSends(): boolean {
    return (this.#peers & VIRTIO_VSOCK_SHUTDOWN_F_SEND) === 0;
  }

  /** This side ends a direction. @returns whether that is new */
  end(flags: number): boolean {
    const before = this.#mine;
    this.#mine |= flags & BOTH;
    return this.#mine !== before;
  }

  /** The guest ends a direction: for good, whatever flags come later. */
  endOfPeer(flags: number): void {
    this.#peers |= flags & BOTH;
  }
}
