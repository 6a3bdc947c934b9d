import { chmodSync } from 'node:fs';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { dirname, join } from 'node:path';
import type { ConsoleHub } from './console-hub.ts';
import type { ControlledVmm } from './controlled-vmm.ts';
import { acceptExec } from './exec-server.ts';
import { sendFiles, takeFiles } from './file-routes.ts';
import { RequestError, readJson, readQuery, refusal, reply, replyRaw, toControlError } from './http.ts';
import { sendLog } from './log-reply.ts';
import { Operations } from './operations.ts';
import { API, type VmInfo, logsQuerySchema, nothingSchema, stopRequestSchema } from './schema.ts';
import { snapshotRequestSchema } from './snapshot-schema.ts';
import { CONTROL_SOCKET, SocketPath } from './socket-path.ts';
import { Viewers } from './viewers.ts';

/** Bytes of request line and headers together. */
const HEADER_LIMIT = 16 * 1024;
/** Connections at a time; more are closed unheard. */
const MAX_CONNECTIONS = 256;

/**
 * Milliseconds after which the server asks itself once: the first answer of a process costs five times the others, in
 * compiling, and `list` asks many processes at the same moment.
 */
const WARM_UP = 5_000;

/** How long clients may take, in milliseconds. */
export interface ControlTimeouts {
  /** For headers to arrive. Default 5 s. */
  readonly headers?: number;
  /** For whole requests to arrive, but for files, which take the time that they take. Default 15 s. */
  readonly request?: number;
  /** For answers that are on their way when the VM has ended. Default 2 s. */
  readonly close?: number;
}

/** How a VM is controlled. */
export interface ControlOptions extends ControlTimeouts {
  /** What `inspect` tells as the configuration: plain data. */
  readonly config?: object | undefined;
}

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void> | void;

const BASE_URL = 'http://localhost';

/** What is upgraded to a stream, by which method. */
const STREAMS: Readonly<Partial<Record<string, 'GET' | 'POST'>>> = {
  [`${API}/console`]: 'GET',
  [`${API}/exec`]: 'POST',
};

/**
 * The control protocol of one VM: HTTP on a Unix socket that only its user can open. A client that goes away half-way
 * changes nothing for the VM: what it asked for is done all the same.
 */
export class ControlServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #socketPath: SocketPath;
  readonly #hub: ConsoleHub;
  readonly #viewers: Viewers;
  readonly #operations: Operations;
  readonly #routes: ReadonlyMap<string, Readonly<Record<string, Handler>>>;
  readonly #sockets = new Set<Duplex>();
  readonly #vmm: ControlledVmm;
  readonly #requestTimeout: number;
  readonly #closeTimeout: number;
  #warmUp: NodeJS.Timeout | undefined;
  #closed: Promise<void> | undefined;

  private constructor(
    vmm: ControlledVmm,
    hub: ConsoleHub,
    socketPath: SocketPath,
    { headers = 5_000, request = 15_000, close = 2_000, config }: ControlOptions,
  ) {
    this.#vmm = vmm;
    this.#requestTimeout = request;
    this.#closeTimeout = close;
    this.#hub = hub;
    this.#socketPath = socketPath;
    this.#viewers = new Viewers(vmm, hub);
    this.#operations = new Operations(vmm, hub, config);
    this.#routes = routes(vmm, this.#operations, hub, request);
    this.#server = createServer({
      maxHeaderSize: HEADER_LIMIT,
      headersTimeout: headers,
      // Bodies have a limit of their own, where they are read.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(headers, 1_000),
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('request', (request, response) => void this.#request(request, response));
    this.#server.on('checkExpectation', (_, response: ServerResponse) => {
      const { status, body } = refusal(new RequestError(417, 'an expectation that is not 100-continue'));
      reply(response, status, body, { connection: 'close' });
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on('connect', (_, socket) =>
      replyRaw(socket, 405, 'Method Not Allowed', invalid('CONNECT is no method here')),
    );
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => clientError(error, socket));
  }

  /**
   * @param path `control.sock` in the VM's directory
   * @throws Error of the system, e.g. EADDRINUSE
   */
  static async listen(
    vmm: ControlledVmm,
    path: string,
    hub: ConsoleHub,
    options: ControlOptions = {},
  ): Promise<ControlServer> {
    const socketPath = SocketPath.held(dirname(path));
    const control = new ControlServer(vmm, hub, socketPath, options);
    try {
      await new Promise<void>((resolve, reject) => {
        control.#server.once('error', reject);
        control.#server.listen(socketPath.path, resolve);
      });
      chmodSync(join(dirname(path), CONTROL_SOCKET), 0o600);
    } catch (error) {
      control.#server.close();
      socketPath[Symbol.dispose]();
      throw error;
    }
    // Nothing that a client or the system does to the socket ends the VM.
    control.#server.on('error', () => undefined);
    control.#warmUp = setTimeout(() => {
      connect(socketPath.path)
        .on('error', () => undefined)
        .resume()
        .write(`GET ${API}/vm HTTP/1.1\r\nHost: vm\r\n\r\n`);
    }, WARM_UP).unref();
    return control;
  }

  /** What `GET /v1/vm` answers. */
  info(): VmInfo {
    return this.#operations.info();
  }

  /** Takes no more requests, and lets those that are there have their answers for a while. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#warmUp);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, this.#closeTimeout);
    this.#hub.log.finish();
    void this.#viewers.finish();
    await closed;
    clearTimeout(timer);
    this.#socketPath[Symbol.dispose]();
  }

  async #request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    // One request a connection: nothing is left open when the VM ends.
    response.shouldKeepAlive = false;
    try {
      const url = parseUrl(request.url);
      const handler = this.#find(request.method ?? '', url.pathname);
      await handler(request, response, url);
    } catch (error) {
      const { status, headers, body } = refusal(error);
      reply(response, status, body, headers);
    }
  }

  #find(method: string, path: string): Handler {
    const methods = this.#routes.get(path);
    if (methods === undefined) throw new RequestError(404, `no such path; all begin with ${API}/`);
    if (!Object.hasOwn(methods, method)) {
      const allow = Object.keys(methods).join(', ');
      throw new RequestError(405, `${path} takes ${allow}`, 'INVALID_REQUEST', { allow });
    }
    return methods[method]!;
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Uint8Array): void {
    try {
      const url = parseUrl(request.url);
      const method = STREAMS[url.pathname];
      if (method === undefined) throw new RequestError(400, 'only the console and commands take an upgrade');
      readQuery(url, nothingSchema);
      if (request.method !== method) throw new RequestError(405, `${url.pathname} takes ${method}`);
      if (method === 'GET') this.#viewers.accept(request, socket, head);
      else acceptExec(this.#vmm, request, socket, head, this.#requestTimeout);
    } catch (error) {
      const { status, body } = refusal(error);
      replyRaw(socket, status, 'Refused', body.error);
    }
  }
}

function routes(
  vmm: ControlledVmm,
  operations: Operations,
  hub: ConsoleHub,
  patience: number,
): ReadonlyMap<string, Readonly<Record<string, Handler>>> {
  /** A change of state without parameters. */
  const change = (operation: () => Promise<object>): Readonly<Record<string, Handler>> => ({
    POST: async (request, response, url) => {
      readQuery(url, nothingSchema);
      await readJson(request, nothingSchema, patience);
      reply(response, 200, await operation());
    },
  });
  const show = (look: () => object): Readonly<Record<string, Handler>> => ({
    GET: (_, response, url) => {
      readQuery(url, nothingSchema);
      reply(response, 200, look());
    },
  });
  return new Map([
    [`${API}/vm`, show(() => operations.info())],
    [`${API}/stats`, show(() => operations.stats())],
    [`${API}/pause`, change(() => operations.pause())],
    [`${API}/resume`, change(() => operations.resume())],
    [`${API}/kill`, change(() => operations.kill())],
    [`${API}/reset`, change(() => operations.reset())],
    [
      `${API}/stop`,
      {
        POST: async (request, response, url) => {
          readQuery(url, nothingSchema);
          const { grace } = await readJson(request, stopRequestSchema, patience);
          reply(response, 200, await operations.stop(grace));
        },
      },
    ],
    [
      `${API}/snapshot`,
      {
        POST: async (request, response, url) => {
          readQuery(url, nothingSchema);
          const body = await readJson(request, snapshotRequestSchema, patience);
          reply(response, 200, await operations.snapshot(body));
        },
      },
    ],
    [
      `${API}/logs`,
      {
        GET: async (_, response, url) => {
          const { follow } = readQuery(url, logsQuerySchema);
          await sendLog(hub.log, response, follow === '1');
        },
      },
    ],
    [
      `${API}/files`,
      {
        GET: async (_, response, url) => sendFiles(vmm, response, url),
        PUT: async (request, response, url) => takeFiles(vmm, request, response, url),
      },
    ],
    ...Object.entries(STREAMS).map(([path, method = 'GET']): [string, Readonly<Record<string, Handler>>] => [
      path,
      {
        [method]: () => {
          throw new RequestError(426, `${path} needs Upgrade: vmm-stream`, 'INVALID_REQUEST', {
            upgrade: 'vmm-stream',
          });
        },
      },
    ]),
  ] satisfies [string, Readonly<Record<string, Handler>>][]);
}

function parseUrl(text = ''): URL {
  // A path of two slashes would be read as a host.
  if (!text.startsWith('/') || text.startsWith('//') || !URL.canParse(text, BASE_URL)) {
    throw new RequestError(404, `no such path; all begin with ${API}/`);
  }
  return new URL(text, BASE_URL);
}

function invalid(message: string): ReturnType<typeof toControlError> {
  return { code: 'INVALID_REQUEST', message };
}

function clientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  switch (error.code) {
    case 'ECONNRESET':
      socket.destroy();
      break;
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      replyRaw(socket, 408, 'Request Timeout', invalid('the request did not arrive in time'));
      break;
    case 'HPE_HEADER_OVERFLOW':
      replyRaw(
        socket,
        431,
        'Request Header Fields Too Large',
        invalid(`headers have at most ${HEADER_LIMIT} bytes`),
      );
      break;
    default:
      replyRaw(socket, 400, 'Bad Request', invalid(`no HTTP request: ${error.message}`));
  }
}
