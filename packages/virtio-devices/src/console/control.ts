import type { DescriptorChain } from '@vmm/virtio-queue';
import type { ActivateContext } from '../device.ts';
import {
  CONTROL_RECEIVEQ,
  VIRTIO_CONSOLE_CONSOLE_PORT,
  VIRTIO_CONSOLE_CONTROL_SIZE,
  VIRTIO_CONSOLE_DEVICE_READY,
  VIRTIO_CONSOLE_PORT_ADD,
  VIRTIO_CONSOLE_PORT_NAME,
  VIRTIO_CONSOLE_PORT_OPEN,
  VIRTIO_CONSOLE_PORT_READY,
  VIRTIO_CONSOLE_RESIZE,
} from './constants.ts';
import type { Port } from './port.ts';

/** Size of a console in characters, 0 to 65535 each; 0 is unknown. */
export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

/**
 * The control channel, VIRTIO 1.3 §5.3.6.2. What the driver has to be told is state, not a list of
 * messages: it needs no room, however slowly the driver takes it.
 */
export class ControlChannel {
  readonly #ports: readonly Port[];
  readonly #size: () => ConsoleSize;
  readonly #rowsFirst: boolean;
  readonly #message = new DataView(new ArrayBuffer(VIRTIO_CONSOLE_CONTROL_SIZE + 4));

  constructor(ports: readonly Port[], size: () => ConsoleSize, rowsFirst: boolean) {
    this.#ports = ports;
    this.#size = size;
    this.#rowsFirst = rowsFirst;
  }

  /**
   * Takes a message of the driver.
   *
   * @returns the port whose guest side was opened or closed
   */
  receive(chain: DescriptorChain): Port | undefined {
    if (chain.readableBytes < VIRTIO_CONSOLE_CONTROL_SIZE) return undefined;
    const { reader } = chain;
    const port = this.#ports[reader.readUint32()];
    const event = reader.readUint16();
    const value = reader.readUint16();
    if (event === VIRTIO_CONSOLE_DEVICE_READY) {
      if (value === 1) for (const each of this.#ports) each.due.add ||= !each.added;
      return undefined;
    }
    if (port?.added !== true) return undefined;
    if (event === VIRTIO_CONSOLE_PORT_READY) {
      port.ready = value === 1;
      port.due.console = port.ready && port.id === 0;
      port.due.name = port.ready && port.name !== undefined;
      port.due.size = port.ready && port.id === 0;
      return undefined;
    }
    if (event !== VIRTIO_CONSOLE_PORT_OPEN) return undefined;
    port.setGuestOpen(value === 1);
    return port;
  }

  /** Sends what is due, as far as the driver lent buffers. */
  flush(context: ActivateContext): void {
    const queue = context.queues[CONTROL_RECEIVEQ];
    if (queue === undefined) return;
    for (const port of this.#ports) {
      for (let event = nextEvent(port); event !== undefined; event = nextEvent(port)) {
        const chain = queue.pop();
        if (chain === null) {
          if (queue.enableNotifications()) continue;
          if (queue.needsInterrupt()) context.interrupt.queue(CONTROL_RECEIVEQ);
          return;
        }
        const length = this.#write(chain, port, event);
        if (length === 0) {
          context.interrupt.needsReset('a control receive buffer is too small for a message (§5.3.6.2)');
          return;
        }
        queue.addUsed(chain, length);
        sent(port, event);
      }
    }
    queue.disableNotifications();
    if (queue.needsInterrupt()) context.interrupt.queue(CONTROL_RECEIVEQ);
  }

  /** @returns bytes written, 0 when the chain has no room */
  #write(chain: DescriptorChain, port: Port, event: number): number {
    const view = this.#message;
    let length = VIRTIO_CONSOLE_CONTROL_SIZE;
    view.setUint32(0, port.id, true);
    view.setUint16(4, event, true);
    view.setUint16(6, event === VIRTIO_CONSOLE_PORT_OPEN && !port.shouldAnnounceOpen ? 0 : 1, true);
    if (event === VIRTIO_CONSOLE_RESIZE) {
      const { columns, rows } = this.#size();
      view.setUint16(8, this.#rowsFirst ? rows : columns, true);
      view.setUint16(10, this.#rowsFirst ? columns : rows, true);
      length += 4;
    }
    const name = event === VIRTIO_CONSOLE_PORT_NAME ? (port.name ?? '') : '';
    const total = length + name.length;
    const { writer } = chain;
    if (writer.remaining < total) return 0;
    writer.write(new Uint8Array(view.buffer, 0, length));
    for (let i = 0; i < name.length; i++) writer.writeUint8(name.charCodeAt(i));
    return total;
  }
}

function nextEvent(port: Port): number | undefined {
  if (port.due.add) return VIRTIO_CONSOLE_PORT_ADD;
  if (!port.ready) return undefined;
  if (port.due.console) return VIRTIO_CONSOLE_CONSOLE_PORT;
  if (port.due.name) return VIRTIO_CONSOLE_PORT_NAME;
  if (port.announcedOpen !== port.shouldAnnounceOpen) return VIRTIO_CONSOLE_PORT_OPEN;
  if (port.due.size) return VIRTIO_CONSOLE_RESIZE;
  return undefined;
}

function sent(port: Port, event: number): void {
  switch (event) {
    case VIRTIO_CONSOLE_PORT_ADD:
      port.due.add = false;
      port.added = true;
      return;
    case VIRTIO_CONSOLE_CONSOLE_PORT:
      port.due.console = false;
      return;
    case VIRTIO_CONSOLE_PORT_NAME:
      port.due.name = false;
      return;
    case VIRTIO_CONSOLE_RESIZE:
      port.due.size = false;
      return;
    case VIRTIO_CONSOLE_PORT_OPEN:
      port.announcedOpen = port.shouldAnnounceOpen;
      if (!port.announcedOpen) port.finishClose();
      return;
  }
}
