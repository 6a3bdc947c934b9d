import { Duplex } from 'node:stream';
import type { ConsolePort } from '../console/port.ts';

/**
 * A port of a console device as a stream: reads what the guest writes, and writes what the guest reads. Takes over the
 * port's `onOutput` and `onGuestOpen`. What is not read stays in the guest. `end()` closes the host's side, which gives the
 * guest end-of-file when it has read everything; `destroy()` closes it at once. The event `guestOpen` tells, with a boolean,
 * that a program of the guest opened or closed its side.
 */
export class ConsolePortStream extends Duplex {
  readonly port: ConsolePort;

  constructor(port: ConsolePort) {
    super();
    this.port = port;
    port.onOutput = (bytes) => this.push(bytes);
    port.onGuestOpen = (open) => this.emit('guestOpen', open);
  }

  override _read(): void {
    this.port.resumeOutput();
  }

  override _write(
    chunk: Uint8Array,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    let room: boolean;
    try {
      room = this.port.write(chunk);
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (room) callback();
    else void this.port.drained().then(() => callback());
  }

  override _final(callback: (error?: Error | null) => void): void {
    void this.port.close().then(() => callback());
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.port.onOutput = undefined;
    this.port.onGuestOpen = undefined;
    this.port.resumeOutput();
    void this.port.close({ discard: true });
    callback(error);
  }
}
