import { jest } from '@jest/globals';
import fc from 'fast-check';
import { MockMmioDriver } from '../mock/index.ts';
import type { MockMmioDriverOptions } from '../mock/index.ts';
import { FeatureSet } from '../features.ts';
import { VirtioConsole } from './console.ts';
import type { VirtioConsoleOptions } from './console.ts';
import { VIRTIO_CONSOLE_F_MULTIPORT } from './constants.ts';

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** A driver of a console without control channel: receive queue 0, transmit queue 1. */
function plain(
  options: VirtioConsoleOptions = {},
  driverOptions?: MockMmioDriverOptions,
): { device: VirtioConsole; driver: MockMmioDriver; output: string[] } {
  const output: string[] = [];
  const device = new VirtioConsole({
    ...options,
    console: { onOutput: (bytes) => void output.push(decode(bytes)), ...options.console },
  });
  return { device, driver: new MockMmioDriver(device, driverOptions), output };
}

function received(driver: MockMmioDriver, queue = 0): string {
  return driver.rings[queue]!.collect()
    .map((used) => decode(used.written))
    .join('');
}

describe('console output', () => {
  it('reaches the sink in order, and the buffers go back', () => {
    const { driver, output } = plain();
    driver.start();
    driver.rings[1]!.add([{ readable: 'Booting' }, { readable: ' Linux' }]);
    driver.rings[1]!.add([{ readable: '\n' }]);
    driver.kick(1);
    expect(output.join('')).toBe('Booting Linux\n');
    expect(driver.rings[1]!.collect()).toHaveLength(2);
  });

  it('comes as a copy that the guest cannot change afterwards', () => {
    const chunks: Uint8Array[] = [];
    const { driver } = plain({ console: { onOutput: (bytes) => chunks.push(bytes) } });
    driver.start();
    driver.rings[1]!.add([{ readable: 'abc' }]);
    driver.kick(1);
    driver.memory.fill(0x8000_0000, 8 * 1024 * 1024, 0);
    expect(decode(chunks[0]!)).toBe('abc');
  });

  it('stays in the guest while the sink waits, and goes on when its promise resolves', async () => {
    let release: () => void = () => undefined;
    const seen: string[] = [];
    const { driver } = plain({
      console: {
        onOutput: (bytes) => {
          seen.push(decode(bytes));
          return new Promise<void>((resolve) => {
            release = resolve;
          });
        },
      },
    });
    driver.start();
    const ring = driver.rings[1]!;
    for (const text of ['one', 'two', 'three']) ring.add([{ readable: text }]);
    driver.kick(1);
    driver.write(0x50, 1);
    expect(seen).toEqual(['one']);
    expect(ring.collect()).toHaveLength(1);
    release();
    await Promise.resolve();
    await Promise.resolve();
    expect(seen).toEqual(['one', 'two']);
    expect(ring.pendingChains).toBe(2);
  });

  it('stays in the guest after the sink answered false, until resumeOutput()', () => {
    const seen: string[] = [];
    const { device, driver } = plain({
      console: { onOutput: (bytes) => seen.push(decode(bytes)) < 0 },
    });
    driver.start();
    driver.rings[1]!.add([{ readable: 'a' }]);
    driver.rings[1]!.add([{ readable: 'b' }]);
    driver.kick(1);
    expect(seen).toEqual(['a']);
    device.console.resumeOutput();
    expect(seen).toEqual(['a', 'b']);
  });

  it('of one huge buffer comes in pieces over several turns', () => {
    const tasks: (() => void)[] = [];
    const sizes: number[] = [];
    const { driver } = plain(
      { console: { onOutput: (bytes) => sizes.push(bytes.length) } },
      { transport: { defer: (task) => tasks.push(task) } },
    );
    driver.start();
    const size = 1024 * 1024;
    driver.rings[1]!.send([{ readable: new Uint8Array(size) }]);
    driver.write(0x50, 1);
    expect(sizes).toEqual([65536, 65536, 65536, 65536]);
    for (const task of tasks) task();
    expect(sizes.reduce((sum, each) => sum + each)).toBe(size);
    expect(driver.rings[1]!.collect()).toHaveLength(1);
  });

  it('that the guest had announced is served before a reset takes effect', () => {
    let total = 0;
    const { driver } = plain(
      { console: { onOutput: (bytes) => void (total += bytes.length) } },
      { transport: { defer: () => undefined } },
    );
    driver.start();
    driver.rings[1]!.add([{ readable: new Uint8Array(1024 * 1024) }]);
    driver.kick(1);
    expect(total).toBe(256 * 1024);
    driver.interrupt.take();
    // A reset waits for a limited time only.
    const clock = jest.spyOn(performance, 'now').mockReturnValue(0);
    try {
      driver.status = 0;
    } finally {
      clock.mockRestore();
    }
    expect(total).toBe(1024 * 1024);
    expect(driver.interrupt.take()).toBe(0);
  });

  it('of a sink that throws or rejects needs a reset, and says why', async () => {
    const throwing = plain({
      console: {
        onOutput: () => {
          throw new Error('disk full');
        },
      },
    });
    throwing.driver.start();
    throwing.driver.rings[1]!.add([{ readable: 'a' }]);
    throwing.driver.kick(1);
    expect(throwing.driver.needsReset).toBe(true);
    expect(throwing.driver.errors[0]!.message).toBe('console: the sink of port 0 threw: disk full');

    const rejecting = plain({ console: { onOutput: () => Promise.reject(new Error('gone')) } });
    rejecting.driver.start();
    rejecting.driver.rings[1]!.add([{ readable: 'a' }]);
    rejecting.driver.kick(1);
    await Promise.resolve();
    await Promise.resolve();
    expect(rejecting.driver.errors[0]!.message).toBe('console: the sink of port 0 rejected: gone');
  });
});

describe('console input', () => {
  it('fills the buffers that the driver lent', () => {
    const { device, driver } = plain();
    driver.start();
    for (let i = 0; i < 3; i++) driver.rings[0]!.add([{ writable: 4 }]);
    driver.kick(0);
    driver.interrupt.take();
    expect(device.console.write(encode('0123456789'))).toBe(true);
    expect(driver.rings[0]!.collect().map((used) => decode(used.written))).toEqual(['0123', '4567', '89']);
    expect(driver.interrupt.take()).toBe(1);
  });

  it('waits for buffers and asks the driver to say when there are some', () => {
    const { device, driver } = plain();
    driver.start();
    device.console.write(encode('typed ahead'));
    expect(device.console.bufferedBytes).toBe(11);
    driver.rings[0]!.add([{ writable: 5 }]);
    expect(driver.kick(0)).toBe(true);
    expect(received(driver)).toBe('typed');
    driver.rings[0]!.add([{ writable: 50 }]);
    expect(driver.kick(0)).toBe(true);
    expect(received(driver)).toBe(' ahead');
    // Nothing waits: further buffers are no news.
    driver.rings[0]!.add([{ writable: 50 }]);
    expect(driver.kick(0)).toBe(false);
  });

  it('written before the driver came is kept for it', () => {
    const { device, driver } = plain();
    device.console.write(encode('early'));
    driver.start();
    driver.rings[0]!.add([{ writable: 50 }]);
    driver.kick(0);
    expect(received(driver)).toBe('early');
  });

  it('that a driver did not take before its reset is dropped', async () => {
    const { device, driver } = plain({ inputLimit: 4 });
    driver.start();
    expect(device.console.write(encode('lost'))).toBe(false);
    const drained = device.console.drained();
    driver.start();
    await drained;
    expect(device.console.bufferedBytes).toBe(0);
  });

  it('is held back by write() answering false until drained() resolves', async () => {
    const { device, driver } = plain({ inputLimit: 8 });
    driver.start();
    expect(device.console.write(encode('1234567'))).toBe(true);
    expect(device.console.write(encode('8'))).toBe(false);
    let drained = false;
    void device.console.drained().then(() => (drained = true));
    await Promise.resolve();
    expect(drained).toBe(false);
    driver.rings[0]!.add([{ writable: 1 }]);
    driver.kick(0);
    await Promise.resolve();
    expect(drained).toBe(true);
  });

  it('copies what it is given', () => {
    const { device, driver } = plain();
    driver.start();
    const bytes = encode('abc');
    device.console.write(bytes);
    bytes.fill(0);
    driver.rings[0]!.add([{ writable: 8 }]);
    driver.kick(0);
    expect(received(driver)).toBe('abc');
  });

  it('gives empty buffers back instead of waiting in them', () => {
    const { device, driver } = plain();
    driver.start();
    device.console.write(encode('x'));
    driver.rings[0]!.add([{ readable: 'no room here' }]);
    driver.rings[0]!.add([{ writable: 1 }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect().map((used) => used.length)).toEqual([0, 1]);
  });
});

it('gives the guest what was written, whatever the sizes of writes and buffers', () => {
  const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(9000)), { maxLength: 12 });
  fc.assert(
    fc.property(sizes, sizes, (writes, buffers) => {
      const { device, driver } = plain();
      driver.start();
      const sent: number[] = [];
      const got: number[] = [];
      for (let step = 0; step < Math.max(writes.length, buffers.length); step++) {
        const bytes = Uint8Array.from({ length: writes[step] ?? 0 }, (_, index) => (index + step) & 0xff);
        sent.push(...bytes);
        device.console.write(bytes);
        const room = buffers[step];
        if (room !== undefined) driver.rings[0]!.add([{ writable: room + 1 }]);
        driver.kick(0);
        for (const { written } of driver.rings[0]!.collect()) got.push(...written);
      }
      expect(device.console.bufferedBytes).toBe(sent.length - got.length);
      expect(got.every((byte, at) => byte === sent[at])).toBe(true);
      // Input waits only when there is no buffer for it.
      if (device.console.bufferedBytes > 0) expect(driver.rings[0]!.pendingChains).toBe(0);
      expect(device.console.statistics.inputBytes).toBe(got.length);
    }),
  );
});

describe('console size, VIRTIO 1.3 §5.3.4', () => {
  it('is in the configuration space, with the number of ports', () => {
    const { driver } = plain({ size: { columns: 132, rows: 43 } });
    expect(driver.transport.read(0x100, 2)).toBe(132);
    expect(driver.transport.read(0x102, 2)).toBe(43);
    expect(driver.transport.read(0x104, 4)).toBe(1);
  });

  it('changes with a configuration interrupt and another generation', () => {
    const { device, driver } = plain();
    driver.start();
    const generation = driver.read(0xfc);
    driver.interrupt.take();
    device.resize({ columns: 100, rows: 30 });
    expect(driver.acknowledge()).toBe(2);
    expect(driver.transport.read(0x100, 4)).toBe(100 | (30 << 16));
    expect(driver.read(0xfc)).toBe(generation + 1);
    expect(device.size).toEqual({ columns: 100, rows: 30 });
  });
});

describe('state', () => {
  it('keeps input that waits, and output of which the sink had a part', async () => {
    const tasks: (() => void)[] = [];
    const first: number[] = [];
    const options: VirtioConsoleOptions = {
      console: {
        onOutput: (bytes) => {
          first.push(...bytes);
          return false;
        },
      },
    };
    const { device, driver } = plain(options, { transport: { defer: (task) => tasks.push(task) } });
    driver.start();
    const data = Uint8Array.from({ length: 150_000 }, (_, index) => index % 251);
    driver.rings[1]!.add([{ readable: data }]);
    driver.kick(1);
    expect(first).toHaveLength(65536);
    driver.rings[0]!.add([{ writable: 2 }]);
    driver.kick(0);
    device.console.write(encode('abcdef'));
    await driver.transport.pause();
    device.console.write(encode('ghi'));
    const state: unknown = structuredClone(driver.transport.save());

    const rest: number[] = [];
    const other = plain(
      { console: { onOutput: (bytes) => void rest.push(...bytes) } },
      { memory: driver.memory },
    );
    other.driver.transport.restore(state);
    other.driver.rings.push(...driver.rings);
    other.driver.transport.resume();
    expect([...first, ...rest].every((byte, at) => byte === data[at])).toBe(true);
    expect(first.length + rest.length).toBe(data.length);
    expect(received(other.driver)).toBe('ab');
    other.driver.rings[0]!.add([{ writable: 50 }]);
    other.driver.kick(0);
    expect(received(other.driver)).toBe('cdefghi');
    expect(other.driver.errors).toEqual([]);
  });

  it('of a device with other ports or with damage is refused', async () => {
    const { device, driver } = plain();
    driver.start();
    await driver.transport.pause();
    const state = device.save();
    const port = state.ports[0]!;
    for (const bad of [
      undefined,
      { ...state, version: 0 },
      { ...state, rows: -1 },
      { ...state, ports: [] },
      { ...state, ports: [{ ...port, input: 'text' }] },
      { ...state, ports: [{ ...port, guestOpen: 1 }] },
    ]) {
      expect(() => plain().device.restore(bad)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
      );
    }
  });
});

it.each<[string, VirtioConsoleOptions]>([
  ['a size beyond 65535', { size: { columns: 65536, rows: 1 } }],
  ['a name with a slash', { ports: [{ name: 'a/b' }] }],
  ['an empty name', { ports: [{ name: '' }] }],
  ['too many ports', { ports: new Array<object>(32).fill({}) }],
  ['an input limit of 0', { inputLimit: 0 }],
])('refuses %s', (_what, options) => {
  expect(() => new VirtioConsole(options)).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
  );
});

it('works for a driver that declines F_MULTIPORT', () => {
  const { device, driver, output } = plain(
    { ports: [{ name: 'agent' }] },
    { without: FeatureSet.of(VIRTIO_CONSOLE_F_MULTIPORT), queues: [0, 1] },
  );
  driver.start();
  driver.rings[1]!.add([{ readable: 'hello' }]);
  driver.kick(1);
  expect(output).toEqual(['hello']);
  expect(device.console.guestOpen).toBe(true);
  expect(device.ports[1]!.guestOpen).toBe(false);
});
