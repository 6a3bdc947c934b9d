import { Duplex } from 'node:stream';
import type { ConsolePort } from '@vmm/virtio-devices';
import { GuestOutput } from '../streams.ts';
import { END_OF_SESSION } from './frames.ts';

/**
 * A console port as a stream that waits for the guest to open the port, and ends when the guest closes it. The port's sinks are
 * this stream's until it is destroyed.
 */
export class PortStream extends Duplex {
  readonly #port: ConsolePort;
  readonly #output = new GuestOutput();
  #opened: () => void = () => undefined;
  #wait: Promise<void> | undefined;

  constructor(port: ConsolePort) {
    super({ decodeStrings: true, emitClose: true });
    this.#port = port;
    port.onOutput = this.#output.sink;
    port.onGuestOpen = (open) => this.#changed(open);
    this.#output.on('data', (bytes: Uint8Array) => {
      if (!this.push(bytes)) this.#output.pause();
    });
    if (!port.guestOpen)
      this.#wait = new Promise((resolve) => {
        this.#opened = resolve;
      });
  }

  override _read(): void {
    this.#output.resume();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#give(chunk).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#opened();
    this.#port.onOutput = undefined;
    this.#port.onGuestOpen = undefined;
    this.#output.destroy();
    // Whole frames were written, so that the agent takes this for what it is.
    if (this.#port.guestOpen && this.#port.hostOpen) this.#port.write(END_OF_SESSION);
    callback(error);
  }

  #changed(open: boolean): void {
    if (open) this.#opened();
    else this.destroy();
  }

  async #give(chunk: Uint8Array): Promise<void> {
    await this.#wait;
    if (this.destroyed) return;
    this.#port.write(chunk);
    await this.#port.drained();
  }
}
