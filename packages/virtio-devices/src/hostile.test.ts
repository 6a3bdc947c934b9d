import fc from 'fast-check';
import type { VirtioDevice } from './index.ts';
import { MemoryBlockBackend, VirtioBlock, VirtioConsole, VirtioEntropy } from './index.ts';
import { MockMmioDriver } from './mock/index.ts';

const QUEUE_SIZE = 8;
const REGION = 1024 * 1024;

const devices: readonly [string, () => VirtioDevice, probe: (driver: MockMmioDriver) => number][] = [
  [
    'entropy',
    () => new VirtioEntropy({ source: (target) => target.fill(1) }),
    (driver) => {
      driver.rings[0]!.add([{ writable: 8 }]);
      driver.kick(0);
      return driver.rings[0]!.collect().length;
    },
  ],
  [
    'block',
    () => new VirtioBlock({ backend: new MemoryBlockBackend(65536) }),
    (driver) => {
      driver.rings[0]!.add([{ readable: new Uint8Array(16) }, { writable: 513 }]);
      driver.kick(0);
      return driver.rings[0]!.collect().filter(({ written }) => written[512] === 0).length;
    },
  ],
  [
    'console',
    () => new VirtioConsole({ ports: [{ name: 'agent' }] }),
    (driver) => {
      driver.rings[1]!.add([{ readable: 'still here' }]);
      driver.kick(1);
      return driver.rings[1]!.collect().length;
    },
  ],
];

/** Any descriptor: often near to sense, so that the walk goes on. */
const descriptor = fc.record({
  address: fc.oneof(
    fc.integer({ min: 0x8000_0000, max: 0x8000_0000 + REGION + 4096 }).map(BigInt),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  ),
  length: fc.oneof(fc.constantFrom(0, 1, 8, 16, 17, 513, 4096), fc.nat(0xffff_ffff)),
  flags: fc.oneof(fc.integer({ min: 0, max: 7 }), fc.nat(0xffff)),
  next: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
});

const attack = fc.record({
  queue: fc.nat(7),
  descriptors: fc.array(descriptor, { minLength: QUEUE_SIZE, maxLength: QUEUE_SIZE }),
  heads: fc.array(fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)), {
    minLength: QUEUE_SIZE,
    maxLength: QUEUE_SIZE,
  }),
  idx: fc.oneof(fc.nat(QUEUE_SIZE), fc.nat(0xffff)),
  /** Bytes at the start of the buffers: requests and control messages. */
  contents: fc.uint8Array({ minLength: 64, maxLength: 64 }),
});

describe.each(devices)('%s with a hostile driver', (_name, create, probe) => {
  it('never throws, answers or needs a reset, and works after it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(attack, { minLength: 1, maxLength: 6 }), async (attacks) => {
        const tasks: (() => void)[] = [];
        const driver = new MockMmioDriver(create(), {
          queueSize: QUEUE_SIZE,
          transport: { defer: (task) => tasks.push(task) },
        });
        driver.start();
        for (const { queue, descriptors, heads, idx, contents } of attacks) {
          const index = queue % driver.rings.length;
          const ring = driver.rings[index]!;
          for (let at = 0; at < 64; at++) driver.memory.write(0x8000_0000 + at * 4096 + 2048, contents);
          descriptors.forEach((each, at) => ring.writeDescriptor(at, each));
          heads.forEach((head, at) => ring.writeAvailEntry(at, head));
          ring.writeAvailIdx(idx);
          driver.write(0x50, index);
          // Every deferred task stands for more chains that were made available: they are finite.
          for (let turns = 0; tasks.length > 0; turns++) {
            expect(turns).toBeLessThan(100_000);
            tasks.shift()!();
          }
          await Promise.resolve();
        }
        if (driver.needsReset) expect(driver.errors).toHaveLength(1);
        else expect(driver.errors).toEqual([]);
        driver.start();
        expect(driver.needsReset).toBe(false);
        expect(probe(driver)).toBe(1);
      }),
      { numRuns: 150 },
    );
  });
});
