import { jest } from '@jest/globals';
import { BOOT_TIMEOUT, cli } from './support.ts';
import { Terminal } from './terminal.ts';

jest.setTimeout(BOOT_TIMEOUT);

describe('run with -i and -t', () => {
  it('gives a command a terminal of this size with -it, with its keys and its exit code', async () => {
    using terminal = new Terminal([
      ...['run', '-it', '--', 'sh', '-c'],
      'stty size; trap "echo to\\ld" INT; echo u\\p; read a; read a; echo "got $a"; exit 6',
    ]);
    await terminal.waitFor(/^30 100/m);
    await terminal.waitFor(/^up/m);
    terminal.press('C-c');
    await terminal.waitFor(/told/);
    terminal.type('one\ntwo\n');
    await terminal.waitFor(/^got (?:one|two)/m);
    const screen = await terminal.waitFor(/^code=6\s+1$/m);
    expect(screen).not.toContain('BusyBox');
  });

  it('passes a terminal’s lines on to a command without one with -i', async () => {
    using terminal = new Terminal([
      'run',
      '-i',
      '--',
      'sh',
      '-c',
      'test -t 0 || echo no ter\\minal; cat; exit 3',
    ]);
    await terminal.waitFor(/^no terminal/m);
    terminal.type('typed\n');
    await terminal.waitFor(/^typed\s+typed/m);
    terminal.press('C-d');
    await terminal.waitFor(/^code=3\s+1$/m);
  });

  it('gives a terminal into which nothing is typed with -t, wherever this command’s streams are', async () => {
    const result = await cli(['run', '-t', '--', 'sh', '-c', 'tty; kill -9 $$'], { stdin: 'never seen\n' });
    expect([result.code, result.stdout.toString()]).toEqual([137, expect.stringMatching(/^\/dev\/hvc0\r\n/)]);
    expect(result.stdout.toString()).not.toContain('never seen');
    const usage = await cli(['run', '-it', '--', 'true']);
    expect([usage.code, usage.stderr]).toEqual([2, expect.stringContaining('-i with -t needs a terminal')]);
  });

  it('reads a script with -i, and prints what that prints', async () => {
    const result = await cli(['run', '-i'], { stdin: 'tty; echo $((6 * 7)) answers; exit 3\n' });
    expect([result.code, result.stdout.toString()]).toEqual([3, 'not a tty\n42 answers\n']);
  });
});

it('what is piped into the shell before its prompt is not lost', async () => {
  const result = await cli(['run'], { stdin: 'echo $((6 * 7)) answers\nexit\n' });
  expect(result.code).toBe(0);
  expect(result.stdout.toString()).toMatch(/^42 answers/m);
});
