import { MockMmioDriver } from '../mock/index.ts';
import { VirtioConsole } from './console.ts';
import type { VirtioConsoleOptions } from './console.ts';
import {
  CONTROL_RECEIVEQ,
  CONTROL_TRANSMITQ,
  receiveQueue,
  transmitQueue,
  VIRTIO_CONSOLE_CONSOLE_PORT as CONSOLE_PORT,
  VIRTIO_CONSOLE_DEVICE_READY as DEVICE_READY,
  VIRTIO_CONSOLE_PORT_ADD as PORT_ADD,
  VIRTIO_CONSOLE_PORT_NAME as PORT_NAME,
  VIRTIO_CONSOLE_PORT_OPEN as PORT_OPEN,
  VIRTIO_CONSOLE_PORT_READY as PORT_READY,
  VIRTIO_CONSOLE_RESIZE as RESIZE,
} from './constants.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

type Message = readonly [port: number, event: number, value: number, rest?: string];

/** The driver of a console with F_MULTIPORT, as Linux does it: four receive buffers for each port. */
class MultiportDriver {
  readonly device: VirtioConsole;
  readonly driver: MockMmioDriver;

  constructor(options: VirtioConsoleOptions) {
    this.device = new VirtioConsole(options);
    this.driver = new MockMmioDriver(this.device);
  }

  /** Brings the device up to where every port is ready; answers the messages that came. */
  start(): Message[] {
    this.driver.start();
    this.lendControl(16);
    this.send(0xffff_ffff, DEVICE_READY, 1);
    const messages = this.messages();
    for (const [port, event] of messages) if (event === PORT_ADD) this.send(port, PORT_READY, 1);
    for (let port = 0; port < this.device.ports.length; port++) this.lend(port, 4);
    return [...messages, ...this.messages()];
  }

  lendControl(count: number, size = 64): void {
    for (let i = 0; i < count; i++) this.driver.rings[CONTROL_RECEIVEQ]!.add([{ writable: size }]);
    this.driver.kick(CONTROL_RECEIVEQ);
  }

  /** The control messages that came, whose buffers go back. */
  messages(): Message[] {
    const used = this.driver.rings[CONTROL_RECEIVEQ]!.collect();
    this.lendControl(used.length);
    return used.map(({ written }) => {
      const view = new DataView(written.buffer, written.byteOffset);
      const head = [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true)] as const;
      return written.length > 8 ? [...head, decode(written.subarray(8))] : head;
    });
  }

  send(port: number, event: number, value: number): void {
    const message = new DataView(new ArrayBuffer(8));
    message.setUint32(0, port, true);
    message.setUint16(4, event, true);
    message.setUint16(6, value, true);
    this.driver.rings[CONTROL_TRANSMITQ]!.add([{ readable: new Uint8Array(message.buffer) }]);
    this.driver.kick(CONTROL_TRANSMITQ);
    this.driver.rings[CONTROL_TRANSMITQ]!.collect();
  }

  lend(port: number, count: number, size = 4): void {
    for (let i = 0; i < count; i++) this.driver.rings[receiveQueue(port)]!.add([{ writable: size }]);
    this.driver.kick(receiveQueue(port));
  }

  /** What a process reads from a port at once; the buffers go back as Linux does it. */
  read(port: number): string {
    const used = this.driver.rings[receiveQueue(port)]!.collect();
    this.lend(port, used.length);
    return used.map(({ written }) => decode(written)).join('');
  }

  write(port: number, text: string): void {
    this.driver.rings[transmitQueue(port)]!.add([{ readable: text }]);
    this.driver.kick(transmitQueue(port));
  }
}

describe('bringing ports up, VIRTIO 1.3 §5.3.6.2', () => {
  it('adds every port, then says what each is', () => {
    const guest = new MultiportDriver({
      size: { columns: 0x4241, rows: 0x4443 },
      ports: [{ name: 'org.example.agent' }, { open: false }],
    });
    expect(guest.start()).toEqual([
      [0, PORT_ADD, 1],
      [1, PORT_ADD, 1],
      [2, PORT_ADD, 1],
      [0, CONSOLE_PORT, 1],
      [0, PORT_OPEN, 1],
      [0, RESIZE, 1, 'ABCD'],
      [1, PORT_NAME, 1, 'org.example.agent'],
      [1, PORT_OPEN, 1],
    ]);
    expect(guest.driver.errors).toEqual([]);
  });

  it('sends what is due when the driver lends buffers late, one at a time', () => {
    const guest = new MultiportDriver({ ports: [{ name: 'a' }] });
    guest.driver.start();
    guest.send(0, DEVICE_READY, 1);
    const seen: Message[] = [];
    for (let i = 0; i < 2; i++) {
      guest.lendControl(1);
      seen.push(
        ...guest.driver.rings[CONTROL_RECEIVEQ]!.collect().map(({ written }): Message => [
          written[0]!,
          written[4]!,
          written[6]!,
        ]),
      );
    }
    expect(seen).toEqual([
      [0, PORT_ADD, 1],
      [1, PORT_ADD, 1],
    ]);
  });

  it('does not grow with a driver that asks again and again and takes nothing', () => {
    const guest = new MultiportDriver({ ports: [{ name: 'a' }] });
    guest.driver.start();
    for (let i = 0; i < 1000; i++) guest.send(0, DEVICE_READY, 1);
    guest.lendControl(16);
    expect(guest.messages()).toHaveLength(2);
  });

  it('adds no port twice', () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(0, DEVICE_READY, 1);
    expect(guest.messages()).toEqual([]);
  });

  it('needs a reset when a control buffer is too small for a message', () => {
    const guest = new MultiportDriver({ ports: [] });
    guest.driver.start();
    guest.lendControl(1, 7);
    guest.send(0, DEVICE_READY, 1);
    expect(guest.driver.needsReset).toBe(true);
    expect(guest.driver.errors[0]!.message).toContain('control receive buffer is too small');
  });

  it('ignores messages that are short, of unknown ports or of unknown events', () => {
    const guest = new MultiportDriver({ ports: [] });
    guest.start();
    guest.driver.rings[CONTROL_TRANSMITQ]!.add([{ readable: 'short' }]);
    guest.driver.kick(CONTROL_TRANSMITQ);
    guest.send(7, PORT_OPEN, 1);
    guest.send(0, 99, 1);
    expect(guest.messages()).toEqual([]);
    expect(guest.driver.needsReset).toBe(false);
  });
});

describe('a generic port', () => {
  it('tells the host when the guest opens and closes it', () => {
    const changes: boolean[] = [];
    const guest = new MultiportDriver({ ports: [{ onGuestOpen: (open) => changes.push(open) }] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    guest.send(1, PORT_OPEN, 0);
    expect(changes).toEqual([true, false]);
  });

  it('keeps input until the guest has opened it', () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    const port = guest.device.ports[1]!;
    port.write(encode('hi'));
    expect(guest.read(1)).toBe('');
    guest.send(1, PORT_OPEN, 1);
    expect(guest.read(1)).toBe('hi');
  });

  it('carries bytes in both directions', () => {
    const output: string[] = [];
    const guest = new MultiportDriver({ ports: [{ onOutput: (bytes) => void output.push(decode(bytes)) }] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    guest.write(1, 'request');
    guest.device.ports[1]!.write(encode('reply'));
    expect(output).toEqual(['request']);
    expect(guest.read(1)).toBe('reply');
  });

  it('does not let one port that waits hold up another', () => {
    const output: string[] = [];
    const guest = new MultiportDriver({
      ports: [{ onOutput: () => false }, { onOutput: (bytes) => void output.push(decode(bytes)) }],
    });
    guest.start();
    guest.write(1, 'a');
    guest.write(1, 'b');
    guest.write(2, 'c');
    expect(output).toEqual(['c']);
    expect(guest.driver.rings[transmitQueue(1)]!.pendingChains).toBe(2);
  });
});

describe('closing the host side', () => {
  it('tells the guest only after it has read everything', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    const port = guest.device.ports[1]!;
    port.write(encode('0123456789abcdefghij'));
    let closed = false;
    const closing = port.close().then(() => (closed = true));
    expect(guest.messages()).toEqual([]);
    expect(guest.read(1)).toBe('0123456789abcdef');
    expect(guest.messages()).toEqual([]);
    await Promise.resolve();
    expect(closed).toBe(false);
    expect(guest.read(1)).toBe('ghij');
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 0]]);
    await closing;
    expect(port.hostOpen).toBe(false);
  });

  it('tells it at once when nothing waits, and can be undone', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    const port = guest.device.ports[1]!;
    await port.close();
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 0]]);
    expect(() => port.write(encode('x'))).toThrow(expect.objectContaining({ code: 'PORT_CLOSED' }) as Error);
    port.open();
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 1]]);
    port.write(encode('x'));
    expect(guest.read(1)).toBe('x');
  });

  it('waits for the guest to open the port and read, when something was written before', () => {
    const guest = new MultiportDriver({ ports: [{}] });
    const port = guest.device.ports[1]!;
    port.write(encode('data'));
    void port.close();
    expect(guest.start()).toContainEqual([1, PORT_OPEN, 1]);
    guest.send(1, PORT_OPEN, 1);
    expect(guest.messages()).toEqual([]);
    expect(guest.read(1)).toBe('data');
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 0]]);
  });

  it('ends when the guest closes its side without reading what it had got', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    const port = guest.device.ports[1]!;
    port.write(encode('data'));
    const closing = port.close();
    guest.send(1, PORT_OPEN, 0);
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 0]]);
    await closing;
  });

  it('does not wait when told to discard', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    const port = guest.device.ports[1]!;
    port.write(new Uint8Array(1000));
    const closing = port.close({ discard: true });
    expect(guest.messages()).toEqual([[1, PORT_OPEN, 0]]);
    await closing;
    expect(port.bufferedBytes).toBe(0);
  });

  it('ends when the driver is gone', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    const port = guest.device.ports[1]!;
    port.write(encode('data'));
    const closing = port.close();
    expect(() => port.open()).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }) as Error);
    guest.driver.status = 0;
    await closing;
    expect(port.hostOpen).toBe(false);
  });

  it('of a port that no driver knows is done at once', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    const port = guest.device.ports[1]!;
    await port.close();
    expect(guest.start().filter(([id, event]) => id === 1 && event === PORT_OPEN)).toEqual([]);
  });

  it('of a restored port goes on', async () => {
    const guest = new MultiportDriver({ ports: [{}] });
    guest.start();
    guest.send(1, PORT_OPEN, 1);
    guest.device.ports[1]!.write(encode('data'));
    void guest.device.ports[1]!.close();
    await guest.driver.transport.pause();
    const device = new VirtioConsole({ ports: [{}] });
    const other = new MockMmioDriver(device, { memory: guest.driver.memory });
    other.transport.restore(structuredClone(guest.driver.transport.save()));
    other.transport.resume();
    expect(device.ports[1]!.hostOpen).toBe(false);
    expect(guest.driver.rings[receiveQueue(1)]!.collect()).toHaveLength(1);
    guest.driver.rings[receiveQueue(1)]!.send([{ writable: 4 }]);
    other.write(0x50, receiveQueue(1));
    const messages = guest.driver.rings[CONTROL_RECEIVEQ]!.collect();
    expect(messages.map(({ written }) => [written[0], written[4], written[6]])).toEqual([[1, PORT_OPEN, 0]]);
  });
});

describe('a new size', () => {
  it('is sent to the console port; several become the last one', () => {
    const guest = new MultiportDriver({ ports: [] });
    guest.start();
    guest.device.resize({ columns: 0x3130, rows: 0x3332 });
    expect(guest.messages()).toEqual([[0, RESIZE, 1, '0123']]);
  });

  it('is sent rows first for a Linux before 6.15', () => {
    const guest = new MultiportDriver({ ports: [], resizeOrder: 'rows-columns' });
    guest.start();
    guest.device.resize({ columns: 0x3130, rows: 0x3332 });
    expect(guest.messages()).toEqual([[0, RESIZE, 1, '2301']]);
  });
});
