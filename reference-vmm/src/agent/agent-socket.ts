import type { Duplex } from 'node:stream';
import type { VsockHost } from '@vmm/virtio-devices/node';

/** The host's vsock port that agents of guests without the console port connect to. */
const AGENT_VSOCK_PORT = 1024;

/** Connections of agents: the last one waits until it is taken. */
export class AgentSocket {
  /** There is one to take. */
  onConnection: (() => void) | undefined;
  #waiting: Duplex | undefined;

  /** Listens on the agents' port as long as the device is there. */
  constructor(vsock: Pick<VsockHost, 'listen'>) {
    vsock.listen(AGENT_VSOCK_PORT).on('connection', (connection) => {
      this.#waiting?.destroy();
      this.#waiting = connection;
      // Its end is told by `close`.
      connection.on('error', () => undefined);
      connection.once('close', () => {
        if (this.#waiting === connection) this.#waiting = undefined;
      });
      this.onConnection?.();
    });
  }

  take(): Duplex | undefined {
    const connection = this.#waiting;
    this.#waiting = undefined;
    return connection;
  }
}
