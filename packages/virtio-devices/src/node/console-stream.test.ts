import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { VirtioConsole } from '../index.ts';
import { MockMmioDriver } from '../mock/index.ts';
import { ConsolePortStream } from './console-stream.ts';

/** A console without control channel: receive queue 0, transmit queue 1. */
function rig(): { device: VirtioConsole; stream: ConsolePortStream; driver: MockMmioDriver } {
  const device = new VirtioConsole({ inputLimit: 4 });
  const stream = new ConsolePortStream(device.console);
  return { device, stream, driver: new MockMmioDriver(device).start() };
}

describe('a console port as a stream', () => {
  it('reads what the guest writes, and what is not read stays in the guest', async () => {
    const { stream, driver } = rig();
    const ring = driver.rings[1]!;
    for (let i = 0; i < 3; i++) ring.add([{ readable: new Uint8Array(40_000).fill(65 + i) }]);
    driver.kick(1);
    expect(ring.collect().length).toBeLessThan(3);
    let total = 0;
    stream.on('data', (bytes: Uint8Array) => (total += bytes.length));
    while (total < 120_000) await new Promise((resolve) => setImmediate(resolve));
    ring.collect();
    expect(ring.pendingChains).toBe(0);
  });

  it('writes what the guest reads, at its pace', async () => {
    const { stream, driver } = rig();
    expect(stream.write('12345678')).toBe(true);
    let written = false;
    stream.write('9', () => (written = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(false);
    for (let i = 0; i < 3; i++) driver.rings[0]!.add([{ writable: 6 }]);
    driver.kick(0);
    while (!written) await new Promise((resolve) => setImmediate(resolve));
    const used = driver.rings[0]!.collect();
    expect(used.map(({ written: bytes }) => new TextDecoder().decode(bytes)).join('')).toBe('123456789');
    stream.end();
    // The guest has read everything when it lends its buffers again.
    for (let i = 0; i < 3; i++) driver.rings[0]!.add([{ writable: 6 }]);
    driver.kick(0);
    await once(stream, 'finish');
  });

  it('tells that the guest opened its side, and lets the guest go on when it is destroyed', async () => {
    const device = new VirtioConsole();
    const stream = new ConsolePortStream(device.console);
    const opened: boolean[] = [];
    stream.on('guestOpen', (open: boolean) => opened.push(open));
    const driver = new MockMmioDriver(device).start();
    expect(opened).toEqual([true]);
    driver.rings[1]!.add([{ readable: new Uint8Array(100_000) }]);
    driver.rings[1]!.add([{ readable: 'more' }]);
    driver.kick(1);
    stream.destroy();
    await once(stream, 'close');
    driver.write(0x50, 1);
    expect(driver.rings[1]!.collect()).toHaveLength(2);
    expect(device.console.hostOpen).toBe(false);
  });
});

describe('emergency writes (VIRTIO 1.3 §5.3.4)', () => {
  it('reach the sink without queues', async () => {
    const device = new VirtioConsole();
    const stream = new ConsolePortStream(device.console);
    const driver = new MockMmioDriver(device);
    driver.negotiate();
    for (const character of 'panic') driver.transport.write(0x100 + 8, 4, character.charCodeAt(0));
    stream.push(null);
    expect(await text(stream)).toBe('panic');
  });
});
