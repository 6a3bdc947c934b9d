import { lstat, unlink } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import type { VsockConnection } from '../vsock/connection.ts';
import { VMADDR_PORT_ANY } from '../vsock/constants.ts';
import type { VsockListener } from '../vsock/options.ts';
import type { VirtioVsock } from '../vsock/vsock.ts';
import { VsockStream } from './vsock-stream.ts';

/** Longest first line of a program that connects: `CONNECT 4294967294\n` and some blanks. */
const MAX_LINE = 64;
/** Milliseconds for that line. */
const HANDSHAKE_TIMEOUT = 10_000;

export interface VsockForwarderOptions {
  /** Told why a connection was not made, for a log. */
  readonly debug?: (message: string) => void;
}

/**
 * Unix sockets for a guest's stream sockets, by the convention of Firecracker:
 *
 * - A program of the host connects to `path`, sends `CONNECT <port>\n` and gets `OK <port of the host>\n`; from then on it
 *   has a connection to that port of the guest. When there is none, its socket is closed.
 * - A connection of the guest to port P of the host, where nobody else listens, goes to the Unix socket `<path>_P`; when
 *   nobody listens there, the guest's program is refused.
 */
export class VsockForwarder implements AsyncDisposable {
  readonly path: string;
  readonly #device: VirtioVsock;
  readonly #debug: (message: string) => void;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #listener: VsockListener | undefined;
  #closed: Promise<void> | undefined;

  private constructor(device: VirtioVsock, path: string, options: VsockForwarderOptions) {
    this.path = path;
    this.#device = device;
    this.#debug = options.debug ?? (() => undefined);
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#fromHost(socket),
    );
  }

  /**
   * @param path where the socket is made; access to it is access to the guest, so put it where only the right users are
   * @throws (rejects with) VirtioDeviceError `ADDRESS_IN_USE` when another process listens there (a socket that nobody
   *   listens on is replaced), or another forwarder has this device; `IO_ERROR`
   */
  static async start(
    device: VirtioVsock,
    path: string,
    options: VsockForwarderOptions = {},
  ): Promise<VsockForwarder> {
    const forwarder = new VsockForwarder(device, path, options);
    forwarder.#listener = device.listen(VMADDR_PORT_ANY, (connection) => forwarder.#fromGuest(connection));
    try {
      await forwarder.#listen();
    } catch (error) {
      forwarder.#listener[Symbol.dispose]();
      throw error;
    }
    return forwarder;
  }

  /** Removes the socket and ends all forwarded connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= new Promise((resolve) => {
      this.#listener?.[Symbol.dispose]();
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
    await this.#closed;
  }

  async #listen(): Promise<void> {
    try {
      await listening(this.#server, this.path);
    } catch (cause) {
      if (codeOf(cause) !== 'EADDRINUSE') {
        throw new VirtioDeviceError('IO_ERROR', `vsock socket ${this.path}: ${messageOf(cause)}`, { cause });
      }
      if (!(await isAbandoned(this.path))) {
        throw new VirtioDeviceError('ADDRESS_IN_USE', `vsock socket ${this.path} is in use`, { cause });
      }
      await unlink(this.path);
      await listening(this.#server, this.path);
    }
    // A VM that ends shall not be kept alive by its socket.
    this.#server.unref();
  }

  #fromHost(socket: Socket): void {
    this.#keep(socket);
    this.#handshake(socket).catch((error: unknown) => {
      this.#debug(`vsock socket ${this.path}: ${messageOf(error)}`);
      socket.destroy();
    });
  }

  async #handshake(socket: Socket): Promise<void> {
    const abort = new AbortController();
    socket.once('close', () => abort.abort());
    const timer = setTimeout(() => socket.destroy(new Error('no CONNECT in time')), HANDSHAKE_TIMEOUT);
    let port: number;
    try {
      port = parseConnect(await readLine(socket));
    } finally {
      clearTimeout(timer);
    }
    const connection = await this.#device.connect(port, { signal: abort.signal });
    // Written before the guest's first byte can be.
    socket.write(`OK ${connection.localPort}\n`);
    join(new VsockStream(connection, { allowHalfOpen: true }), socket);
  }

  async #fromGuest(connection: VsockConnection): Promise<void> {
    const path = `${this.path}_${connection.localPort}`;
    const socket = connect({ path, allowHalfOpen: true });
    this.#keep(socket);
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('error', reject);
      });
    } catch (error) {
      this.#debug(`vsock port ${connection.localPort}: ${messageOf(error)}`);
      connection.destroy();
      return;
    }
    if (connection.state === 'closed') socket.destroy();
    else join(new VsockStream(connection, { allowHalfOpen: true }), socket);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', (error) => this.#debug(`vsock socket ${this.path}: ${error.message}`));
    if (this.#closed !== undefined) socket.destroy();
  }
}

/** Both directions, each with its own end. */
function join(stream: VsockStream, socket: Socket): void {
  stream.on('error', (error) => socket.destroy(error));
  socket.on('error', (error) => stream.destroy(error));
  // One that closes without having ended ends the other.
  stream.on('close', () => {
    if (!stream.readableEnded || !stream.writableFinished) socket.destroy();
  });
  socket.on('close', () => {
    if (!stream.readableEnded || !stream.writableFinished)
      stream.destroy(new Error('the Unix socket closed'));
  });
  stream.pipe(socket);
  socket.pipe(stream);
}

/** Reads up to the first line feed; what follows stays in the socket. */
async function readLine(socket: Socket): Promise<string> {
  let line = '';
  for (;;) {
    const byte: unknown = socket.read(1);
    if (Buffer.isBuffer(byte)) {
      if (byte[0] === 10) return line;
      line += byte.toString('latin1');
      if (line.length > MAX_LINE) throw new Error('no CONNECT in the first line');
    } else {
      if (socket.destroyed || socket.readableEnded) throw new Error('closed before CONNECT');
      await new Promise<void>((resolve) => {
        const done = (): void => {
          for (const event of ['readable', 'end', 'close']) socket.off(event, done);
          resolve();
        };
        for (const event of ['readable', 'end', 'close']) socket.on(event, done);
      });
    }
  }
}

function parseConnect(line: string): number {
  const match = /^connect +(\d{1,10})\s*$/i.exec(line);
  if (match === null) throw new Error(`${JSON.stringify(line)} is not "CONNECT <port>"`);
  return Number(match[1]);
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Whether `path` is a socket that nobody listens on. */
async function isAbandoned(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false;
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.once('error', (error) => resolve(codeOf(error) === 'ECONNREFUSED'));
  });
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
