/** Feature bits of the console device, VIRTIO 1.3 §5.3.3. */
export const VIRTIO_CONSOLE_F_SIZE = 0;
export const VIRTIO_CONSOLE_F_MULTIPORT = 1;
export const VIRTIO_CONSOLE_F_EMERG_WRITE = 2;

/** Events of control messages, §5.3.6.2. */
export const VIRTIO_CONSOLE_DEVICE_READY = 0;
export const VIRTIO_CONSOLE_PORT_ADD = 1;
export const VIRTIO_CONSOLE_PORT_REMOVE = 2;
export const VIRTIO_CONSOLE_PORT_READY = 3;
export const VIRTIO_CONSOLE_CONSOLE_PORT = 4;
export const VIRTIO_CONSOLE_RESIZE = 5;
export const VIRTIO_CONSOLE_PORT_OPEN = 6;
export const VIRTIO_CONSOLE_PORT_NAME = 7;

/** Bytes of `struct virtio_console_control`. */
export const VIRTIO_CONSOLE_CONTROL_SIZE = 8;

/** Queues of the control channel, §5.3.2. */
export const CONTROL_RECEIVEQ = 2;
export const CONTROL_TRANSMITQ = 3;

/** Receive queue of a port, §5.3.2. */
export function receiveQueue(port: number): number {
  return port === 0 ? 0 : 2 + 2 * port;
}

/** Transmit queue of a port, §5.3.2. */
export function transmitQueue(port: number): number {
  return receiveQueue(port) + 1;
}

/** The port that a queue belongs to; undefined for the control queues. */
export function portOfQueue(queue: number): number | undefined {
  if (queue < 2) return 0;
  return queue < 4 ? undefined : (queue - 2) >>> 1;
}
