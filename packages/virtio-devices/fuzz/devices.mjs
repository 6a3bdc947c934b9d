// What run.mjs fuzzes: every device behind both transports, with both rings. The input is a choice of these, and then what
// the driver, the host and the event loop do in turn.
import { createDriver } from '@vmm/virtio-devices/mock';
import { GuestMemory } from '@vmm/vm-memory';
import { SUBJECTS } from './subjects.mjs';

const BASE = 0x8000_0000;
const RAM = 128 * 1024;
const GUARD = 256;
const GUARD_BYTE = 0x5a;
const QUEUE_SIZE = 8;
const MAX_STEPS = 200;
const MAX_TURNS = 10_000;

/** What add() of a mock ring throws when it is full, and collect() when the driver's own memory was overwritten. */
function unless(task) {
  try {
    return task();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return undefined;
  }
}

/**
 * @param {Uint8Array} data
 * @returns {Promise<string>}
 */
export async function fuzz(data) {
  let at = 0;
  const byte = () => data[at++] ?? 0;
  const subject = SUBJECTS[byte() % SUBJECTS.length];
  const flags = byte();
  const { device, stir } = subject.make();
  const host = new Uint8Array(RAM + 2 * GUARD).fill(GUARD_BYTE);
  const tasks = [];
  const driver = createDriver(device, {
    transport: (flags & 1) === 0 ? 'mmio' : 'pci',
    ring: (flags & 2) === 0 ? 'split' : 'packed',
    inOrder: (flags & 4) !== 0,
    queueSize: QUEUE_SIZE,
    memory: new GuestMemory([{ guestAddress: BASE, bytes: host.subarray(GUARD, GUARD + RAM).fill(0) }]),
    transportOptions: { defer: (task) => tasks.push(task) },
  });
  if ((flags & 8) !== 0) driver.memory.enableDirtyTracking();
  const settle = async () => {
    for (let turn = 0; tasks.length > 0; turn++) {
      if (turn > MAX_TURNS) throw new Error('the device is stuck');
      tasks.shift()();
    }
    for (let i = 0; i < 20; i++) await Promise.resolve();
    if (tasks.length > 0) await settle();
  };
  driver.start();
  const { rings } = driver;
  const ringOf = (n) => rings[n % rings.length];
  let answers = 0;
  let resets = 0;
  for (let steps = 0; at < data.length && steps < MAX_STEPS; steps++) {
    switch (byte() % 14) {
      case 0: {
        const [queue, readable, writable] = subject.requests[byte() % subject.requests.length];
        const bytes = readable.slice();
        // Some of its bytes are others.
        for (let changes = byte() % 4; changes > 0 && bytes.length > 0; changes--) {
          bytes[byte() % bytes.length] = byte();
        }
        const buffers = bytes.length > 0 ? [{ readable: bytes }] : [];
        if (writable > 0) buffers.push({ writable });
        unless(() => rings[queue].add(buffers));
        rings[queue].publish();
        driver.notify(queue);
        break;
      }
      case 1: {
        const ring = ringOf(byte());
        const count = byte() % 5;
        const buffers = Array.from({ length: count + 1 }, () => {
          const kind = byte();
          return kind < 128
            ? { readable: Uint8Array.from({ length: kind % 48 }, byte) }
            : { writable: (kind & 63) * (kind & 64 ? 64 : 1) };
        });
        unless(() => ring.add(buffers, (byte() & 1) === 0 ? 'direct' : 'indirect'));
        break;
      }
      case 2: {
        const queue = byte() % rings.length;
        rings[queue].publish();
        driver.notify(queue);
        break;
      }
      case 3:
        tasks.shift()?.();
        break;
      case 4:
        await settle();
        break;
      case 5: {
        const address = BASE + (((byte() << 16) | (byte() << 8) | byte()) % RAM);
        driver.memory.writeUint8(address, byte());
        break;
      }
      case 6:
        stir?.(byte());
        break;
      case 7:
        driver.status = byte();
        break;
      case 8:
        driver.resetQueue(byte() % 8);
        break;
      case 9: {
        if (device.configRead === undefined) break;
        const offset = byte();
        const length = [1, 2, 4][byte() % 3];
        const value = byte();
        if (value < 128) driver.readConfig(offset, length);
        else driver.writeConfig(offset, length, value * 0x01_01_01);
        break;
      }
      case 10: {
        const ring = ringOf(byte());
        ring.writeDescriptor(byte() % QUEUE_SIZE, {
          address: BASE + byte() * 1024,
          length: byte() << (byte() % 25),
          flags: (byte() & 7) | (byte() & 0x80),
          next: byte() % 12,
          id: byte() % 12,
        });
        break;
      }
      case 11:
        for (const ring of rings) answers += unless(() => ring.collect().length) ?? 0;
        break;
      case 12:
        resets++;
        driver.start();
        break;
      default:
        await Promise.all([driver.transport.pause(), settle()]);
        if (!driver.needsReset) JSON.stringify(driver.transport.save());
        driver.transport.resume();
    }
  }
  await settle();
  const codes = driver.errors.map(({ cause }) => cause?.code ?? 'device').join();
  driver.start();
  await settle();
  const [queue, readable, writable] = subject.requests[subject.probe];
  const buffers = readable.length > 0 ? [{ readable }] : [];
  if (writable > 0) buffers.push({ writable });
  rings[queue].add(buffers);
  rings[queue].publish();
  driver.notify(queue);
  await settle();
  if (driver.needsReset) throw new Error('the device does not work after a reset');
  if (rings[queue].collect().length !== 1) throw new Error('the device answers nothing after a reset');
  for (let i = 0; i < GUARD; i++) {
    if (host[i] !== GUARD_BYTE || host[GUARD + RAM + i] !== GUARD_BYTE) {
      throw new Error('a byte outside guest memory was written');
    }
  }
  return `${data[0] % SUBJECTS.length} ${flags & 15} ${codes.slice(0, 60)} ${Math.min(answers, 8)} ${Math.min(resets, 2)}`;
}
