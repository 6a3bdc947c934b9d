import { AdaptiveSpin, SPIN_LIMIT } from './spin.ts';

/** A clock that advances by a step with each reading. */
function clock(step: number): { now: () => number; readings: () => number } {
  let time = 0;
  let readings = 0;
  return {
    now: () => {
      readings++;
      return (time += step);
    },
    readings: () => readings,
  };
}

describe('AdaptiveSpin', () => {
  const words = new Int32Array(new SharedArrayBuffer(4));

  it('sees a word that differs already', () => {
    const { now } = clock(SPIN_LIMIT / 4);
    expect(new AdaptiveSpin(words, now, true).whileEqual(0, 1)).toBe(true);
  });

  it('gives up when its time is over', () => {
    const { now, readings } = clock(SPIN_LIMIT / 4);
    expect(new AdaptiveSpin(words, now, true).whileEqual(0, 0)).toBe(false);
    expect(readings()).toBeLessThan(8);
  });

  it('stops polling after a series of failures, tries again now and then, and returns to it when that pays', () => {
    const { now, readings } = clock(SPIN_LIMIT);
    const spin = new AdaptiveSpin(words, now, true);
    for (let count = 0; count < 100; count++) spin.whileEqual(0, 0);
    const before = readings();
    for (let count = 0; count < 640; count++) spin.whileEqual(0, 0);
    const tried = readings() - before;
    expect(tried).toBeGreaterThan(0);
    expect(tried).toBeLessThan(40);
    while (!spin.whileEqual(0, 1));
    expect(spin.whileEqual(0, 1)).toBe(true);
  });

  it('never polls when it is switched off', () => {
    const { now, readings } = clock(SPIN_LIMIT);
    expect(new AdaptiveSpin(words, now, false).whileEqual(0, 1)).toBe(false);
    expect(readings()).toBe(0);
  });
});
