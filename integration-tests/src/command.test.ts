import { jest } from '@jest/globals';
import { BOOT_TIMEOUT, inGuest, sh, sha256 } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

describe('run -- CMD', () => {
  it("prints the command's output and nothing else, and exits with its code", async () => {
    const result = await sh('echo hi; exit 7');
    expect(result.stdout.toString()).toBe('hi\n');
    expect(result.code).toBe(7);
  });

  it('has as many vCPUs as it was given', async () => {
    const result = await sh('nproc; (sleep 1; echo one) & (sleep 1; echo two) & wait', ['-c', '2']);
    expect(result.stdout.toString().split('\n').sort().join(' ').trim()).toBe('2 one two');
    expect(result.code).toBe(0);
  });

  it('keeps standard error apart', async () => {
    const result = await sh('echo out; echo err >&2; echo again >/dev/stderr');
    expect(result.stdout.toString()).toBe('out\n');
    expect(result.stderr).toContain('err\nagain\n');
    expect(result.code).toBe(0);
  });

  it('passes every byte of standard input through, both ways, and its end', async () => {
    const input = Buffer.alloc(3 * 1024 * 1024 + 17);
    for (let index = 0; index < input.length; index++) input[index] = (index * 2654435761) >>> 24;
    const result = await inGuest(['cat'], [], { stdin: input });
    expect(result.code).toBe(0);
    expect(result.stdout.length).toBe(input.length);
    expect(sha256(result.stdout)).toBe(sha256(input));
  });

  it('passes arguments as they are', async () => {
    const words = ['a b', "it's", '$HOME', '*', '', '"', '\\', 'ü\n!'];
    const result = await inGuest(['printf', '<%s>', ...words]);
    expect(result.stdout.toString()).toBe(words.map((word) => `<${word}>`).join(''));
  });

  it('answers 127 for a program that is not there and 126 for one that cannot be executed', async () => {
    const [missing, refused] = await Promise.all([inGuest(['no-such-program']), inGuest(['/etc/passwd'])]);
    expect(missing.code).toBe(127);
    expect(refused.code).toBe(126);
  });

  it('answers 128+n when signal n ended the command', async () => {
    const result = await sh('kill -9 $$');
    expect(result.code).toBe(137);
  });

  it('gives the command default signal handling and a /dev/stdin of its own', async () => {
    const result = await sh('sh -c "kill -INT \\$\\$"; echo $?; cat /dev/stdin', [], { stdin: 'in' });
    expect(result.stdout.toString()).toBe('130\nin');
  });

  it('ends with the command, whatever the command left running', async () => {
    const result = await sh('sleep 1000 & echo started');
    expect(result.stdout.toString()).toBe('started\n');
    expect(result.code).toBe(0);
  });

  it('does not wait for standard input that the command does not read', async () => {
    const result = await inGuest(['true'], [], { openStdin: true });
    expect(result.code).toBe(0);
  });

  it('ends at --timeout with 124, also while the guest spins', async () => {
    const result = await sh('while :; do :; done', ['--timeout', '6s']);
    expect(result.code).toBe(124);
    expect(result.stderr).toContain('timeout');
  });

  it('ends with 128+n when the VMM gets signal n', async () => {
    const result = await sh('echo up; sleep 1000', [], {
      onOutput: (text, { kill }) => {
        if (text.includes('up')) kill('SIGTERM');
      },
    });
    expect(result.code).toBe(143);
  });
});
