import { deferToNextTurn } from './defer.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('what devices put off', () => {
  it('runs in order, a few tasks in each turn of the event loop', async () => {
    const ran: number[] = [];
    for (let i = 0; i < 40; i++) deferToNextTurn(() => ran.push(i));
    expect(ran).toEqual([]);
    let most = 0;
    for (let turns = 0; ran.length < 40; turns++) {
      expect(turns).toBeLessThan(40);
      const before = ran.length;
      await turn();
      most = Math.max(most, ran.length - before);
    }
    expect(most).toBeLessThanOrEqual(2);
    expect(ran).toEqual(Array.from({ length: 40 }, (_, i) => i));
  });

  it('comes in a later turn when a task puts it off', async () => {
    const ran: string[] = [];
    deferToNextTurn(() => {
      ran.push('first');
      deferToNextTurn(() => ran.push('second'));
    });
    await turn();
    expect(ran).toEqual(['first']);
    await turn();
    expect(ran).toEqual(['first', 'second']);
  });
});
