import { VirtioDeviceError } from '../errors.ts';
import type { VsockType } from './connection.ts';
import { VMADDR_PORT_ANY } from './constants.ts';
import { checkPort } from './failures.ts';
import type { VsockHandler, VsockListener, VsockListenOptions } from './options.ts';

/** Who takes connections to a port of the host. */
export interface Listener {
  readonly type: VsockType;
  readonly handler: VsockHandler;
}

/** The ports of the host that are listened on. */
export class Listeners {
  readonly #byPort = new Map<number, Listener>();

  /** @throws VirtioDeviceError `ADDRESS_IN_USE`, `INVALID_ARGUMENT` */
  add(port: number, handler: VsockHandler, options: VsockListenOptions): VsockListener {
    checkPort(port, VMADDR_PORT_ANY);
    if (this.#byPort.has(port)) {
      throw new VirtioDeviceError('ADDRESS_IN_USE', `vsock port ${port} is listened on already`);
    }
    const listener: Listener = { type: options.type ?? 'stream', handler };
    this.#byPort.set(port, listener);
    return {
      port,
      type: listener.type,
      [Symbol.dispose]: () => {
        if (this.#byPort.get(port) === listener) this.#byPort.delete(port);
      },
    };
  }

  /** The port's own, or the one for all ports. */
  find(port: number): Listener | undefined {
    return this.#byPort.get(port) ?? this.#byPort.get(VMADDR_PORT_ANY);
  }
}
