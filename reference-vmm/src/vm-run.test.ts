import * as fc from 'fast-check';
import { FakeParts, turns } from '../test/fake-parts.ts';
import type { VmmEvent } from './events.ts';
import type { VmmState } from './lifecycle.ts';
import { VmRun } from './vm-run.ts';

type Step = 'start' | 'pause' | 'resume' | 'stop' | 'fail' | 'turn' | 'settle';

/** Where each operation leads when nothing else is under way; others throw WRONG_STATE. */
const MODEL: Readonly<Record<string, Readonly<Partial<Record<VmmState, VmmState>>>>> = {
  start: { created: 'running' },
  pause: { running: 'paused' },
  resume: { paused: 'running' },
  stop: { created: 'stopped', running: 'stopped', paused: 'stopped', stopped: 'stopped', failed: 'failed' },
  fail: { created: 'failed', running: 'failed', paused: 'failed', stopped: 'stopped', failed: 'failed' },
};

/** States that may follow each other. */
const FOLLOWS: Readonly<Record<VmmState, readonly VmmState[]>> = {
  created: ['starting', 'stopping'],
  starting: ['running', 'stopping'],
  running: ['paused', 'stopping'],
  paused: ['running', 'stopping'],
  stopping: ['stopped', 'failed'],
  stopped: [],
  failed: [],
};

function perform(run: VmRun, step: Step): Promise<void> {
  switch (step) {
    case 'start':
      return Promise.resolve().then(() => run.start());
    case 'pause':
      return run.lifecycle.inTurn(() => run.pause());
    case 'resume':
      return run.lifecycle.inTurn(() => {
        run.resume();
        return Promise.resolve();
      });
    case 'stop':
      return run.stop();
    case 'fail':
      run.fail(new Error('by hand'));
      return Promise.resolve();
    case 'turn':
    case 'settle':
      return turns(step === 'turn' ? 1 : 12);
  }
}

const OPERATIONS = ['start', 'pause', 'resume', 'stop', 'fail'] as const;

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

/** What must be so after its end, whatever came before. */
async function expectEnded(fake: FakeParts, run: VmRun): Promise<void> {
  await run.stop();
  expect((await run.stopped).kind).toBe(run.lifecycle.state === 'failed' ? 'failed' : 'stopped');
  expect(fake.faults).toEqual([]);
  expect(fake.released).toEqual(['vm', 'machine', 'devices']);
  expect(fake.vcpu.state).toBe('none');
}

describe('the run of a VM', () => {
  it('goes as the table says, one operation after the other', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom(...OPERATIONS), { maxLength: 12 }), async (steps) => {
        using fake = new FakeParts();
        const run = new VmRun(fake.parts);
        let state: VmmState = 'created';
        for (const step of steps) {
          const next: VmmState | undefined = MODEL[step]?.[state];
          const outcome = await perform(run, step).then(
            () => undefined,
            (error: unknown) => error,
          );
          await turns(12);
          if (next === undefined)
            expect(outcome).toMatchObject({ code: 'WRONG_STATE', operation: step, from: state });
          else expect(outcome).toBeUndefined();
          state = next ?? state;
          expect(run.lifecycle.state).toBe(state);
          const still = fake.vcpu.state !== 'running';
          expect([still, fake.clockStopped && fake.devicesPaused]).toEqual(
            state === 'paused' ? [true, true] : [state !== 'running', false],
          );
        }
        await expectEnded(fake, run);
      }),
      { numRuns: 60 },
    );
  });

  it('answers everybody, and ends in order, when operations come at once', async () => {
    const step = fc.constantFrom<Step>(...OPERATIONS, 'turn', 'settle');
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        using fake = new FakeParts();
        const run = new VmRun(fake.parts);
        const states = all(run.events.states());
        const events = all(run.events.events());
        const answers: Promise<void>[] = [];
        for (const each of steps) {
          const answer = perform(run, each);
          if (each === 'turn' || each === 'settle') await answer;
          else answers.push(answer);
          answer.catch(() => undefined);
        }
        await turns(1);
        answers.push(run.stop());
        const refused = (await Promise.allSettled(answers)).filter((each) => each.status === 'rejected');
        for (const { reason } of refused) expect(reason).toMatchObject({ code: 'WRONG_STATE' });
        await expectEnded(fake, run);
        const seen = await states;
        expect(seen[0]).toBe('created');
        expect(seen.at(-1)).toBe(run.lifecycle.state);
        seen.forEach((state, index) => {
          const next = seen[index + 1];
          if (next !== undefined) expect(FOLLOWS[state]).toContain(next);
        });
        const told = (await events).filter(
          (event): event is Extract<VmmEvent, { kind: 'state' }> => event.kind === 'state',
        );
        expect(told.map(({ state }) => state)).toEqual(seen);
      }),
      { numRuns: 100 },
    );
  });

  it('starts, and what comes meanwhile waits until it runs', async () => {
    using fake = new FakeParts();
    const run = new VmRun(fake.parts);
    const states = all(run.events.states());
    run.start();
    expect(run.lifecycle.state).toBe('starting');
    await run.lifecycle.inTurn(() => run.pause());
    expect(run.lifecycle.state).toBe('paused');
    await run.stop();
    expect(await states).toEqual(['created', 'starting', 'running', 'paused', 'stopping', 'stopped']);
  });

  it('fails, when a vCPU does', async () => {
    using fake = new FakeParts();
    const run = new VmRun(fake.parts);
    run.start();
    fake.vcpu.fail('no thread');
    expect(await run.stopped).toEqual({ kind: 'failed', message: 'no thread' });
    expect(run.lifecycle.state).toBe('failed');
  });

  it('gives back the rest, and fails, when something cannot be given back', async () => {
    using fake = new FakeParts();
    const { machine } = fake.parts;
    Object.defineProperty(machine, Symbol.dispose, {
      value: () => {
        throw new Error('stuck');
      },
    });
    const run = new VmRun(fake.parts);
    run.start();
    await run.stop();
    expect(await run.stopped).toEqual({ kind: 'failed', message: 'stuck' });
    expect(fake.released).toEqual(['vm', 'devices']);
  });

  it('goes on, when whoever asked for a pause takes it back', async () => {
    using fake = new FakeParts();
    const run = new VmRun(fake.parts);
    run.start();
    const caller = new AbortController();
    const paused = run.lifecycle.inTurn(() => {
      const pausing = run.pause(caller.signal);
      caller.abort(new Error('left'));
      return pausing;
    }, caller.signal);
    await expect(paused).rejects.toThrow('left');
    expect([run.lifecycle.state, fake.vcpu.state, fake.devicesPaused]).toEqual(['running', 'running', false]);
    await run.stop();
  });
});
