import { Duplex } from 'node:stream';
import * as v from 'valibot';
import { VmmError } from '../errors.ts';
import type { StopReason } from '../stop-reason.ts';
import { FrameParser, FrameType, encodeFrame, encodeJsonFrame, framesOf } from './frames.ts';
import { type TerminalSize, controlErrorSchema, stopReasonSchema } from './schema.ts';

/** The console of a VM in another process: reading gives what the guest prints from now on, writing types. */
export class ConsoleClient extends Duplex {
  /** How the VM ended; undefined while it runs, and when the connection broke off. */
  reason: StopReason | undefined;
  readonly #socket: Duplex;
  readonly #parser = new FrameParser((type, payload) => this.#frame(type, payload));
  #ended = false;

  constructor(socket: Duplex, head: Uint8Array) {
    super({ allowHalfOpen: true });
    this.#socket = socket;
    socket.on('data', (bytes: Uint8Array) => this.#received(bytes));
    socket.on('error', (cause) =>
      this.destroy(new VmmError('CONTROL_FAILED', 'the connection to the VM broke off', { cause })),
    );
    socket.on('close', () => this.#end());
    if (head.length > 0) this.#received(head);
  }

  /** Tells the guest the size of the terminal that shows its console. */
  resize(size: TerminalSize): void {
    if (this.#socket.writable) this.#socket.write(encodeJsonFrame(FrameType.resize, size));
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(bytes: Uint8Array, _: BufferEncoding, callback: (error?: Error | null) => void): void {
    let flushed = true;
    for (const frame of framesOf(FrameType.stdin, bytes)) flushed = this.#socket.write(frame);
    if (flushed || this.#socket.destroyed) {
      callback();
      return;
    }
    const done = (): void => {
      this.#socket.off('drain', done).off('close', done);
      callback();
    };
    this.#socket.on('drain', done).on('close', done);
  }

  override _final(callback: () => void): void {
    if (this.#socket.writable) this.#socket.write(encodeFrame(FrameType.eof, new Uint8Array()));
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#socket.destroy();
    callback(error);
  }

  #received(bytes: Uint8Array): void {
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.destroy(new VmmError('CONTROL_FAILED', 'the VM does not keep to the protocol', { cause: error }));
    }
  }

  #frame(type: FrameType, payload: Uint8Array): void {
    if (type === FrameType.stdout || type === FrameType.stderr) {
      if (!this.push(payload)) this.#socket.pause();
    } else if (type === FrameType.exit) {
      this.reason = v.parse(stopReasonSchema, parse(payload));
      this.#end();
    } else if (type === FrameType.error) {
      const { message } = v.parse(controlErrorSchema, parse(payload));
      this.destroy(new VmmError('CONTROL_FAILED', message));
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
    this.#socket.end();
  }
}

function parse(payload: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(payload));
}
