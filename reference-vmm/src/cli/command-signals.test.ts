import { CommandSignals, codeOfExit } from './command-signals.ts';

it('signals go to the command, and the third ends the client', () => {
  const passed: string[] = [];
  let left: Error | undefined;
  const before = process.listenerCount('SIGHUP');
  {
    using signals = new CommandSignals(
      (signal) => passed.push(signal),
      (reason) => (left = reason),
    );
    process.emit('SIGHUP');
    process.emit('SIGQUIT');
    expect(left).toBeUndefined();
    process.emit('SIGTERM');
    expect([left, signals.code]).toEqual([signals.reason, 143]);
  }
  expect(passed).toEqual(['SIGHUP', 'SIGQUIT']);
  expect(process.listenerCount('SIGHUP')).toBe(before);
});

it.each([
  [{ code: 7 }, 7],
  [{ signal: 'SIGKILL' as const }, 137],
  [{ signal: 'SIG34' as NodeJS.Signals }, 162],
])('the exit code of %j is %i', (exit, code) => {
  expect(codeOfExit(exit)).toBe(code);
});
