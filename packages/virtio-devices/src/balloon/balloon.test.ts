import { DRIVER_COMBINATIONS, startDriver } from '../mock/index.ts';
import type { CreateDriverOptions, MockVirtioDriver } from '../mock/index.ts';
import { VirtioBalloon } from './balloon.ts';
import type { VirtioBalloonOptions } from './balloon.ts';

const BASE = 0x8000_0000;
const PAGE = 4096;
const MIB = 1024 * 1024;

interface Rig {
  readonly device: VirtioBalloon;
  readonly driver: MockVirtioDriver;
  /** Ranges that were given back, as `[page number, pages]`, one list for each call. */
  readonly released: number[][][];
  readonly tasks: (() => void)[];
}

function rig(options: VirtioBalloonOptions = {}, driverOptions: Partial<CreateDriverOptions> = {}): Rig {
  const released: number[][][] = [];
  const tasks: (() => void)[] = [];
  const device = new VirtioBalloon({
    freePageHinting: true,
    release: (ranges, words) => {
      const list: number[][] = [];
      for (let i = 0; i < words; i += 2) list.push([(ranges[i]! - BASE) / PAGE, ranges[i + 1]! / PAGE]);
      released.push(list);
    },
    ...options,
  });
  const driver = startDriver(device, {
    transport: 'mmio',
    ring: 'split',
    ...driverOptions,
    transportOptions: { defer: (task) => tasks.push(task) },
  });
  return { device, driver, released, tasks };
}

/** Page numbers as the driver sends them. */
function pages(...numbers: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(numbers, (number) => BASE / PAGE + number).buffer);
}

describe.each(DRIVER_COMBINATIONS)('balloon over %o', (combination) => {
  it('tells the target, and hears of the size', () => {
    const { device, driver } = rig({ target: 8 * PAGE }, combination);
    const sizes: number[] = [];
    device.onActual = (bytes) => sizes.push(bytes);
    expect(device.configRead(0, 4)).toBe(8);
    driver.interrupt.take();
    device.setTarget(3 * PAGE);
    expect(driver.interrupt.take()).toBe(1);
    expect(device.configRead(0, 4)).toBe(3);
    device.configWrite(4, 4, 3);
    device.configWrite(0, 4, 99);
    expect([device.actual, device.target, sizes]).toEqual([3 * PAGE, 3 * PAGE, [3 * PAGE]]);
  });

  it('gives inflated pages back: neighbours in one range, all chains of a notification in one call', () => {
    const { device, driver, released } = rig({}, combination);
    driver.rings[0]!.add([{ readable: pages(12, 10, 11, 20) }]);
    driver.rings[0]!.add([{ readable: pages(21) }, { readable: pages(5, 30) }]);
    driver.kick(0);
    expect(released).toEqual([
      [
        [5, 1],
        [10, 3],
        [20, 2],
        [30, 1],
      ],
    ]);
    expect(driver.rings[0]!.collect()).toHaveLength(2);
    driver.rings[1]!.add([{ readable: pages(12, 10) }]);
    driver.kick(1);
    expect(driver.rings[1]!.collect()).toHaveLength(1);
    expect(device.statistics).toMatchObject({
      inflatedPages: 7,
      deflatedPages: 2,
      releasedBytes: 7 * PAGE,
      releaseCalls: 1,
    });
  });

  it('gives reported pages back', () => {
    const { device, driver, released } = rig({}, combination);
    const at = (page: number, size: number) => ({ address: BASE + page * PAGE, size, isWritable: true });
    driver.rings[4]!.add([at(512, 2 * MIB), at(1024, MIB)]);
    // What fills no whole page stays.
    driver.rings[4]!.add([{ address: BASE + 100, size: 2 * PAGE, isWritable: true }]);
    driver.kick(4);
    expect(released).toEqual([
      [
        [512, 512],
        [1024, 256],
        [1, 1],
      ],
    ]);
    expect(driver.rings[4]!.collect()).toHaveLength(2);
    expect(device.statistics.reportedBytes).toBe(3 * MIB + 2 * PAGE);
  });

  it('asks for statistics', async () => {
    const { device, driver, tasks } = rig({}, combination);
    const entry = (tag: number, value: number): number[] => [
      tag & 0xff,
      tag >> 8,
      ...new Uint8Array(BigUint64Array.of(BigInt(value)).buffer),
    ];
    driver.rings[2]!.add([{ readable: [...entry(4, 1000), ...entry(5, 2 ** 33)] }]);
    driver.kick(2);
    expect(device.lastStatistics).toEqual({ freeMemory: 1000, totalMemory: 2 ** 33 });
    const asked = device.guestStatistics();
    expect(driver.rings[2]!.collect()).toHaveLength(1);
    driver.rings[2]!.add([{ readable: [...entry(4, 900), ...entry(777, 5), ...entry(6, 7), 1, 2] }]);
    driver.kick(2);
    for (const task of tasks.splice(0)) task();
    expect(await asked).toEqual({ freeMemory: 900, availableMemory: 7 });
  });
});
