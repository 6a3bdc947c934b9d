import type { Peer } from './peer.ts';

/** The connections that may have something to send, in turn. */
export class SendTurns {
  readonly #peers: Peer[] = [];

  add(peer: Peer): void {
    if (peer.queued) return;
    peer.queued = true;
    this.#peers.push(peer);
  }

  /** The connection whose turn it is; those with nothing to send leave the list. */
  next(): Peer | undefined {
    for (let peer = this.#peers[0]; peer !== undefined; peer = this.#peers[0]) {
      if (peer.nextOperation() !== 0) return peer;
      peer.queued = false;
      this.#peers.shift();
    }
    return undefined;
  }

  /** The turn of {@link next} is over. */
  pass(): void {
    const peer = this.#peers.shift();
    if (peer !== undefined) this.#peers.push(peer);
  }

  clear(): void {
    for (const peer of this.#peers) peer.queued = false;
    this.#peers.length = 0;
  }
}

/** The connections with callbacks to make, in a step of their own: whoever called may be in the midst of something. */
export class Callbacks {
  readonly #failed: (peer: Peer, cause: unknown) => void;
  #peers: Peer[] = [];
  #scheduled = false;

  /** @param failed called with what a callback threw */
  constructor(failed: (peer: Peer, cause: unknown) => void) {
    this.#failed = failed;
  }

  add(peer: Peer): void {
    if (!peer.telling) {
      peer.telling = true;
      this.#peers.push(peer);
    }
    if (this.#scheduled) return;
    this.#scheduled = true;
    void Promise.resolve().then(() => this.#deliver());
  }

  #deliver(): void {
    this.#scheduled = false;
    const peers = this.#peers;
    this.#peers = [];
    for (const peer of peers) {
      peer.telling = false;
      try {
        peer.deliver();
      } catch (cause) {
        this.#failed(peer, cause);
      }
    }
  }
}
