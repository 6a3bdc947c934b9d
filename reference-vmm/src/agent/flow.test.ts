import { text } from 'node:stream/consumers';
import { AgentHarness, failure, firstLine } from '../../test/agent-harness.ts';

const guest = AgentHarness.use();

describe('flow', () => {
  const megabytes = 8 * 1024 * 1024;

  it('carries more than any buffer both ways at once', async () => {
    const command = guest.agent.exec(['cat']);
    const data = Buffer.alloc(megabytes, 'the quick brown fox ');
    command.stdin.end(data);
    let size = 0;
    let same = true;
    for await (const chunk of command.stdout as AsyncIterable<Buffer>) {
      same &&= chunk.equals(data.subarray(size, size + chunk.length));
      size += chunk.length;
    }
    expect([size, same]).toEqual([megabytes, true]);
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('lets one command work while nobody reads the flood of another', async () => {
    const flood = guest.agent.exec(['yes']);
    const silent = guest.agent.exec(['sleep', '1000']);
    // Nobody takes this.
    silent.stdin.write(Buffer.alloc(megabytes));
    for (let i = 0; i < 5; i++) expect((await guest.sh('echo hello').output()).stdout).toBe('hello\n');
    expect(flood.stdout.readableLength).toBeLessThanOrEqual(262144);
    for (const command of [flood, silent]) command.kill('SIGKILL');
    expect(await flood.exit).toEqual({ signal: 'SIGKILL' });
    expect(await silent.exit).toEqual({ signal: 'SIGKILL' });
    flood.stdout.destroy();
  });

  it('does not make standard error wait for standard output', async () => {
    const command = guest.sh('echo first >&2; yes | head -c 8000000; echo last >&2');
    // Standard output is full by then, and is read last.
    expect(await firstLine(command.stderr)).toBe('first');
    expect((await text(command.stdout)).length).toBe(8000000);
    expect(await text(command.stderr)).toBe('last\n');
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('runs many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) => guest.sh(`cat; echo ${i}; exit ${i}`).output()),
    );
    expect(results.map(({ stdout, exit }) => [stdout, exit])).toEqual(
      results.map((_, i) => [`${i}\n`, { code: i }]),
    );
  });

  it('refuses more than 256 at once, and takes more when they have ended', async () => {
    const commands = Array.from({ length: 256 }, () => guest.agent.exec(['cat']));
    await expect(guest.agent.exec(['true']).exit).rejects.toEqual(failure('GUEST_ERROR'));
    for (const { stdin } of commands) stdin.end();
    await Promise.all(commands.map(({ stdout, stderr }) => Promise.all([text(stdout), text(stderr)])));
    expect(await Promise.all(commands.map(({ exit }) => exit))).toEqual(commands.map(() => ({ code: 0 })));
    expect(await guest.agent.exec(['true']).exit).toEqual({ code: 0 });
  });

  it('gives a command whose output nobody wants SIGPIPE', async () => {
    const command = guest.agent.exec(['yes']);
    command.stdout.destroy();
    expect(await command.exit).toEqual({ signal: 'SIGPIPE' });
  });

  it('takes input that a command does not read', async () => {
    const command = guest.sh('exec <&-; echo closed; read never </dev/null; exit 0');
    command.stdin.write(Buffer.alloc(megabytes));
    command.stdin.end();
    expect(await text(command.stdout)).toBe('closed\n');
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('hands over all output of a command that ended long before', async () => {
    const command = guest.sh('head -c 60000 /dev/zero; exit 4');
    expect(await command.exit).toEqual({ code: 4 });
    expect((await text(command.stdout)).length).toBe(60000);
  });
});
