import type { Peer } from './peer.ts';

/** Ports that connections of the host come from: above those that programs in the guest are likely to listen on. */
const FIRST_EPHEMERAL = 0x4000_0000;
const LAST_EPHEMERAL = 0x7fff_ffff;

/** The connections by their two ports. */
export class ConnectionTable {
  readonly #byLocalPort = new Map<number, Map<number, Peer>>();
  #size = 0;
  #nextPort = FIRST_EPHEMERAL;

  get size(): number {
    return this.#size;
  }

  find(localPort: number, peerPort: number): Peer | undefined {
    return this.#byLocalPort.get(localPort)?.get(peerPort);
  }

  add(peer: Peer): void {
    let peers = this.#byLocalPort.get(peer.localPort);
    if (peers === undefined) {
      peers = new Map();
      this.#byLocalPort.set(peer.localPort, peers);
    }
    peers.set(peer.peerPort, peer);
    this.#size++;
  }

  /** Harmless for what is not there. */
  remove(peer: Peer): void {
    const peers = this.#byLocalPort.get(peer.localPort);
    if (peers?.get(peer.peerPort) !== peer) return;
    peers.delete(peer.peerPort);
    if (peers.size === 0) this.#byLocalPort.delete(peer.localPort);
    this.#size--;
  }

  /** A port that no connection has; there are more of them than connections. */
  ephemeralPort(): number {
    for (;;) {
      const port = this.#nextPort;
      this.#nextPort = port === LAST_EPHEMERAL ? FIRST_EPHEMERAL : port + 1;
      if (!this.#byLocalPort.has(port)) return port;
    }
  }

  all(): Peer[] {
    return [...this.#byLocalPort.values()].flatMap((peers) => [...peers.values()]);
  }
}
