import { Duplex } from 'node:stream';
import type { ConsolePort } from '@vmm/virtio-devices';
import { GuestOutput } from '../streams.ts';
import type { AgentSocket } from './agent-socket.ts';
import { END_OF_SESSION } from './frames.ts';

/**
 * The way to the guest's agent as a stream: its console port, or where that is not open when a connection comes, the connection.
 * It waits for the first of them, and ends with it. The port's sinks are this stream's until it is destroyed.
 */
export class PortStream extends Duplex {
  readonly #port: ConsolePort;
  readonly #sockets: AgentSocket | undefined;
  readonly #output = new GuestOutput();
  #connection: Duplex | undefined;
  #opened: () => void = () => undefined;
  readonly #wait: Promise<void> | undefined;

  constructor(port: ConsolePort, sockets?: AgentSocket) {
    super({ decodeStrings: true });
    this.#port = port;
    this.#sockets = sockets;
    port.onOutput = this.#output.sink;
    port.onGuestOpen = (open) => this.#changed(open);
    this.#output.on('data', (bytes: Uint8Array) => {
      if (!this.push(bytes)) this.#output.pause();
    });
    if (port.guestOpen) return;
    this.#wait = new Promise((resolve) => {
      this.#opened = resolve;
    });
    if (sockets === undefined) return;
    sockets.onConnection = () => this.#adopt();
    this.#adopt();
  }

  /** Something in the guest is at the other end. */
  get connected(): boolean {
    return this.#connection !== undefined || this.#port.guestOpen;
  }

  override _read(): void {
    this.#output.resume();
    this.#connection?.resume();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#give(chunk, callback).catch(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#opened();
    this.#port.onOutput = undefined;
    this.#port.onGuestOpen = undefined;
    if (this.#sockets !== undefined) this.#sockets.onConnection = undefined;
    this.#output.destroy();
    if (this.#connection !== undefined) this.#connection.destroy();
    // Whole frames were written, so that the agent takes this for what it is.
    else if (this.#port.guestOpen && this.#port.hostOpen) this.#port.write(END_OF_SESSION);
    callback(error);
  }

  #changed(open: boolean): void {
    // A guest with a connection does not use the port.
    if (this.#connection !== undefined) return;
    if (open) this.#opened();
    else this.destroy();
  }

  #adopt(): void {
    if (this.connected || this.destroyed) return;
    const connection = this.#sockets?.take();
    if (connection === undefined) return;
    this.#connection = connection;
    connection.on('data', (bytes: Uint8Array) => {
      if (!this.push(bytes)) connection.pause();
    });
    connection.on('end', () => this.destroy());
    connection.on('close', () => this.destroy());
    this.#opened();
  }

  async #give(chunk: Uint8Array, callback: (error?: Error | null) => void): Promise<void> {
    await this.#wait;
    if (this.destroyed) {
      callback();
    } else if (this.#connection !== undefined) {
      this.#connection.write(chunk, callback);
    } else {
      this.#port.write(chunk);
      await this.#port.drained();
      callback();
    }
  }
}
