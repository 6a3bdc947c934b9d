import { Broadcast } from './broadcast.ts';
import { type VmmEvent, VmmEvents } from './events.ts';

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const value of values) seen.push(value);
  return seen;
}

const STOPPED: VmmEvent = { kind: 'stopped', reason: { kind: 'shutdown' } };

describe('events of a VM', () => {
  it('come from the call on, the state first, the end last', async () => {
    const vm = new VmmEvents();
    const [events, states] = [vm.events(), vm.states()];
    vm.stateChanged('running');
    vm.tell({ kind: 'powerButton' });
    vm.stateChanged('running');
    const late = vm.events();
    vm.stateChanged('stopped');
    vm.stopped({ kind: 'shutdown' });
    expect(await all(events)).toEqual([
      { kind: 'state', state: 'created' },
      { kind: 'state', state: 'running' },
      { kind: 'powerButton' },
      { kind: 'state', state: 'stopped' },
      STOPPED,
    ]);
    expect(await all(late)).toEqual([
      { kind: 'state', state: 'running' },
      { kind: 'state', state: 'stopped' },
      STOPPED,
    ]);
    expect(await all(states)).toEqual(['created', 'running', 'stopped']);
    expect(await all(vm.events())).toEqual([{ kind: 'state', state: 'stopped' }, STOPPED]);
    expect(await all(vm.states())).toEqual(['stopped']);
  });

  it('that a slow subscriber lost are counted, and the newest are kept', async () => {
    const vm = new VmmEvents();
    const events = vm.events();
    for (let i = 0; i < 1000; i++) vm.tell({ kind: 'reset' });
    vm.stateChanged('failed');
    vm.stopped({ kind: 'shutdown' });
    const seen = await all(events);
    expect(seen[0]).toEqual({ kind: 'lost', count: 1003 - 256 });
    expect(seen).toHaveLength(257);
    expect(seen.slice(-2)).toEqual([{ kind: 'state', state: 'failed' }, STOPPED]);
  });
});

describe('Broadcast', () => {
  it('serves those who wait, each alone', async () => {
    const source = new Broadcast<number>();
    const [one, two] = [source.subscribe(), source.subscribe()];
    const waiting = Promise.all([one.next(), one.next(), two.next()]);
    source.emit(1);
    source.emit(2);
    expect(await waiting).toEqual([1, 2, 1].map((value) => ({ done: false, value })));
    expect(await two.next()).toEqual({ done: false, value: 2 });
    const end = one.next();
    source.end();
    expect(await end).toEqual({ done: true, value: undefined });
  });

  it('forgets who leaves the loop', async () => {
    const source = new Broadcast<number>();
    const values = source.subscribe({ first: [1, 2] });
    for await (const value of values) {
      expect(value).toBe(1);
      expect(source.size).toBe(1);
      break;
    }
    expect(source.size).toBe(0);
    expect(await values.next()).toEqual({ done: true, value: undefined });
  });

  it('rejects with the reason of the signal, at once and ever after', async () => {
    const source = new Broadcast<number>();
    const controller = new AbortController();
    const values = source.subscribe({ signal: controller.signal, first: [1, 2] });
    await values.next();
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(values.next()).rejects.toBe(reason);
    const waiting = source.subscribe({ signal: AbortSignal.abort('text') });
    await expect(waiting.next()).rejects.toThrow('aborted: text');
    expect(source.size).toBe(0);
  });

  it('rejects who waits when the signal comes', async () => {
    const source = new Broadcast<number>();
    const controller = new AbortController();
    const waiting = source.subscribe({ signal: controller.signal }).next();
    controller.abort();
    await expect(waiting).rejects.toHaveProperty('name', 'AbortError');
    expect(source.size).toBe(0);
  });
});
