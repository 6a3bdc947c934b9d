import { Duplex } from 'node:stream';
import type { VsockConnection } from '../vsock/connection.ts';

export interface VsockStreamOptions {
  /** Whether the writable side stays open when the guest ended its own. Default false. */
  readonly allowHalfOpen?: boolean;
}

/**
 * A connection as a stream. That of a seqpacket connection is in object mode: each chunk is one message.
 *
 * What is not read stays in the connection's buffer and stops the guest. `end()` is a half-close, `destroy()` closes
 * both directions after what was written was sent, and `destroy(error)` resets the connection.
 */
export class VsockStream extends Duplex {
  /** What the stream is made of; for ports, type and counters. */
  readonly connection: VsockConnection;
  #wanted = false;
  #ended = false;
  #afterDrain: ((error?: Error | null) => void) | undefined;

  constructor(connection: VsockConnection, options: VsockStreamOptions = {}) {
    const objectMode = connection.type === 'seqpacket';
    // That both sides have ended does not mean that the guest has everything: the connection says when it is closed.
    super({ objectMode, allowHalfOpen: options.allowHalfOpen ?? false, autoDestroy: false });
    this.connection = connection;
    this.once('end', () => this.#destroyIfDone());
    // In steps of their own, so that what a listener throws is an uncaught exception, as of any stream.
    connection.onReadable = () => queueMicrotask(() => this.#pump());
    connection.onDrained = () => queueMicrotask(() => this.#drained());
    connection.onClosed = (error) => queueMicrotask(() => this.#closed(error));
  }

  override _read(): void {
    this.#wanted = true;
    this.#pump();
  }

  override _write(chunk: unknown, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    if (!(bytes instanceof Uint8Array)) {
      callback(new TypeError('a message is a Uint8Array or a string'));
      return;
    }
    let room: boolean;
    try {
      room = this.connection.write(bytes);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.destroy(failure);
      callback(failure);
      return;
    }
    if (room) callback();
    else this.#afterDrain = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.connection.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (error === null) this.connection.close();
    else this.connection.destroy();
    callback(error);
  }

  #pump(): void {
    if (this.destroyed || this.#ended) return;
    while (this.#wanted) {
      const bytes = this.connection.read();
      if (bytes === undefined) break;
      this.#wanted = this.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    }
    if (!this.connection.readEnded || this.connection.error !== undefined) return;
    this.#ended = true;
    this.push(null);
  }

  #drained(): void {
    const callback = this.#afterDrain;
    this.#afterDrain = undefined;
    callback?.();
  }

  #closed(error: Error | undefined): void {
    if (error !== undefined) this.destroy(error);
    else {
      this.#pump();
      this.#drained();
      this.#destroyIfDone();
    }
  }

  #destroyIfDone(): void {
    if (this.connection.state === 'closed' && this.readableEnded) this.destroy();
  }
}
