import { setImmediate as turn } from 'node:timers/promises';
import { reasonOf, unlessAborted } from './abort.ts';

class Made implements AsyncDisposable {
  disposed = 0;
  [Symbol.asyncDispose](): Promise<void> {
    this.disposed++;
    return Promise.resolve();
  }
}

describe('unlessAborted', () => {
  const reason = new Error('enough');

  it('gives what is made, and leaves it alone when the signal comes later', async () => {
    const made = new Made();
    const controller = new AbortController();
    expect(await unlessAborted(undefined, () => Promise.resolve(made))).toBe(made);
    expect(await unlessAborted(controller.signal, () => Promise.resolve(made))).toBe(made);
    controller.abort(reason);
    await turn();
    expect(made.disposed).toBe(0);
  });

  it('makes nothing after the signal', async () => {
    let calls = 0;
    const making = (): Promise<Made> => {
      calls++;
      return Promise.resolve(new Made());
    };
    await expect(unlessAborted(AbortSignal.abort(reason), making)).rejects.toBe(reason);
    expect(calls).toBe(0);
  });

  it('rejects at once, and disposes of what is made all the same', async () => {
    const made = new Made();
    const controller = new AbortController();
    let finish: (made: Made) => void = () => undefined;
    const waiting = unlessAborted(
      controller.signal,
      () => new Promise<Made>((resolve) => (finish = resolve)),
    );
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    expect(made.disposed).toBe(0);
    finish(made);
    await turn();
    expect(made.disposed).toBe(1);
  });

  it('rejects with what making rejects with', async () => {
    const failed = new Error('failed');
    const { signal } = new AbortController();
    await expect(unlessAborted(signal, () => Promise.reject<Made>(failed))).rejects.toBe(failed);
  });
});

describe('reasonOf', () => {
  it('is an error, whatever the reason is', () => {
    expect(reasonOf(AbortSignal.abort())).toHaveProperty('name', 'AbortError');
    expect(reasonOf(AbortSignal.abort('text'))).toHaveProperty('message', 'aborted: text');
  });
});
