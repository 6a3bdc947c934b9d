import fc from 'fast-check';
import { makeMemory, popChain } from '../test/support.ts';
import { restoreQueue, type DescriptorChain, type Queue } from './index.ts';
import { MockSplitDriver, type MockBuffer } from './mock/index.ts';

const buffersArbitrary = fc
  .tuple(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }), fc.array(fc.nat(40), { maxLength: 3 }))
  .filter(([readable, writable]) => readable.length + writable.length > 0)
  .map(([readable, writable]): MockBuffer[] => [
    ...readable.map((bytes) => ({ readable: bytes })),
    ...writable.map((size) => ({ writable: size })),
  ]);

const optionsArbitrary = fc.record({
  size: fc.constantFrom(1, 2, 8, 16),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  shared: fc.boolean(),
  firstIndex: fc.constantFrom(0, 1, 0x7fff, 0xfff8, 0xfffe, 0xffff),
});

type Options = typeof optionsArbitrary extends fc.Arbitrary<infer T> ? T : never;

function setUp(options: Options): { driver: MockSplitDriver; queue: Queue } {
  const memory = makeMemory(0x1_0000, options.shared);
  const driver = new MockSplitDriver(memory, options);
  const { config } = driver;
  const { firstIndex: nextAvail } = options;
  const queue = restoreQueue(memory, {
    version: 1,
    format: 'split',
    config,
    nextAvail,
    nextUsed: nextAvail,
  });
  queue.needsInterrupt();
  return { driver, queue };
}

const bytesOf = (buffers: readonly MockBuffer[]) =>
  buffers.flatMap((buffer) => ('readable' in buffer ? Array.from(buffer.readable as Uint8Array) : []));
const roomOf = (buffers: readonly MockBuffer[]) =>
  buffers.reduce((sum, buffer) => sum + ('writable' in buffer ? buffer.writable : 0), 0);

describe('random valid traffic', () => {
  const layout = fc.constantFrom('direct' as const, 'indirect' as const, 1, 2);
  const step = fc.oneof(
    fc.record({ op: fc.constant('add' as const), buffers: buffersArbitrary, layout }),
    fc.record({ op: fc.constant('publish' as const) }),
    fc.record({ op: fc.constant('pop' as const) }),
    fc.record({ op: fc.constant('undo' as const) }),
    fc.record({
      op: fc.constant('use' as const),
      pick: fc.nat(),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
    fc.record({ op: fc.constant('collect' as const) }),
    fc.record({ op: fc.constant('restore' as const) }),
  );

  it('arrives as it was sent and returns as it was answered', () => {
    fc.assert(
      fc.property(optionsArbitrary, fc.array(step, { maxLength: 60 }), (options, steps) => {
        const rig = setUp(options);
        const { driver } = rig;
        let { queue } = rig;
        const added: { head: number; buffers: MockBuffer[] }[] = [];
        const published: typeof added = [];
        const out: { chain: DescriptorChain; buffers: MockBuffer[] }[] = [];
        const answered: { head: number; length: number; written: Uint8Array }[] = [];
        let answer = 0;
        for (const action of steps) {
          switch (action.op) {
            case 'add': {
              const { buffers } = action;
              const direct =
                !options.indirect || action.layout === 'direct' || buffers.length <= Number(action.layout);
              const chosen = direct ? 'direct' : action.layout;
              const needed = direct ? buffers.length : chosen === 'indirect' ? 1 : Number(chosen) + 1;
              // A chain may not be longer than the queue, however it is laid out.
              if (needed > driver.freeDescriptors || buffers.length > options.size) break;
              added.push({ head: driver.add(buffers, chosen), buffers });
              break;
            }
            case 'publish':
              driver.publish();
              published.push(...added.splice(0));
              break;
            case 'pop': {
              const chain = queue.pop();
              const expected = published.shift();
              expect(chain?.head).toBe(expected?.head);
              if (chain === null || expected === undefined) break;
              const request = new Uint8Array(chain.readableBytes);
              chain.reader.read(request);
              expect([...request]).toEqual(bytesOf(expected.buffers));
              expect(chain.writableBytes).toBe(roomOf(expected.buffers));
              out.push({ chain, buffers: expected.buffers });
              break;
            }
            case 'undo': {
              const last = out.at(-1);
              // Only what was popped last can be undone, and `use` may have taken that.
              if (last === undefined || last.chain.length === 0) break;
              try {
                queue.undoPop(last.chain);
              } catch {
                break;
              }
              out.pop();
              published.unshift({ head: last.chain.head, buffers: last.buffers });
              break;
            }
            case 'use': {
              if (out.length === 0) break;
              const [{ chain }] = out.splice(action.pick % out.length, 1) as [(typeof out)[number]];
              const length = Math.floor(chain.writableBytes * action.part);
              const written = Uint8Array.from({ length }, () => ++answer);
              chain.writer.write(written);
              answered.push({ head: chain.head, length, written });
              queue.addUsed(chain, length);
              break;
            }
            case 'collect':
              expect(driver.collect()).toEqual(answered.splice(0));
              break;
            case 'restore':
              if (out.length > 0) break;
              queue = restoreQueue(driver.memory, JSON.parse(JSON.stringify(queue.save())));
              break;
          }
        }
        expect(driver.collect()).toEqual(answered);
        expect(driver.pendingChains).toBe(added.length + published.length + out.length);
      }),
      { numRuns: 200 },
    );
  });
});

describe('notifications and interrupts', () => {
  /** The driver's part: sends `total` chains, sleeps when it can do nothing, yields between ring accesses. */
  function* drive(
    driver: MockSplitDriver,
    eventIdx: boolean,
    total: number,
    kick: () => void,
  ): Generator<boolean> {
    let sent = 0;
    let done = 0;
    for (;;) {
      while (sent < total && driver.freeDescriptors > 0) {
        driver.add([{ readable: [sent++ & 255] }]);
        if (driver.publish()) kick();
        yield false;
      }
      if (eventIdx) driver.setUsedEvent();
      else driver.suppressInterrupts(false);
      yield false;
      const used = driver.collect().length;
      done += used;
      if (done === total) return;
      yield used === 0;
      if (!eventIdx) driver.suppressInterrupts(true);
    }
  }

  /** The device's part: the loop of the README, yielding between ring accesses. */
  function* serve(queue: Queue, interrupt: () => void): Generator<boolean> {
    for (;;) {
      yield true;
      do {
        queue.disableNotifications();
        yield false;
        for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
          yield false;
          queue.addUsed(chain, 0);
          yield false;
        }
        yield false;
      } while (queue.enableNotifications());
      yield false;
      if (queue.needsInterrupt()) interrupt();
    }
  }

  it('let neither side sleep for ever, however the two interleave', () => {
    fc.assert(
      fc.property(
        optionsArbitrary,
        fc.integer({ min: 1, max: 60 }),
        fc.infiniteStream(fc.boolean()),
        (options, total, turns) => {
          const { driver, queue } = setUp(options);
          let kicked = true;
          let interrupted = true;
          const driverSide = drive(driver, options.eventIdx, total, () => (kicked = true));
          const deviceSide = serve(queue, () => (interrupted = true));
          if (options.eventIdx) driver.setUsedEvent();
          let driverSleeps = false;
          let deviceSleeps = false;
          let finished = false;
          let steps = 0;
          for (const turn of turns) {
            if (finished) break;
            // A side that sleeps goes on only when it was woken.
            const driverCan = !driverSleeps || interrupted;
            const deviceCan = !deviceSleeps || kicked;
            if (!driverCan && !deviceCan) throw new Error('both sides sleep');
            if (++steps > 20_000) throw new Error('no progress');
            if (driverCan && (turn || !deviceCan)) {
              if (driverSleeps) interrupted = false;
              const step = driverSide.next();
              driverSleeps = step.value === true;
              finished = step.done === true;
            } else {
              if (deviceSleeps) kicked = false;
              deviceSleeps = deviceSide.next().value as boolean;
            }
          }
          expect(driver.pendingChains).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('are far fewer than buffers with EVENT_IDX when the device works in batches', () => {
    const { driver, queue } = setUp({
      size: 16,
      eventIdx: true,
      indirect: false,
      shared: false,
      firstIndex: 0,
    });
    let kicks = 0;
    let interrupts = 0;
    for (let round = 0; round < 100; round++) {
      queue.disableNotifications();
      for (let i = 0; i < 16; i++) {
        driver.add([{ readable: 'x' }]);
        if (driver.publish()) kicks++;
      }
      do {
        for (let i = 0; i < 16; i++) queue.addUsed(popChain(queue), 0);
      } while (queue.enableNotifications());
      if (queue.needsInterrupt()) interrupts++;
      driver.collect();
      driver.setUsedEvent();
    }
    expect([kicks, interrupts]).toEqual([100, 100]);
  });
});
