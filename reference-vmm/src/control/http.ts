import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import * as v from 'valibot';
import { VmmError, type VmmErrorCode } from '../errors.ts';
import { BODY_LIMIT, type ControlError } from './schema.ts';

/** A request that is refused with this status (RFC 9110 §15). */
export class RequestError extends VmmError {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    message: string,
    code: VmmErrorCode = 'INVALID_REQUEST',
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(code, message);
    this.status = status;
    this.headers = headers;
  }
}

/** Milliseconds for which the rest of a refused body is read. */
const DISCARD_TIME = 1_000;

const STATUSES: Readonly<Partial<Record<string, number>>> = {
  INVALID_REQUEST: 400,
  INVALID_CONFIG: 400,
  WRONG_STATE: 409,
  NOT_SUPPORTED: 501,
};

/** Status, headers and body with which something thrown is answered. */
export function refusal(error: unknown): {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: { readonly error: ControlError };
} {
  const described = toControlError(error);
  const status = error instanceof RequestError ? error.status : (STATUSES[described.code] ?? 500);
  const headers = error instanceof RequestError ? error.headers : {};
  return { status, headers, body: { error: described } };
}

/** Anything thrown, as the protocol tells it. */
export function toControlError(error: unknown): ControlError {
  if (!(error instanceof Error)) return { code: 'INTERNAL', message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'INTERNAL';
  const errno = guestErrno(error);
  return { code, message: error.message, ...(errno === undefined ? {} : { errno }) };
}

/** What the guest's system said, e.g. `ENOENT`. */
function guestErrno({ cause }: Error): string | undefined {
  if (!(cause instanceof Error) || !('code' in cause)) return undefined;
  return typeof cause.code === 'string' && /^E[A-Z0-9]+$/.test(cause.code) ? cause.code : undefined;
}

/** Answers with one JSON object and no more than that. */
export function reply(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) return;
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
    ...headers,
  });
  const { req } = response;
  const hasBody = Number(req.headers['content-length'] ?? 0) > 0 || 'transfer-encoding' in req.headers;
  if (!hasBody || req.complete) {
    response.end(text);
    return;
  }
  // Clients that are still sending read no answer when the connection breaks under them.
  response.write(text);
  const end = (): void => void response.end();
  const timer = setTimeout(end, DISCARD_TIME);
  req.once('close', () => clearTimeout(timer));
  req.once('end', end).resume();
}

/** The same on a connection that has no response object: one that asked for an upgrade, or for nonsense. */
export function replyRaw(socket: Duplex, status: number, phrase: string, error: ControlError): void {
  if (!socket.writable) return void socket.destroy();
  const text = `${JSON.stringify({ error })}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`,
  );
}

/**
 * Reads a body as JSON; an empty one is `{}`.
 *
 * @param patience milliseconds that the client has for it
 * @throws RequestError
 */
export async function readJson<T>(
  request: IncomingMessage,
  schema: v.GenericSchema<unknown, T>,
  patience: number,
): Promise<T> {
  const tooLarge = (): RequestError => new RequestError(413, `a body has at most ${BODY_LIMIT} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > BODY_LIMIT) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  let timer: NodeJS.Timeout | undefined;
  // Not by iteration, which would destroy the connection that is to carry the refusal.
  await new Promise<void>((resolve, reject) => {
    request.on('data', (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > BODY_LIMIT) reject(tooLarge());
      else chunks.push(chunk);
    });
    request.on('end', resolve);
    request.on('error', reject);
    request.on('close', () => reject(new RequestError(400, 'the request ended half-way')));
    timer = setTimeout(() => reject(new RequestError(408, 'the request did not arrive in time')), patience);
  }).finally(() => clearTimeout(timer));
  const text = Buffer.concat(chunks).toString('utf8');
  let value: unknown = {};
  if (text.trim() !== '') {
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new RequestError(400, `the body is no JSON: ${toControlError(error).message}`);
    }
  }
  if (Array.isArray(value)) throw new RequestError(400, 'body: an array, not an object');
  return check(value, schema, 'body');
}

/**
 * Reads the query of a URL; a parameter comes once.
 *
 * @throws RequestError
 */
export function readQuery<T>(url: URL, schema: v.GenericSchema<unknown, T>): T {
  const entries = [...url.searchParams];
  const query = new Map(entries);
  if (query.size !== entries.length) throw new RequestError(400, 'query: a parameter comes twice');
  return check(Object.fromEntries(query), schema, 'query');
}

function check<T>(value: unknown, schema: v.GenericSchema<unknown, T>, what: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const place = v.getDotPath(issue);
  throw new RequestError(400, `${what}${place === null ? '' : `: ${place}`}: ${issue.message}`);
}

/** Resolves when the client has taken what was written, or has gone. */
export function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  // Neither will be told any more.
  if (signal.aborted || response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.on('drain', done);
    signal.addEventListener('abort', done);
  });
}
