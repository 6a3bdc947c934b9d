import { jest } from '@jest/globals';
import fc from 'fast-check';
import { RateLimiter } from './rate-limiter.ts';
import type { RateLimits } from './rate-limiter.ts';

/** Time that passes when the test says so. */
class FakeClock {
  time = 1000;
  readonly #timers = new Map<number, { readonly at: number; readonly task: () => void }>();
  #next = 0;

  readonly now = (): number => this.time;

  readonly setTimer = (task: () => void, milliseconds: number): (() => void) => {
    const id = this.#next++;
    this.#timers.set(id, { at: this.time + milliseconds, task });
    return () => this.#timers.delete(id);
  };

  get pending(): number {
    return this.#timers.size;
  }

  advance(milliseconds: number): void {
    const end = this.time + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort((a, b) => a[1].at - b[1].at)[0];
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].task();
    }
    this.time = end;
  }
}

function make(limits: RateLimits): { clock: FakeClock; limiter: RateLimiter; ready: jest.Mock } {
  const clock = new FakeClock();
  const limiter = new RateLimiter({ ...limits, now: clock.now, setTimer: clock.setTimer });
  const ready = jest.fn();
  limiter.onReady = ready;
  return { clock, limiter, ready };
}

describe('token buckets', () => {
  it('without limits everything passes', () => {
    const { clock, limiter } = make({});
    for (let i = 0; i < 100; i++) expect(limiter.consume(1e9, 1000)).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it('what does not fit waits until its tokens are there', () => {
    const { clock, limiter, ready } = make({ bandwidth: { size: 1000, refillTime: 100 } });
    expect(limiter.consume(900)).toBe(true);
    expect(limiter.consume(600)).toBe(false);
    expect(limiter.blocked).toBe(true);
    clock.advance(49);
    expect(ready).not.toHaveBeenCalled();
    clock.advance(1);
    expect(ready).toHaveBeenCalledTimes(1);
    expect(limiter.blocked).toBe(false);
    expect(limiter.consume(600)).toBe(true);
    expect([limiter.consume(1), limiter.refused]).toEqual([false, 2]);
  });

  it('a refused request takes tokens of neither bucket', () => {
    const { clock, limiter } = make({
      bandwidth: { size: 1000, refillTime: 1000 },
      operations: { size: 1, refillTime: 1000 },
    });
    expect(limiter.consume(100)).toBe(true);
    expect(limiter.consume(100)).toBe(false);
    expect(limiter.save()).toMatchObject({ bandwidth: { budget: 900 }, operations: { budget: 0 } });
    clock.advance(1000);
    expect(limiter.consume(1000)).toBe(true);
  });

  it('a small request does not overtake one that waits', () => {
    const { clock, limiter } = make({ bandwidth: { size: 100, refillTime: 100 } });
    limiter.consume(60);
    expect(limiter.consume(80)).toBe(false);
    expect(limiter.consume(1)).toBe(false);
    clock.advance(40);
    expect(limiter.consume(80)).toBe(true);
  });

  it('a request larger than the bucket passes when it is full, and leaves a debt', () => {
    const { clock, limiter, ready } = make({ bandwidth: { size: 100, refillTime: 100 } });
    expect(limiter.consume(1)).toBe(true);
    expect(limiter.consume(300)).toBe(false);
    clock.advance(1);
    expect(ready).toHaveBeenCalledTimes(1);
    expect(limiter.consume(300)).toBe(true);
    expect(limiter.save().bandwidth).toEqual({ budget: -200, burst: 0 });
    expect(limiter.consume(1)).toBe(false);
    clock.advance(200);
    expect(ready).toHaveBeenCalledTimes(1);
    clock.advance(1);
    expect(ready).toHaveBeenCalledTimes(2);
  });

  it('a one-time burst is used first and not filled again', () => {
    const { clock, limiter } = make({ operations: { size: 2, refillTime: 10, oneTimeBurst: 3 } });
    for (let i = 0; i < 5; i++) expect(limiter.consume(0)).toBe(true);
    expect(limiter.consume(0)).toBe(false);
    clock.advance(1000);
    expect([limiter.consume(0), limiter.consume(0), limiter.consume(0)]).toEqual([true, true, false]);
  });

  it('a timer that comes early is set again', () => {
    let time = 0;
    const timers: (() => void)[] = [];
    const limiter = new RateLimiter({
      operations: { size: 1, refillTime: 10 },
      now: () => time,
      setTimer: (task) => {
        timers.push(task);
        return () => undefined;
      },
    });
    let ready = 0;
    limiter.onReady = () => ready++;
    limiter.consume(0);
    limiter.consume(0);
    time = 9.6;
    timers.shift()!();
    expect([ready, timers.length]).toEqual([0, 1]);
    time = 10;
    timers.shift()!();
    expect(ready).toBe(1);
  });

  it('time that goes back fills nothing', () => {
    const { clock, limiter } = make({ operations: { size: 1, refillTime: 10 } });
    limiter.consume(0);
    clock.time -= 500;
    expect(limiter.save().operations).toEqual({ budget: 0, burst: 0 });
  });

  it('what is charged afterwards leaves a debt, and nothing is admitted before it is paid', () => {
    const { clock, limiter, ready } = make({ bandwidth: { size: 100, refillTime: 100 } });
    expect(limiter.admit()).toBe(true);
    limiter.charge(350);
    expect([limiter.admit(), limiter.admit()]).toEqual([false, false]);
    clock.advance(250);
    expect(ready).not.toHaveBeenCalled();
    clock.advance(1);
    expect(ready).toHaveBeenCalledTimes(1);
    expect(limiter.admit()).toBe(true);
    expect(limiter.save().bandwidth).toEqual({ budget: 1, burst: 0 });
  });

  it('cancel() forgets what waits', () => {
    const { clock, limiter, ready } = make({ operations: { size: 1, refillTime: 10 } });
    limiter.consume(0);
    limiter.consume(0);
    limiter.cancel();
    clock.advance(100);
    expect(ready).not.toHaveBeenCalled();
    expect([limiter.blocked, clock.pending, limiter.consume(0)]).toEqual([false, 0, true]);
  });

  it('other limits apply at once to what waits', () => {
    const { limiter, ready } = make({ operations: { size: 1, refillTime: 86_400_000 } });
    limiter.consume(0);
    limiter.consume(0);
    limiter.configure({});
    expect(ready).toHaveBeenCalledTimes(1);
    expect(limiter.consume(0)).toBe(true);
    expect(() => limiter.configure({ operations: { size: 0, refillTime: 1 } })).toThrow(/operations.size/);
    expect(limiter.consume(0)).toBe(true);
  });

  it('over any traffic no more passes than bucket, burst and time allow, and no wait is for ever', () => {
    const requests = fc.array(fc.record({ bytes: fc.nat(300), pause: fc.nat(30) }), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 200 }), fc.nat(100), (traffic, size, burst) => {
        const refillTime = 50;
        const { clock, limiter } = make({ bandwidth: { size, refillTime, oneTimeBurst: burst } });
        const start = clock.time;
        let passed = 0;
        let largest = 0;
        for (const { bytes, pause } of traffic) {
          clock.advance(pause);
          if (!limiter.consume(bytes)) {
            for (let i = 0; limiter.blocked && i < 20_000; i++) clock.advance(1);
            if (!limiter.consume(bytes)) return false;
          }
          passed += bytes;
          largest = Math.max(largest, bytes - size);
          const allowed = size + burst + ((clock.time - start) * size) / refillTime + Math.max(0, largest);
          if (passed > allowed + 1e-6) return false;
        }
        return true;
      }),
    );
  });
});

describe('options and state', () => {
  it.each([
    [{ bandwidth: { size: 0, refillTime: 1 } }, 'bandwidth.size'],
    [{ bandwidth: { size: 1.5, refillTime: 1 } }, 'bandwidth.size'],
    [{ operations: { size: 1, refillTime: 0 } }, 'operations.refillTime'],
    [{ operations: { size: 1, refillTime: NaN } }, 'operations.refillTime'],
    [{ operations: { size: 1, refillTime: 1, oneTimeBurst: -1 } }, 'operations.oneTimeBurst'],
  ])('refuses %j', (limits, name) => {
    expect(() => new RateLimiter(limits)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(name) as string }),
    );
  });

  it('a restored limiter goes on where the saved one was', () => {
    const limits = { bandwidth: { size: 100, refillTime: 100, oneTimeBurst: 5 } };
    const first = make(limits);
    first.limiter.consume(355);
    const state: unknown = JSON.parse(JSON.stringify(first.limiter.save()));
    expect(state).toMatchObject({ version: 1, bandwidth: { budget: -250, burst: 0 }, operations: null });
    const second = make(limits);
    second.limiter.restore(state);
    expect(second.limiter.consume(100)).toBe(false);
    second.clock.advance(350);
    expect(second.ready).toHaveBeenCalledTimes(1);
  });

  it.each([
    null,
    { version: 2 },
    { version: 1 },
    { version: 1, bandwidth: { budget: 'x', burst: 0 }, operations: null },
    { version: 1, bandwidth: null, operations: { budget: Infinity, burst: 0 } },
    { version: 1, bandwidth: null, operations: { budget: 0, burst: -1 } },
  ])('refuses the state %j', (state) => {
    const { limiter } = make({ bandwidth: { size: 1, refillTime: 1 } });
    expect(() => limiter.restore(state)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }));
  });

  it('works on the host’s clock and timers', async () => {
    const limiter = new RateLimiter({ operations: { size: 1, refillTime: 1000 } });
    expect(limiter.consume(0)).toBe(true);
    const ready = new Promise<void>((resolve) => (limiter.onReady = resolve));
    expect(limiter.consume(0)).toBe(false);
    const keepAlive = setInterval(() => undefined, 1000);
    await ready;
    clearInterval(keepAlive);
    expect(limiter.consume(0)).toBe(true);
  });
});
