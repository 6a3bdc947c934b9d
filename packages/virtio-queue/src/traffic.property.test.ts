import fc from 'fast-check';
import { codeOf, makeMemory } from '../test/support.ts';
import { RING_WRAP_COUNTER, restoreQueue, type DescriptorChain, type Queue } from './index.ts';
import { createMockDriver, type MockBuffer, type MockDriver, type MockUsed } from './mock/index.ts';

const buffersArbitrary = fc
  .tuple(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }), fc.array(fc.nat(40), { maxLength: 3 }))
  .filter(([readable, writable]) => readable.length + writable.length > 0)
  .map(([readable, writable]): MockBuffer[] => [
    ...readable.map((bytes) => ({ readable: bytes })),
    ...writable.map((size) => ({ writable: size })),
  ]);

/** What both rings and both orders are tried with. */
const commonArbitrary = fc.record({
  size: fc.constantFrom<number[]>(1, 2, 8, 16),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  shared: fc.boolean(),
  /** How far the ring has turned already. */
  first: fc.constantFrom(0, 1, 0x7fff, 0xfff8, 0xfffe, 0xffff),
});

type Common = typeof commonArbitrary extends fc.Arbitrary<infer T> ? T : never;

interface Options extends Common {
  readonly packed: boolean;
  readonly inOrder: boolean;
}

const KINDS = [false, true].flatMap((packed) => [false, true].map((inOrder) => ({ packed, inOrder })));

function setUp(options: Options): { driver: MockDriver; queue: Queue } {
  const memory = makeMemory(0x1_0000, options.shared);
  const { packed, first, size } = options;
  const wraps = Math.floor(first / size);
  const firstIndex = packed ? (first % size) | (wraps % 2 === 0 ? RING_WRAP_COUNTER : 0) : first;
  const driver = createMockDriver(memory, { ...options, firstIndex });
  const queue = restoreQueue(memory, {
    version: 1,
    format: packed ? 'packed' : 'split',
    config: driver.config,
    nextAvail: firstIndex,
    nextUsed: firstIndex,
  });
  queue.needsInterrupt();
  return { driver, queue };
}

const bytesOf = (buffers: readonly MockBuffer[]) =>
  buffers.flatMap((buffer) => ('readable' in buffer ? Array.from(buffer.readable as Uint8Array) : []));
const roomOf = (buffers: readonly MockBuffer[]) =>
  buffers.reduce((sum, buffer) => sum + ('writable' in buffer ? buffer.writable : 0), 0);

const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('add' as const),
      buffers: buffersArbitrary,
      layout: fc.constantFrom('direct' as const, 'indirect' as const, 1, 2),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('publish' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('pop' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('undo' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('use' as const),
      pick: fc.nat(),
      part: fc.double({ min: 0, max: 1, noNaN: true }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('collect' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('defer' as const, 'show' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('restore' as const) }) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface Sent {
  readonly head: number;
  readonly buffers: readonly MockBuffer[];
}

interface Popped extends Sent {
  readonly chain: DescriptorChain;
  answer?: MockUsed;
}

/** What the standard says becomes of chains, in lists of JavaScript objects. */
class Model {
  readonly added: Sent[] = [];
  readonly published: Sent[] = [];
  /** With the device, in the order of their pops; with IN_ORDER also those that it is done with. */
  readonly out: Popped[] = [];
  /** Every chain popped and not put back. */
  readonly history: Popped[] = [];
  readonly hidden: MockUsed[] = [];
  readonly visible: MockUsed[] = [];
  deferring = false;
  readonly #inOrder: boolean;

  constructor(inOrder: boolean) {
    this.#inOrder = inOrder;
  }

  /** Chains that the device can still use. */
  get open(): Popped[] {
    return this.out.filter(({ answer }) => answer === undefined);
  }

  use(popped: Popped, answer: MockUsed): void {
    popped.answer = answer;
    const firstOpen = this.out.findIndex((each) => each.answer === undefined);
    const finished = this.#inOrder
      ? this.out.splice(0, firstOpen < 0 ? this.out.length : firstOpen)
      : this.out.splice(this.out.indexOf(popped), 1);
    this.hidden.push(...finished.map((each) => each.answer!));
    if (!this.deferring) this.show();
  }

  show(): void {
    this.deferring = false;
    this.visible.push(...this.hidden.splice(0));
  }
}

function runTraffic(options: Options, steps: readonly Step[]): void {
  const rig = setUp(options);
  const { driver } = rig;
  let { queue } = rig;
  const model = new Model(options.inOrder);
  let answer = 0;
  for (const action of steps) {
    switch (action.op) {
      case 'add': {
        const { buffers } = action;
        const layout = options.packed && typeof action.layout === 'number' ? 'indirect' : action.layout;
        const direct = !options.indirect || layout === 'direct' || buffers.length <= Number(layout);
        const chosen = direct ? 'direct' : layout;
        const needed = direct ? buffers.length : chosen === 'indirect' ? 1 : Number(chosen) + 1;
        // A chain may not be longer than the queue, however it is laid out.
        if (needed > driver.freeDescriptors || buffers.length > options.size) break;
        model.added.push({ head: driver.add(buffers, chosen), buffers });
        break;
      }
      case 'publish':
        driver.publish();
        model.published.push(...model.added.splice(0));
        break;
      case 'pop': {
        const chain = queue.pop();
        const expected = model.published.shift();
        expect(chain?.head).toBe(expected?.head);
        if (chain === null || expected === undefined) break;
        const request = new Uint8Array(chain.readableBytes);
        chain.reader.read(request);
        expect([...request]).toEqual(bytesOf(expected.buffers));
        expect(chain.writableBytes).toBe(roomOf(expected.buffers));
        const popped = { ...expected, chain };
        model.out.push(popped);
        model.history.push(popped);
        break;
      }
      case 'undo': {
        const last = model.history.at(-1);
        if (last === undefined) break;
        if (last.answer !== undefined) {
          expect(codeOf(() => queue.undoPop(last.chain))).toBe('CHAIN_NOT_OUT');
          break;
        }
        queue.undoPop(last.chain);
        model.history.pop();
        model.out.pop();
        model.published.unshift(last);
        break;
      }
      case 'use': {
        const { open } = model;
        if (open.length === 0) break;
        const popped = open[action.pick % open.length]!;
        const { chain, head } = popped;
        const length = Math.floor(chain.writableBytes * action.part);
        const written = Uint8Array.from({ length }, () => ++answer);
        chain.writer.write(written);
        queue.addUsed(chain, length);
        model.use(popped, { head, length, written });
        break;
      }
      case 'collect':
        expect(driver.collect()).toEqual(model.visible.splice(0));
        break;
      case 'defer':
        queue.deferUsed();
        model.deferring = true;
        break;
      case 'show':
        queue.publishUsed();
        model.show();
        break;
      case 'restore':
        if (model.out.length > 0 || model.hidden.length > 0) {
          expect(codeOf(() => queue.save())).toBe('CHAINS_OUT');
          break;
        }
        queue = restoreQueue(driver.memory, JSON.parse(JSON.stringify(queue.save())));
        model.deferring = false;
        model.history.length = 0;
        break;
    }
  }
  expect(driver.collect()).toEqual(model.visible);
  expect(driver.pendingChains).toBe(
    model.added.length + model.published.length + model.out.length + model.hidden.length,
  );
}

describe('random valid traffic', () => {
  it.each(KINDS)('arrives as it was sent and returns as it was answered, with %o', (kind) => {
    fc.assert(
      fc.property(commonArbitrary, fc.array(step, { maxLength: 80 }), (common, steps) => {
        runTraffic({ ...common, ...kind }, steps);
      }),
      { numRuns: 200 },
    );
  });

  it('of one driver is the same for both rings and in both orders', () => {
    fc.assert(
      fc.property(commonArbitrary, fc.array(step, { maxLength: 80 }), (common, steps) => {
        for (const kind of KINDS) runTraffic({ ...common, ...kind }, steps);
      }),
      { numRuns: 100 },
    );
  });

  it('turns a packed ring of any size (§2.8.10.1)', () => {
    fc.assert(
      fc.property(
        commonArbitrary,
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        fc.array(step, { maxLength: 80 }),
        (common, size, inOrder, steps) => {
          runTraffic({ ...common, size, packed: true, inOrder }, steps);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('notifications and interrupts', () => {
  /** The driver's part: sends `total` chains, sleeps when it can do nothing, yields between ring accesses. */
  function* drive(
    driver: MockDriver,
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
        const chains = [];
        for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
          yield false;
          chains.push(chain);
          if (chains.length < 3) continue;
          for (const each of chains.splice(0).reverse()) {
            queue.addUsed(each, 0);
            yield false;
          }
        }
        yield false;
        for (const each of chains.reverse()) {
          queue.addUsed(each, 0);
          yield false;
        }
      } while (queue.enableNotifications());
      yield false;
      if (queue.needsInterrupt()) interrupt();
    }
  }

  it.each(KINDS)('let neither side sleep for ever, however the two interleave, with %o', (kind) => {
    fc.assert(
      fc.property(
        commonArbitrary,
        fc.integer({ min: 1, max: 60 }),
        fc.infiniteStream(fc.boolean()),
        (options, total, turns) => {
          const { driver, queue } = setUp({ ...options, ...kind });
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

  it.each(KINDS)('are far fewer than buffers with EVENT_IDX in batches, with %o', (kind) => {
    const { driver, queue } = setUp({
      size: 16,
      eventIdx: true,
      indirect: false,
      shared: false,
      first: 0,
      ...kind,
    });
    queue.enableNotifications();
    let kicks = 0;
    let interrupts = 0;
    for (let round = 0; round < 100; round++) {
      queue.disableNotifications();
      for (let i = 0; i < 16; i++) {
        driver.add([{ readable: 'x' }]);
        if (driver.publish()) kicks++;
      }
      do {
        for (let i = 0; i < 16; i++) queue.addUsed(queue.pop()!, 0);
      } while (queue.enableNotifications());
      if (queue.needsInterrupt()) interrupts++;
      driver.collect();
      driver.setUsedEvent();
    }
    expect([kicks, interrupts]).toEqual([100, 100]);
  });
});
