import type { Socket } from 'node:net';
import type { NetBackendClient } from '../net/backend.ts';
import { ETH_HLEN, NET_MAX_FRAME, VIRTIO_NET_HDR_F_DATA_VALID } from '../net/constants.ts';
import { FrameQueue } from '../net/frame-queue.ts';
import type { ReceiveBuffers } from '../net/receive-buffers.ts';
import type { TransmitBatch } from '../net/transmit-batch.ts';

/** Bytes of frames that wait for the guest, after which the socket is not read. */
const QUEUE_BYTES = 512 * 1024;
/** Bytes in the socket's own buffer, after which the guest waits until they are sent. */
const UNSENT_BYTES = 256 * 1024;
const LENGTH_SIZE = 4;

/**
 * Frames over a stream socket, each behind its length in 4 bytes, big-endian: what QEMU's `-netdev stream` and
 * passt speak. Both directions have backpressure; nothing is dropped.
 */
export class FrameSocket {
  readonly #socket: Socket;
  readonly #queue = new FrameQueue(Infinity, QUEUE_BYTES);
  readonly #onEnd: (cause: Error) => void;
  #client: NetBackendClient | undefined;
  /** The device waits for `readable()`. */
  #waiting = true;
  /** The start of a frame that has not come as a whole: its length first. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  #ended = false;

  /** @param onEnd the other side has gone, or breaks the protocol; once */
  constructor(socket: Socket, onEnd: (cause: Error) => void) {
    this.#socket = socket;
    this.#onEnd = onEnd;
    socket.on('data', (bytes: Buffer) => this.#data(bytes));
    socket.on('drain', () => this.#client?.writable(0));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('the connection was closed')));
  }

  set client(client: NetBackendClient) {
    this.#client = client;
  }

  /** Drops what waits; `readable()` follows for what comes next. */
  rearm(): void {
    this.clear();
    this.#waiting = true;
  }

  /** Sends one frame of the host's own. */
  send(frame: Uint8Array): void {
    const length = Buffer.alloc(LENGTH_SIZE);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }

  transmit(batch: TransmitBatch): void {
    const socket = this.#socket;
    if (this.#ended || batch.remaining === 0) {
      while (batch.remaining > 0) batch.drop();
      return;
    }
    socket.cork();
    while (batch.remaining > 0 && (socket.writableLength < UNSENT_BYTES || !socket.writableNeedDrain)) {
      const frame = batch.copyFrame();
      if (frame === undefined) {
        batch.drop();
        continue;
      }
      // copyFrame() leaves room before the frame.
      const bytes = Buffer.from(frame.buffer, frame.byteOffset - LENGTH_SIZE, frame.length + LENGTH_SIZE);
      bytes.writeUInt32BE(frame.length);
      socket.write(bytes);
      batch.advance();
    }
    socket.uncork();
  }

  receive(buffers: ReceiveBuffers): boolean {
    while (buffers.wanted > 0) {
      const frame = this.#queue.first;
      if (frame === undefined) {
        this.#waiting = true;
        this.#refill();
        return false;
      }
      // What comes over a local socket is intact: the guest need not compute checksums.
      if (!buffers.deliver(frame, VIRTIO_NET_HDR_F_DATA_VALID)) break;
      this.#queue.shift();
    }
    this.#refill();
    return true;
  }

  /** Drops what waits. */
  clear(): void {
    this.#queue.clear();
    this.#refill();
  }

  close(): void {
    this.#ended = true;
    this.#queue.clear();
    this.#socket.destroy();
  }

  #refill(): void {
    if (this.#socket.isPaused() && !this.#queue.full) this.#socket.resume();
  }

  #data(bytes: Buffer): void {
    if (this.#ended) return;
    let rest = this.#partialBytes > 0 ? this.#completePartial(bytes) : bytes;
    while (rest !== undefined && rest.length > 0) rest = this.#frame(rest);
    if (this.#queue.full) this.#socket.pause();
    if (this.#waiting && this.#queue.length > 0) {
      this.#waiting = false;
      this.#client?.readable(0);
    }
  }

  /** Takes the frame at the start of `bytes`. @returns what follows it; undefined when it was not all there */
  #frame(bytes: Buffer): Buffer | undefined {
    const length = bytes.length < LENGTH_SIZE ? undefined : bytes.readUInt32BE(0);
    if (length !== undefined && length > NET_MAX_FRAME) {
      this.#end(new Error(`the other side announced a frame of ${length} bytes`));
      return undefined;
    }
    if (length === undefined || bytes.length < LENGTH_SIZE + length) {
      this.#partial.push(bytes);
      this.#partialBytes += bytes.length;
      return undefined;
    }
    if (length >= ETH_HLEN) this.#queue.push(bytes.subarray(LENGTH_SIZE, LENGTH_SIZE + length));
    return bytes.subarray(LENGTH_SIZE + length);
  }

  #completePartial(bytes: Buffer): Buffer | undefined {
    this.#partial.push(bytes);
    this.#partialBytes += bytes.length;
    if (this.#partialBytes < LENGTH_SIZE) return undefined;
    const [first] = this.#partial;
    if (first!.length >= LENGTH_SIZE && first!.readUInt32BE(0) + LENGTH_SIZE > this.#partialBytes) {
      // Joined once, when all of it is there.
      if (first!.readUInt32BE(0) <= NET_MAX_FRAME) return undefined;
    }
    const whole = Buffer.concat(this.#partial);
    this.#partial = [];
    this.#partialBytes = 0;
    return whole;
  }

  #end(cause: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.destroy();
    this.#onEnd(cause);
  }
}
