import { EventEmitter, on } from 'node:events';
import type { VsockType } from '../vsock/connection.ts';
import type { VsockConnectOptions, VsockListener } from '../vsock/options.ts';
import type { VirtioVsock } from '../vsock/vsock.ts';
import { VsockForwarder } from './vsock-forwarder.ts';
import type { VsockForwarderOptions } from './vsock-forwarder.ts';
import { VsockStream } from './vsock-stream.ts';
import type { VsockStreamOptions } from './vsock-stream.ts';

export interface VsockServerOptions extends VsockStreamOptions {
  /** Default `stream`. */
  readonly type?: VsockType;
}

interface ServerEvents {
  connection: [VsockStream];
  close: [];
}

/**
 * A port of the host that programs of the guest connect to. Each connection comes as the event `connection`, or by
 * iterating; while nobody listens to the event, connections are refused.
 */
export class VsockServer extends EventEmitter<ServerEvents> implements Disposable {
  readonly port: number;
  readonly type: VsockType;
  readonly #listener: VsockListener;
  #closed = false;

  /** Use {@link VsockHost.listen}. */
  constructor(device: VirtioVsock, port: number, options: VsockServerOptions) {
    super();
    this.#listener = device.listen(
      port,
      (connection) => {
        if (this.listenerCount('connection') === 0) {
          connection.destroy();
          return;
        }
        const stream = new VsockStream(connection, options);
        // In a step of its own, so that what a listener throws is an uncaught exception.
        queueMicrotask(() => this.emit('connection', stream));
      },
      options.type === undefined ? {} : { type: options.type },
    );
    this.port = port;
    this.type = this.#listener.type;
  }

  /** Takes no more connections; those that are there go on. More than one call is harmless. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener[Symbol.dispose]();
    this.emit('close');
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Connections from now on, until the server is closed; leaving the loop closes it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<VsockStream, void, undefined> {
    try {
      if (this.#closed) return;
      for await (const [stream] of on(this, 'connection', { close: ['close'] }) as AsyncIterable<
        [VsockStream]
      >) {
        yield stream;
      }
    } finally {
      this.close();
    }
  }
}

export interface VsockHostConnectOptions extends VsockStreamOptions, Omit<VsockConnectOptions, 'signal'> {
  /** Ends the attempt; not the connection once it is there. */
  readonly signal?: AbortSignal;
}

/** The host's side of a socket device as Node.js has sockets. */
export class VsockHost {
  readonly device: VirtioVsock;

  constructor(device: VirtioVsock) {
    this.device = device;
  }

  /**
   * Connects to a port of the guest.
   *
   * @throws (rejects with) VirtioDeviceError `CONNECTION_REFUSED`, `TIMED_OUT`, `ABORTED`, `CONNECTION_RESET`,
   *   `TOO_MANY_CONNECTIONS`, `INVALID_ARGUMENT`
   */
  async connect(port: number, options: VsockHostConnectOptions = {}): Promise<VsockStream> {
    return new VsockStream(await this.device.connect(port, options), options);
  }

  /**
   * Takes connections of the guest to a port; VMADDR_PORT_ANY for all ports that nobody else listens on.
   *
   * @throws VirtioDeviceError `ADDRESS_IN_USE`, `INVALID_ARGUMENT`
   */
  listen(port: number, options: VsockServerOptions = {}): VsockServer {
    return new VsockServer(this.device, port, options);
  }

  /**
   * Lets other programs of the host connect, through Unix sockets.
   *
   * @throws (rejects with) VirtioDeviceError `ADDRESS_IN_USE`, `IO_ERROR`
   */
  async forward(path: string, options: VsockForwarderOptions = {}): Promise<VsockForwarder> {
    return VsockForwarder.start(this.device, path, options);
  }
}
