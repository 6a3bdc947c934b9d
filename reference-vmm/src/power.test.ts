import { jest } from '@jest/globals';
import { type PowerTarget, powerOff } from './power.ts';

/** A VM whose guest reacts to as many presses as it is told to ignore, plus one. */
class Guest implements PowerTarget<string> {
  readonly presses: boolean[] = [];
  readonly stopped: Promise<string>;
  ignored: number;
  end: (how: string) => void = () => undefined;

  constructor(ignored: number) {
    this.ignored = ignored;
    this.stopped = new Promise((resolve) => (this.end = resolve));
  }

  press(pressed: boolean): void {
    this.presses.push(pressed);
    if (!pressed) return;
    if (this.ignored === 0) this.end('by itself');
    this.ignored--;
  }

  stop(): Promise<void> {
    this.end('hard');
    return Promise.resolve();
  }
}

const pressed = (guest: Guest): number => guest.presses.filter(Boolean).length;

beforeEach(() => jest.useFakeTimers());
afterEach(() => {
  // Nothing is left that would press a button.
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

describe('powerOff', () => {
  it('presses the button, lets it go, and waits for the guest', async () => {
    const guest = new Guest(0);
    expect(await powerOff(guest)).toBe('by itself');
    expect(guest.presses).toEqual([true, false]);
  });

  it('presses again while the guest has not noticed, one press at a time', async () => {
    const guest = new Guest(2);
    const ended = powerOff(guest);
    await jest.advanceTimersByTimeAsync(2000);
    expect(await ended).toBe('by itself');
    expect(guest.presses).toEqual([true, false, true, false, true, false]);
  });

  it('ends the VM hard after the time of grace', async () => {
    const guest = new Guest(1000);
    const ended = powerOff(guest, { grace: 2500 });
    await jest.advanceTimersByTimeAsync(2499);
    expect(pressed(guest)).toBe(3);
    await jest.advanceTimersByTimeAsync(1);
    expect(await ended).toBe('hard');
    expect(guest.presses.at(-1)).toBe(false);
  });

  it('does not ask where there is no grace', async () => {
    const guest = new Guest(0);
    expect(await powerOff(guest, { grace: 0 })).toBe('hard');
    expect(guest.presses).toEqual([]);
  });

  it('waits for ever where it is told to', async () => {
    const guest = new Guest(100);
    const ended = powerOff(guest, { grace: Infinity });
    await jest.advanceTimersByTimeAsync(100_000);
    expect(await ended).toBe('by itself');
  });

  it('leaves the guest alone when the signal comes', async () => {
    const guest = new Guest(1000);
    const controller = new AbortController();
    const ended = powerOff(guest, { grace: 5000, signal: controller.signal });
    const reason = new Error('changed my mind');
    const refused = expect(ended).rejects.toBe(reason);
    await jest.advanceTimersByTimeAsync(1100);
    controller.abort(reason);
    await refused;
    const before = guest.presses.length;
    await jest.advanceTimersByTimeAsync(10_000);
    expect(guest.presses.slice(before - 1)).toEqual([false]);
    await expect(powerOff(guest, { signal: controller.signal })).rejects.toBe(reason);
  });

  it.each([-1, NaN, 2 ** 31])('refuses %d ms of grace', async (grace) => {
    const guest = new Guest(0);
    await expect(powerOff(guest, { grace })).rejects.toEqual(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
    expect(guest.presses).toEqual([]);
  });
});
