import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http';
import { type Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { reasonOf } from './abort.ts';
import { VmmError, messageOf } from './errors.ts';

/** What of a `RequestInit` {@link guestFetch} looks at. */
export type GuestFetchInit = Pick<RequestInit, 'method' | 'headers' | 'body' | 'signal' | 'duplex'>;

/** Connects to a port of the guest; the signal ends the attempt. */
export type ConnectGuest = (port: number, signal: AbortSignal) => Promise<Duplex>;

/** Port of `http:` URLs that name none. */
const HTTP_PORT = 80;
/** Most bytes of the head of a response. */
const MAX_HEADERS = 16 * 1024;
/** Responses with these codes have no body (RFC 9110 §6.4.1, Fetch §2.2.3 "null body status"). */
const NULL_BODY: readonly number[] = [101, 103, 204, 205, 304];

/**
 * Asks an HTTP server in the guest: a connection to the vsock port of the URL, whose host is only what the `Host` header
 * says. A connection serves one request. Redirects are not followed, and what is encoded is not decoded.
 *
 * @throws (rejects with) VmmError `INVALID_REQUEST`, `BAD_RESPONSE`; VirtioDeviceError `CONNECTION_REFUSED`, `TIMED_OUT` …;
 *   the signal's reason
 */
export async function guestFetch(
  connect: ConnectGuest,
  url: string | URL,
  init: GuestFetchInit = {},
): Promise<Response> {
  const { request, target } = checked(url, init);
  const { signal } = request;
  if (signal.aborted) throw reasonOf(signal);
  const body = await bodyOf(request, init);
  const port = target.port === '' ? HTTP_PORT : Number(target.port);
  const stream = await connect(port, signal);
  if (isAborted(signal)) {
    stream.destroy();
    throw reasonOf(signal);
  }
  const headers = Object.fromEntries(request.headers);
  headers['host'] ??= target.host;
  if (body instanceof Uint8Array) headers['content-length'] ??= String(body.length);
  const outgoing = httpRequest({
    createConnection: () => stream,
    method: request.method,
    path: `${target.pathname}${target.search}`,
    headers: { ...headers, connection: 'close' },
    setHost: false,
    maxHeaderSize: MAX_HEADERS,
  });
  // What goes wrong is told by the answer, or by its body.
  outgoing.on('error', () => undefined);
  const aborted = (): void => void outgoing.destroy(reasonOf(signal));
  signal.addEventListener('abort', aborted, { once: true });
  const done = (): void => {
    signal.removeEventListener('abort', aborted);
    stream.destroy();
  };
  try {
    const incoming = await exchange(outgoing, body);
    return responseOf(incoming, request.method, signal, done);
  } catch (error) {
    done();
    if (request.signal.aborted) throw reasonOf(signal);
    if (error instanceof VmmError) throw error;
    const message = messageOf(error);
    throw new VmmError('BAD_RESPONSE', `${request.method} ${target.href}: ${message}`, { cause: error });
  }
}

/** It may be by now. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

function checked(url: string | URL, init: GuestFetchInit): { request: Request; target: URL } {
  try {
    const target = new URL(url);
    if (target.protocol !== 'http:')
      throw new VmmError('INVALID_REQUEST', `fetch: ${target.protocol} is not spoken over vsock, only http:`);
    // The server's name and credentials are the caller's, the fragment is nobody's.
    target.hash = '';
    return { target, request: new Request(target, init) };
  } catch (cause) {
    if (cause instanceof VmmError) throw cause;
    const reason = messageOf(cause);
    throw new VmmError('INVALID_REQUEST', `fetch: ${String(url)}: ${reason}`, { cause });
  }
}

/** What is in memory is sent with its length, since simple servers know of nothing else; streams in chunks. */
async function bodyOf(request: Request, init: GuestFetchInit): Promise<Uint8Array | Readable | undefined> {
  if (request.body === null) return undefined;
  const streamed = typeof init.body === 'object' && init.body !== null && Symbol.asyncIterator in init.body;
  if (streamed) return Readable.fromWeb(request.body);
  return new Uint8Array(await request.arrayBuffer());
}

/** Sends a request; answers when the head of the response is there. */
async function exchange(
  outgoing: ClientRequest,
  body: Uint8Array | Readable | undefined,
): Promise<IncomingMessage> {
  const response = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  // A server may answer, and close, before it has read everything: its answer counts.
  const sent = body instanceof Readable ? pipeline(body, outgoing) : undefined;
  if (!(body instanceof Readable)) outgoing.end(body);
  sent?.catch((error: unknown) =>
    outgoing.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  const [incoming] = await response;
  return incoming;
}

function responseOf(
  incoming: IncomingMessage,
  method: string,
  signal: AbortSignal,
  done: () => void,
): Response {
  const status = incoming.statusCode ?? 0;
  const headers = new Headers();
  for (let index = 0; index + 1 < incoming.rawHeaders.length; index += 2)
    headers.append(incoming.rawHeaders[index]!, incoming.rawHeaders[index + 1]!);
  const init = { status, statusText: incoming.statusMessage ?? '', headers };
  if (method === 'HEAD' || NULL_BODY.includes(status)) {
    const response = new Response(null, init);
    incoming.resume();
    done();
    return response;
  }
  const aborted = (): void => void incoming.destroy(reasonOf(signal));
  signal.addEventListener('abort', aborted, { once: true });
  incoming.once('close', () => {
    signal.removeEventListener('abort', aborted);
    done();
  });
  return new Response(Readable.toWeb(incoming) as ReadableStream<Uint8Array>, init);
}
