import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync } from 'node:fs';
import { connect, Socket } from 'node:net';
import { checkOption, VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import type { NetBackend, NetBackendClient, NetBackendSetup } from '../net/backend.ts';
import { VIRTIO_NET_F_GUEST_CSUM } from '../net/constants.ts';
import type { ReceiveBuffers } from '../net/receive-buffers.ts';
import type { TransmitBatch } from '../net/transmit-batch.ts';
import { loadHost } from './load.ts';
import { FrameSocket } from './net-socket.ts';

/** What passt takes at most. */
const MAX_MTU = 65520;
/** Few packets for much, and enough of them for a TCP window: with larger ones acknowledgements come late. */
const DEFAULT_MTU = 16384;
/** Bytes of passt's messages that are kept for errors. */
const KEPT_MESSAGES = 4096;
const START_TIMEOUT = 10_000;
/** Bytes that passt may send ahead: more than a guest's TCP window. */
const SOCKET_BUFFER = 8 * 1024 * 1024;

/** An ARP request (RFC 826) that passt answers as soon as it works; the guest's first frame replaces its sender. */
const PROBE = Uint8Array.from([
  ...[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6],
  ...[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 101, 0, 0, 0, 0, 0, 0, 192, 0, 2, 100],
]);

/** A port of the host that leads to one of the guest. */
export interface PortForward {
  /** 1 to 65535. */
  readonly host: number;
  /** Default: the same. */
  readonly guest?: number;
  /** Address of the host to listen at. Default: all. */
  readonly address?: string;
}

export interface PasstOptions {
  readonly tcpPorts?: readonly PortForward[];
  readonly udpPorts?: readonly PortForward[];
  /** Addresses that the guest gets, one of IPv4 and one of IPv6 at most. Default: the host's own. */
  readonly addresses?: readonly string[];
  /** IPv4 netmask, dotted or its number of bits. */
  readonly netmask?: string;
  /** Gateways that the guest is told, one of IPv4 and one of IPv6 at most. */
  readonly gateways?: readonly string[];
  /** Name servers that the guest is told. Default: the host's. */
  readonly dns?: readonly string[];
  /** Most bytes of an IP packet, 1280 to 65520. Default 16384. */
  readonly mtu?: number;
  /**
   * Whether the guest reaches servers on the host's loopback addresses, at the address of the gateway. Default
   * false.
   */
  readonly hostLoopback?: boolean;
  /** The program. Default `passt`, looked for on the path. */
  readonly program?: string;
  /** Further arguments for it. */
  readonly extraArguments?: readonly string[];
}

/**
 * User-mode networking, without privileges on the host, by a process of passt (https://passt.top): the guest's
 * connections become the host's. The guest gets its address by DHCP, DHCPv6 or NDP.
 */
export class PasstBackend implements NetBackend, AsyncDisposable {
  readonly description: string = 'passt';
  readonly offloads: FeatureSet = FeatureSet.of(VIRTIO_NET_F_GUEST_CSUM);
  readonly maximumQueuePairs = 1;
  readonly mtu: number;
  readonly #socket: FrameSocket;
  readonly #child: ChildProcess | undefined;
  readonly #exited: Promise<unknown>;
  readonly #messages: () => string;
  #client: NetBackendClient | undefined;
  #failure: Error | undefined;

  private constructor(socket: Socket, mtu: number, process?: PasstProcess) {
    this.mtu = mtu;
    this.#child = process?.child;
    this.#exited = process?.exited ?? Promise.resolve();
    this.#messages = process?.messages ?? ((): string => '');
    this.#socket = new FrameSocket(socket, (cause) => this.#ended(cause));
  }

  /**
   * Starts passt and resolves when it works. It ends with this process, however that ends: its end of the socket
   * is all that it has.
   *
   * @throws VirtioDeviceError `INVALID_OPTION`, `NOT_FOUND` without passt, `IO_ERROR` with its message
   */
  static async start(options: PasstOptions = {}): Promise<PasstBackend> {
    const mtu = checkOption('mtu', options.mtu ?? DEFAULT_MTU, 1280, MAX_MTU);
    const process = await spawnPasst(options.program ?? 'passt', passtArguments(options, mtu));
    const backend = new PasstBackend(process.socket, mtu, process);
    try {
      await backend.#probe();
    } catch (error) {
      await backend.close();
      throw error;
    }
    return backend;
  }

  /**
   * Connects to a passt that listens, or to another peer of the same protocol (QEMU's `-netdev stream`).
   *
   * @param path of its socket
   * @throws VirtioDeviceError `INVALID_OPTION`, `NOT_FOUND`, `ACCESS_DENIED`, `IO_ERROR`
   */
  static async connect(path: string, options: { readonly mtu?: number } = {}): Promise<PasstBackend> {
    const mtu = checkOption('mtu', options.mtu ?? DEFAULT_MTU, 1280, MAX_MTU);
    const socket = await new Promise<Socket>((resolve, reject) => {
      const opening = connect(path);
      opening.once('connect', () => resolve(opening));
      opening.once('error', (cause: NodeJS.ErrnoException) => reject(connectError(path, cause)));
    });
    return new PasstBackend(socket, mtu);
  }

  /** Of the process that was started; undefined after `connect()`. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  attach(client: NetBackendClient): void {
    if (this.#client !== undefined) {
      throw new VirtioDeviceError('WRONG_STATE', `${this.description} is another device's already`);
    }
    this.#client = client;
    this.#socket.client = client;
    if (this.#failure !== undefined) client.failed(this.#failure);
  }

  configure(setup: NetBackendSetup | undefined): void {
    // What came for the guest before means nothing to the next driver.
    if (setup === undefined) this.#socket.clear();
  }

  transmit(_pair: number, batch: TransmitBatch): void {
    this.#socket.transmit(batch);
  }

  receive(_pair: number, buffers: ReceiveBuffers): boolean {
    return this.#socket.receive(buffers);
  }

  /** Resolves when the process has ended. */
  async close(): Promise<void> {
    this.#failure ??= new Error('closed');
    this.#socket.close();
    this.#ref();
    await this.#exited;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Has the event loop wait for the end of the process. */
  #ref(): void {
    this.#child?.ref();
    (this.#child?.stderr as Socket | null | undefined)?.ref();
  }

  async #probe(): Promise<void> {
    const deadline = setTimeout(() => this.#ended(new Error('it does not answer')), START_TIMEOUT);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#client = {
          readable: () => resolve(),
          writable: () => undefined,
          carrier: () => undefined,
          failed: reject,
        };
        this.#socket.client = this.#client;
        this.#socket.send(PROBE);
      });
    } catch (cause) {
      this.#ref();
      await this.#exited;
      const messages = this.#messages();
      throw new VirtioDeviceError(
        'IO_ERROR',
        `passt did not start: ${messages === '' ? String(cause) : messages}`,
        {
          cause,
        },
      );
    } finally {
      clearTimeout(deadline);
      this.#client = undefined;
    }
    this.#socket.rearm();
  }

  #ended(cause: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = cause;
    this.#socket.close();
    const messages = this.#messages();
    const error =
      messages === '' ? cause : new Error(`${cause.message}; its last messages: ${messages}`, { cause });
    this.#client?.failed(error);
  }
}

interface PasstProcess {
  readonly child: ChildProcess;
  readonly socket: Socket;
  readonly exited: Promise<unknown>;
  readonly messages: () => string;
}

async function spawnPasst(program: string, args: readonly string[]): Promise<PasstProcess> {
  // Descriptor 3 is one end of a socket pair: no path, nothing to wait for, and it closes with this process.
  // passt drops what the socket's buffer does not take, and Node's own pairs have a small one.
  const pair = loadHost()?.socketPair(SOCKET_BUFFER);
  const ours = pair === undefined ? undefined : new Socket({ fd: pair[0] });
  let child: ChildProcess;
  try {
    child = spawn(program, ['--foreground', '--fd', '3', ...args], {
      stdio: ['ignore', 'ignore', 'pipe', pair?.[1] ?? 'pipe'],
    });
  } catch (cause) {
    ours?.destroy();
    throw cause;
  } finally {
    if (pair !== undefined) closeSync(pair[1]);
  }
  const socket = ours ?? (child.stdio[3] as Socket);
  let text = '';
  child.stderr?.on('data', (bytes: Buffer) => (text = (text + bytes.toString()).slice(-KEPT_MESSAGES)));
  const exited = new Promise((resolve) => child.once('close', resolve));
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause: NodeJS.ErrnoException) => {
      socket.destroy();
      reject(spawnError(program, cause));
    });
  });
  child.on('error', () => undefined);
  // The process must not keep this one alive; the socket says what happens.
  child.unref();
  socket.unref();
  (child.stderr as Socket | null)?.unref();
  return { child, socket, exited, messages: () => readable(text) };
}

/** passt's messages without those about the system log, which a container has not. */
function readable(text: string): string {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.includes('syslog') && !line.startsWith("Don't run as root"))
    .join('; ');
}

function passtArguments(options: PasstOptions, mtu: number): string[] {
  const args = ['--quiet', '--mtu', String(mtu)];
  const add = (flag: string, values: readonly string[] | undefined): void => {
    for (const value of values ?? []) {
      if (!/^[0-9a-f.:]+$/i.test(value)) {
        throw new VirtioDeviceError('INVALID_OPTION', `${flag.slice(2)}: "${value}" is no address`);
      }
      args.push(flag, value);
    }
  };
  add('--address', options.addresses);
  add('--netmask', options.netmask === undefined ? [] : [options.netmask]);
  add('--gateway', options.gateways);
  add('--dns', options.dns);
  if (options.hostLoopback !== true) args.push('--no-map-gw');
  for (const [flag, forwards] of [
    ['--tcp-ports', options.tcpPorts],
    ['--udp-ports', options.udpPorts],
  ] as const) {
    for (const forward of forwards ?? []) args.push(flag, portSpecification(forward));
  }
  return [...args, ...(options.extraArguments ?? [])];
}

function portSpecification({ host, guest = host, address }: PortForward): string {
  checkOption('host port', host, 1, 65535);
  checkOption('guest port', guest, 1, 65535);
  if (address !== undefined && !/^[0-9a-f.:]+$/i.test(address)) {
    throw new VirtioDeviceError('INVALID_OPTION', `"${address}" is no address of the host`);
  }
  return `${address === undefined ? '' : `${address}/`}${host}:${guest}`;
}

function spawnError(program: string, cause: NodeJS.ErrnoException): VirtioDeviceError {
  if (cause.code === 'ENOENT') {
    return new VirtioDeviceError(
      'NOT_FOUND',
      `user-mode networking needs passt, and there is no "${program}": install it (Debian, Fedora: package passt)`,
      { cause },
    );
  }
  return new VirtioDeviceError('IO_ERROR', `cannot start ${program}: ${cause.message}`, { cause });
}

function connectError(path: string, cause: NodeJS.ErrnoException): VirtioDeviceError {
  switch (cause.code) {
    case 'ENOENT':
      return new VirtioDeviceError(
        'NOT_FOUND',
        `there is no socket ${path}: start passt with --socket ${path}`,
        {
          cause,
        },
      );
    case 'ECONNREFUSED':
      return new VirtioDeviceError(
        'NOT_FOUND',
        `nobody listens at ${path}: start passt with --socket ${path}`,
        {
          cause,
        },
      );
    case 'EACCES':
      return new VirtioDeviceError('ACCESS_DENIED', `this user may not connect to ${path}`, { cause });
    default:
      return new VirtioDeviceError('IO_ERROR', `${path}: ${cause.message}`, { cause });
  }
}
