import { Lifecycle, type VmmState, type VmmTransition } from './lifecycle.ts';

const WAYS: Readonly<Record<VmmState, readonly VmmTransition[]>> = {
  created: [],
  starting: ['start'],
  running: ['start', 'started'],
  paused: ['start', 'started', 'pause'],
  stopping: ['stop'],
  stopped: ['stop', 'finish'],
  failed: ['start', 'stop', 'fail'],
};

/** A VM that came to a state by allowed steps. */
function at(state: VmmState): Lifecycle {
  const lifecycle = new Lifecycle('box');
  for (const step of WAYS[state]) lifecycle.take(step);
  return lifecycle;
}

describe('states of a VM', () => {
  it.each([
    ['start', ['created'], 'starting'],
    ['started', ['starting'], 'running'],
    ['restore', ['created'], 'paused'],
    ['pause', ['running'], 'paused'],
    ['snapshot', ['running', 'paused'], 'paused'],
    ['resume', ['paused'], 'running'],
    ['reset', ['running', 'paused'], 'running'],
    ['stop', ['created', 'starting', 'running', 'paused'], 'stopping'],
    ['finish', ['stopping'], 'stopped'],
    ['fail', ['stopping'], 'failed'],
  ] as const)('%s', (transition, from, to) => {
    for (const state of Object.keys(WAYS) as VmmState[]) {
      const lifecycle = at(state);
      const allowed = (from as readonly VmmState[]).includes(state);
      expect(lifecycle.allows(transition)).toBe(allowed);
      if (allowed) {
        lifecycle.take(transition);
        expect(lifecycle.state).toBe(to);
      } else {
        expect(() => lifecycle.take(transition)).toThrow(
          expect.objectContaining({
            code: 'WRONG_STATE',
            message: `cannot ${transition} "box": it is ${state}`,
            from: state,
            operation: ['started', 'finish', 'fail'].includes(transition) ? undefined : transition,
          }) as Error,
        );
        expect(lifecycle.state).toBe(state);
      }
    }
  });
});

describe('operations', () => {
  it('come one after the other, and a failure does not keep the next', async () => {
    const lifecycle = new Lifecycle('box');
    const steps: string[] = [];
    const operation = (name: string, fails: boolean) => async (): Promise<string> => {
      steps.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      steps.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
    const results = await Promise.allSettled([
      lifecycle.inTurn(operation('first', false)),
      lifecycle.inTurn(operation('second', true)),
      lifecycle.inTurn(operation('third', false)),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(steps).toEqual(['first', 'second', 'third'].flatMap((name) => [`${name} begins`, `${name} ends`]));
  });

  it('are not run any more when their callers left before their turn', async () => {
    const lifecycle = new Lifecycle('box');
    let release = (): void => undefined;
    const first = lifecycle.inTurn(() => new Promise<void>((resolve) => (release = resolve)));
    const caller = new AbortController();
    const run: string[] = [];
    const second = lifecycle.inTurn(() => Promise.resolve(run.push('second')), caller.signal);
    const third = lifecycle.inTurn(() => Promise.resolve(run.push('third')));
    const reason = new Error('left');
    caller.abort(reason);
    await expect(second).rejects.toBe(reason);
    await expect(lifecycle.inTurn(() => Promise.resolve(), caller.signal)).rejects.toBe(reason);
    release();
    await Promise.all([first, third]);
    expect(run).toEqual(['third']);
  });
});
