import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { UPGRADE } from './frames.ts';
import { RequestError } from './http.ts';

/**
 * Answers a request for frames with 101 (RFC 9110 §15.2.2).
 *
 * @param what is asked for, for the refusal
 * @throws RequestError when it asks for another protocol
 */
export function acceptUpgrade(request: IncomingMessage, socket: Duplex, what: string): void {
  if (request.headers.upgrade?.toLowerCase() !== UPGRADE)
    throw new RequestError(400, `${what} upgrades to ${UPGRADE} only`);
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${UPGRADE}\r\n\r\n`);
}

/** Who serves a connection after its upgrade. */
export interface FrameServer {
  received(bytes: Uint8Array): void;
  /** The client has gone; may be called twice. */
  left(): void;
}

/** Hands over what comes, beginning with what came with the request. */
export function serve(socket: Duplex, head: Uint8Array, server: FrameServer): void {
  socket.on('error', () => undefined);
  socket.once('close', () => server.left());
  // A client that has gone looks like one that only sends no more; for that there is a frame.
  socket.once('end', () => {
    server.left();
    socket.end();
  });
  socket.on('data', (bytes: Uint8Array) => server.received(bytes));
  if (head.length > 0) server.received(head);
}
