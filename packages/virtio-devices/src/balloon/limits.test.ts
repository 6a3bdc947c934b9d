import { GuestMemory } from '@vmm/vm-memory';
import fc from 'fast-check';
import type { VirtioDeviceError } from '../errors.ts';
import { FeatureSet } from '../features.ts';
import { startDriver } from '../mock/index.ts';
import type { CreateDriverOptions, MockVirtioDriver } from '../mock/index.ts';
import { VirtioBalloon } from './balloon.ts';
import type { VirtioBalloonOptions } from './balloon.ts';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_STATS_VQ,
} from './constants.ts';

const PAGE = 4096;
const LOW = 0x8000_0000;
const HIGH = LOW + 0x80_0000;
const ROM = 0x1_0000_0000;

interface Rig {
  readonly device: VirtioBalloon;
  readonly driver: MockVirtioDriver;
  /** Pairs of address and length, in the order of the calls. */
  readonly released: number[];
  readonly errors: VirtioDeviceError[];
  /** Runs what waits for a later turn; answers how many turns there were. */
  readonly run: () => number;
}

/** Two regions side by side, and read-only memory. */
function rig(options: VirtioBalloonOptions = {}, driverOptions: CreateDriverOptions = {}): Rig {
  const memory = new GuestMemory([
    { guestAddress: LOW, bytes: new Uint8Array(HIGH - LOW) },
    { guestAddress: HIGH, bytes: new Uint8Array(0x10_0000) },
    { guestAddress: ROM, bytes: new Uint8Array(0x10_0000), readOnly: true },
  ]);
  const released: number[] = [];
  const errors: VirtioDeviceError[] = [];
  const tasks: (() => void)[] = [];
  const device = new VirtioBalloon({
    release: (ranges, words) => released.push(...ranges.subarray(0, words)),
    freePageHinting: true,
    onError: (error) => errors.push(error),
    ...options,
  });
  const driver = startDriver(device, {
    memory,
    ...driverOptions,
    transportOptions: { defer: (task) => tasks.push(task) },
  });
  const run = (): number => {
    let turns = 0;
    for (; tasks.length > 0; turns++) tasks.shift()!();
    return turns;
  };
  return { device, driver, released, errors, run };
}

function numbers(...addresses: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(addresses, (address) => address / PAGE).buffer);
}

describe('pages that are given to the balloon', () => {
  it('are released only where they are writable memory, once, and never across regions', () => {
    const { device, driver, released } = rig();
    driver.rings[0]!.add([
      {
        readable: numbers(
          HIGH,
          HIGH - PAGE,
          LOW,
          LOW,
          ROM,
          ROM + 0x10_0000,
          0,
          0xffff_ffff * PAGE,
          LOW - PAGE,
        ),
      },
    ]);
    driver.kick(0);
    expect(released).toEqual([LOW, PAGE, HIGH - PAGE, PAGE, HIGH, PAGE]);
    expect(driver.rings[0]!.collect()).toHaveLength(1);
    expect(device.statistics.refusedPages).toBe(6);
    expect(driver.needsReset).toBe(false);
  });

  it('take several turns when there are many, and the guest gets the chain back at the end', () => {
    const { device, driver, released, run } = rig();
    // A number of which a whole chain is full, at the same place: 40000 of them.
    const count = 40_000;
    driver.rings[0]!.add([{ readable: new Uint8Array(new Uint32Array(count).fill(LOW / PAGE).buffer) }]);
    driver.kick(0);
    expect(driver.rings[0]!.collect()).toEqual([]);
    expect(run()).toBeGreaterThan(1);
    expect(driver.rings[0]!.collect()).toHaveLength(1);
    expect(device.statistics.inflatedPages).toBe(count);
    expect(new Set(released)).toEqual(new Set([LOW, PAGE]));
  });

  it('end with what is no number, and nothing comes of an empty chain', () => {
    const { driver, released } = rig();
    driver.rings[0]!.add([{ readable: [...numbers(LOW + PAGE), 1, 2, 3] }]);
    driver.rings[0]!.add([{ writable: 16 }]);
    driver.kick(0);
    expect(released).toEqual([LOW + PAGE, PAGE]);
    expect(driver.rings[0]!.collect().map(({ length }) => length)).toEqual([0, 0]);
  });

  it('are kept by a host that cannot release, which says so, and the device works on', () => {
    const { driver, errors } = rig({
      release: () => {
        throw new Error('no madvise');
      },
    });
    for (let i = 0; i < 2; i++) {
      driver.rings[0]!.add([{ readable: numbers(LOW) }]);
      driver.kick(0);
      expect(driver.rings[0]!.collect()).toHaveLength(1);
    }
    expect(errors.map(({ code, message }) => [code, message])).toEqual(
      new Array(2).fill(['IO_ERROR', 'balloon: memory was not given back: no madvise']),
    );
  });

  it('are dirty: a copy of the memory is not what they read as now', () => {
    const { driver } = rig();
    driver.memory.enableDirtyTracking();
    driver.rings[0]!.add([{ readable: numbers(LOW + 0x40_0000) }]);
    driver.memory.takeDirty();
    driver.kick(0);
    expect(driver.memory.dirty!.isDirty(LOW + 0x40_0000)).toBe(true);
  });

  it('property: everything released is whole pages of writable memory that was named', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.nat(0xffff_ffff), fc.integer({ min: LOW / PAGE - 4, max: HIGH / PAGE + 300 })), {
          maxLength: 3000,
        }),
        (pages) => {
          const { driver, released } = rig();
          driver.rings[0]!.add([{ readable: new Uint8Array(Uint32Array.from(pages).buffer) }]);
          driver.kick(0);
          const wanted = new Set(
            pages.map((page) => page * PAGE).filter((at) => at >= LOW && at < HIGH + 0x10_0000),
          );
          const seen = new Set<number>();
          for (let i = 0; i < released.length; i += 2) {
            const [start, length] = [released[i]!, released[i + 1]!];
            expect(start < HIGH && start + length > HIGH).toBe(false);
            for (let at = start; at < start + length; at += PAGE) {
              expect(seen.has(at)).toBe(false);
              seen.add(at);
            }
          }
          expect(seen).toEqual(wanted);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('pages that are reported as free', () => {
  it('stay when the guest fills free pages with a value (PAGE_POISON)', () => {
    const { device, driver, released } = rig();
    device.configWrite(12, 4, 0xaaaa_aaaa);
    driver.rings[4]!.add([{ address: LOW, size: 4 * PAGE, isWritable: true }]);
    driver.kick(4);
    expect(released).toEqual([]);
    expect(driver.rings[4]!.collect()).toHaveLength(1);
    device.configWrite(12, 4, 0);
    driver.rings[4]!.add([{ address: LOW, size: 4 * PAGE, isWritable: true }]);
    driver.kick(4);
    expect(released).toEqual([LOW, 4 * PAGE]);
  });

  it('that are no memory need a reset', () => {
    const { driver, released } = rig();
    driver.rings[4]!.add([{ address: ROM, size: PAGE, isWritable: true }]);
    driver.kick(4);
    expect(driver.needsReset).toBe(true);
    expect(released).toEqual([]);
  });

  it('come from a queue whose number depends on the features, in Linux', () => {
    const without = FeatureSet.of(VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
    for (const queues of [
      [0, 1, 2],
      [0, 1, 4],
    ]) {
      const { driver, released } = rig({}, { without, queues });
      const queue = queues[2]!;
      driver.rings[queue]!.add([{ address: LOW, size: PAGE, isWritable: true }]);
      driver.kick(queue);
      expect(released).toEqual([LOW, PAGE]);
    }
  });
});

describe('hints', () => {
  function command(number: number): { readable: Uint8Array } {
    return { readable: new Uint8Array(Uint32Array.of(number).buffer) };
  }

  it('are the pages between the start of this command and the stop', async () => {
    const { device, driver, released } = rig();
    const ranges: number[] = [];
    const hints = device.hintFreePages((list, words) => ranges.push(...list.subarray(0, words)));
    expect(driver.interrupt.take()).toBe(1);
    const number = device.configRead(8, 4);
    expect(number).toBeGreaterThanOrEqual(2);
    const page = (at: number) => ({ address: LOW + at * PAGE, size: PAGE, isWritable: true });
    const ring = driver.rings[3]!;
    ring.add([page(1)]);
    ring.add([command(number + 1)]);
    ring.add([page(2)]);
    ring.add([command(number)]);
    ring.add([page(3), page(4)]);
    ring.add([command(0)]);
    ring.add([page(5)]);
    driver.kick(3);
    expect(await hints.complete).toBe(2 * PAGE);
    expect(ranges).toEqual([LOW + 3 * PAGE, PAGE, LOW + 4 * PAGE, PAGE]);
    expect(ring.collect()).toHaveLength(7);
    expect(() => device.hintFreePages(() => undefined)).toThrow(
      expect.objectContaining({ code: 'WRONG_STATE' }) as Error,
    );
    hints[Symbol.dispose]();
    expect(device.configRead(8, 4)).toBe(1);
    expect(released).toEqual([]);
    device.hintFreePages(() => undefined);
    expect(device.configRead(8, 4)).toBe(number + 1);
  });

  it('fail when the driver goes, and are not there without the feature', async () => {
    const { device, driver } = rig();
    const hints = device.hintFreePages(() => undefined);
    driver.start();
    await expect(hints.complete).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const without = rig({ freePageHinting: false }).device;
    expect(() => without.hintFreePages(() => undefined)).toThrow(
      expect.objectContaining({ code: 'WRONG_STATE' }) as Error,
    );
  });
});

describe('statistics', () => {
  it('are asked for again and again where an interval is given', () => {
    const timers: (() => void)[] = [];
    const seen: unknown[] = [];
    const { driver, run } = rig({
      statisticsInterval: 1000,
      onStatistics: (statistics) => seen.push(statistics),
      setTimer: (callback) => {
        timers.push(callback);
        return () => undefined;
      },
    });
    const entry = (value: number): number[] => [4, 0, value, 0, 0, 0, 0, 0, 0, 0];
    for (const value of [1, 2, 3]) {
      driver.rings[2]!.add([{ readable: entry(value) }]);
      driver.kick(2);
      timers.shift()!();
      run();
      expect(driver.rings[2]!.collect()).toHaveLength(1);
    }
    expect(seen).toEqual([{ freeMemory: 1 }, { freeMemory: 2 }, { freeMemory: 3 }]);
  });

  it('that do not come end in an error', async () => {
    const { device, driver } = rig();
    await expect(device.guestStatistics({ timeout: 5 })).rejects.toMatchObject({ code: 'TIMED_OUT' });
    const signal = AbortSignal.timeout(5);
    await expect(device.guestStatistics({ signal })).rejects.toMatchObject({ code: 'ABORTED' });
    const asked = device.guestStatistics();
    driver.start();
    await expect(asked).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await expect(rig({ statistics: false }).device.guestStatistics()).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
  });
});

describe('a snapshot of a balloon', () => {
  it('goes on where it was, with chains in the queues', async () => {
    const { device, driver, run } = rig({ target: 64 * PAGE });
    device.configWrite(4, 4, 10);
    driver.rings[2]!.add([{ readable: [4, 0, 1, 0, 0, 0, 0, 0, 0, 0] }]);
    driver.kick(2);
    driver.rings[0]!.add([{ readable: new Uint8Array(new Uint32Array(40_000).fill(LOW / PAGE).buffer) }]);
    driver.kick(0);
    await driver.transport.pause();
    const state = structuredClone(driver.transport.save());
    expect(state).toBeDefined();
    driver.transport.resume();
    run();
    expect(driver.rings[0]!.collect()).toHaveLength(1);
    const asked = device.guestStatistics();
    expect(driver.rings[2]!.collect()).toHaveLength(1);
    driver.rings[2]!.add([{ readable: [4, 0, 7, 0, 0, 0, 0, 0, 0, 0] }]);
    driver.kick(2);
    run();
    expect(await asked).toEqual({ freeMemory: 7 });

    const copy = new VirtioBalloon({ freePageHinting: true });
    copy.restore(device.save());
    expect([copy.target, copy.actual]).toEqual([64 * PAGE, 10 * PAGE]);
  });

  it.each([
    null,
    { version: 2 },
    { version: 1, target: 5, actual: 0, poison: 0, hintCommand: 0 },
    { version: 1, target: 0, actual: -1, poison: 0, hintCommand: 0 },
    { version: 1, target: 0, actual: 0, poison: 0 },
  ])('damaged, as %p, is refused', (state) => {
    expect(() => new VirtioBalloon().restore(state)).toThrow(
      expect.objectContaining({ code: 'INVALID_STATE' }) as Error,
    );
  });
});

it.each([{ target: 1 }, { target: -4096 }, { target: 2 ** 44 }, { statisticsInterval: -1 }])(
  'refuses options %p',
  (options) => {
    expect(() => new VirtioBalloon(options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }) as Error,
    );
  },
);

it('offers what is asked for', () => {
  expect(new VirtioBalloon({ statistics: false, freePageReporting: false }).features.low).toBe(0);
  const all = new VirtioBalloon({ deflateOnOom: true, freePageHinting: true }).features;
  expect(all.low).toBe(0b11_1110);
  expect(all.has(VIRTIO_BALLOON_F_PAGE_POISON)).toBe(true);
});
