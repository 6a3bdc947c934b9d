import { pattern, TestDisk } from '../../test/block/test-disk.ts';
import { RateLimiter, type RateLimits } from '../rate-limiter.ts';
import type { BlockBackend } from './backend.ts';
import type { BlockBatch } from './batch.ts';
import * as blk from './constants.ts';
import { MemoryBlockBackend } from './memory-backend.ts';

const SECTORS = 64;

/** A clock that goes when the test says so, and the timers on it. */
class Clock {
  time = 0;
  #timers: { at: number; task: () => void }[] = [];

  limiter(limits: RateLimits): RateLimiter {
    return new RateLimiter({
      ...limits,
      now: () => this.time,
      setTimer: (task, milliseconds) => {
        const timer = { at: this.time + milliseconds, task };
        this.#timers.push(timer);
        return () => (this.#timers = this.#timers.filter((other) => other !== timer));
      },
    });
  }

  get timers(): number {
    return this.#timers.length;
  }

  pass(milliseconds: number): void {
    this.time += milliseconds;
    const due = this.#timers.filter(({ at }) => at <= this.time);
    this.#timers = this.#timers.filter(({ at }) => at > this.time);
    for (const { task } of due) task();
  }
}

describe.each(['split', 'packed'] as const)('a rate limiter, on a %s ring', (ring) => {
  const operations = { size: 2, refillTime: 200 };

  function limited(limits: RateLimits, queues = 1): { clock: Clock; disk: TestDisk } {
    const clock = new Clock();
    const disk = new TestDisk(
      new MemoryBlockBackend(SECTORS * 512),
      { ring },
      { rateLimiter: clock.limiter(limits), queues },
    );
    return { clock, disk };
  }

  it('lets as many requests pass as there are tokens; the rest wait in their order', () => {
    const { clock, disk } = limited({ operations });
    for (let sector = 0; sector < 5; sector++) disk.add(blk.VIRTIO_BLK_T_OUT, sector, pattern(512, sector));
    disk.kick();
    expect(disk.collect()).toHaveLength(2);
    expect(disk.device.statistics).toMatchObject({ writes: 2, throttled: 1 });
    clock.pass(100);
    expect(disk.collect()).toHaveLength(1);
    clock.pass(100);
    clock.pass(100);
    expect(disk.collect().map(({ status }) => status)).toEqual([0, 0]);
    expect(clock.timers).toBe(0);
  });

  it('counts the bytes of reads and writes', () => {
    const { clock, disk } = limited({ bandwidth: { size: 1024, refillTime: 100 } });
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 1024);
    disk.add(blk.VIRTIO_BLK_T_FLUSH, 0);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.kick();
    expect(disk.collect().map(({ length }) => length)).toEqual([1, 1025]);
    clock.pass(50);
    expect(disk.collect().map(({ length }) => length)).toEqual([513]);
  });

  it('a notification while requests wait changes nothing', () => {
    const { clock, disk } = limited({ operations });
    for (let i = 0; i < 4; i++) disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.kick();
    disk.kick();
    disk.driver.notify(0);
    expect(disk.collect()).toHaveLength(2);
    clock.pass(100);
    expect(disk.collect()).toHaveLength(1);
  });

  it('queues that wait take turns', () => {
    const { clock, disk } = limited({ operations }, 2);
    for (const queue of [0, 1]) {
      for (let i = 0; i < 4; i++) disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512, queue);
    }
    disk.kick(0);
    disk.kick(1);
    const answered = [disk.collect(0).length, disk.collect(1).length];
    for (let i = 0; i < 6; i++) {
      clock.pass(100);
      answered[0]! += disk.collect(0).length;
      answered[1]! += disk.collect(1).length;
      if (i === 3) expect(Math.min(...answered)).toBeGreaterThan(0);
    }
    expect(answered).toEqual([4, 4]);
  });

  it('a reset forgets what waits', async () => {
    const { clock, disk } = limited({ operations });
    for (let i = 0; i < 3; i++) disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512);
    disk.kick();
    disk.driver.start();
    expect(clock.timers).toBe(0);
    clock.pass(1000);
    expect(await disk.read(0)).toEqual(new Uint8Array(512));
  });

  it('the reset of a queue lets the others go on', () => {
    const { clock, disk } = limited({ operations }, 2);
    for (let i = 0; i < 3; i++) disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512, 0);
    disk.kick(0);
    disk.add(blk.VIRTIO_BLK_T_IN, 0, undefined, 512, 1);
    disk.kick(1);
    expect(disk.collect(1)).toHaveLength(0);
    disk.driver.resetQueue(0);
    clock.pass(100);
    expect(disk.collect(1)).toHaveLength(1);
  });

  it('what waits is in the saved state of the ring, and passes after it was restored', async () => {
    const { clock, disk } = limited({ operations });
    for (let i = 0; i < 3; i++) disk.add(blk.VIRTIO_BLK_T_OUT, i, pattern(512));
    disk.kick();
    expect(disk.collect()).toHaveLength(2);
    await disk.driver.transport.pause();
    clock.pass(1000);
    expect(disk.collect()).toHaveLength(0);
    const state = structuredClone(disk.driver.transport.save());
    disk.driver.status = 0;
    disk.driver.transport.restore(state);
    disk.driver.transport.resume();
    expect((await disk.answers(1)).map(({ status }) => status)).toEqual([0]);
    expect(disk.device.statistics.writes).toBe(3);
  });
});

/** Answers when the test says so. */
class HeldBackend implements BlockBackend {
  readonly readOnly = false;
  readonly sizeBytes = 512 * 1024 * 1024;
  readonly description = 'held';
  readonly batches: { readonly batch: BlockBatch; readonly finish: () => void }[] = [];

  submit(batch: BlockBatch): Promise<void> {
    return new Promise((resolve) => this.batches.push({ batch, finish: resolve }));
  }

  flush(): void {
    // There is nothing to flush.
  }

  close(): void {
    // Nothing is held.
  }
}

it('a transfer that is completed early is answered without waiting for the others', async () => {
  const backend = new HeldBackend();
  const disk = new TestDisk(backend);
  for (let sector = 0; sector < 3; sector++) disk.add(blk.VIRTIO_BLK_T_IN, sector, undefined, 512);
  disk.kick();
  const { batch, finish } = backend.batches[0]!;
  batch.complete(1);
  batch.complete(1);
  await Promise.resolve();
  expect(disk.collect()).toHaveLength(1);
  expect(disk.driver.interrupt.take()).toBe(1);
  finish();
  expect(await disk.answers(2)).toHaveLength(2);
  expect(disk.device.statistics.reads).toBe(3);
});

it('requests after a reset wait for writes from before it, so that they are not overtaken by them', async () => {
  const backend = new HeldBackend();
  const disk = new TestDisk(backend);
  disk.add(blk.VIRTIO_BLK_T_OUT, 0, pattern(512));
  disk.kick();
  disk.driver.start();
  disk.add(blk.VIRTIO_BLK_T_OUT, 0, pattern(512, 2));
  disk.kick();
  expect(backend.batches).toHaveLength(1);
  expect(backend.batches[0]!.batch.cancelled).toBe(true);
  backend.batches[0]!.finish();
  await new Promise((resolve) => setImmediate(resolve));
  expect(backend.batches).toHaveLength(2);
  backend.batches[1]!.finish();
  expect((await disk.answers(1))[0]!.status).toBe(0);
});
