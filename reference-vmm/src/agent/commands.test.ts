import { text } from 'node:stream/consumers';
import { AgentHarness, failure, firstLine } from '../../test/agent-harness.ts';

const guest = AgentHarness.use();

describe('a command', () => {
  it('has standard input, output and error of its own, and an exit code', async () => {
    const command = guest.sh('read a; echo "out $a"; echo "err $a" >&2; exit 7');
    command.stdin.end('x\n');
    expect(await Promise.all([text(command.stdout), text(command.stderr), command.exit])).toEqual([
      'out x\n',
      'err x\n',
      { code: 7 },
    ]);
  });

  it('is not given to a shell', async () => {
    const { stdout } = await guest.agent.exec(['printf', '%s|', 'a b', '$HOME', '', "'"]).output();
    expect(stdout).toBe("a b|$HOME||'|");
  });

  it('has the environment and the working directory that were asked for', async () => {
    const added = await guest
      .sh('echo "$A:$PATH:$(pwd)"', { env: { A: 'é=1' }, cwd: guest.scratch })
      .output();
    expect(added.stdout).toBe(`é=1:${process.env['PATH']}:${guest.scratch}\n`);
    const own = await guest.agent.exec(['/usr/bin/env'], { env: { B: '2' }, ownEnvironment: true }).output();
    expect(own.stdout).toBe('B=2\n');
  });

  it('says by which signal it ended', async () => {
    expect(await guest.sh('kill -SEGV $$').exit).toEqual({ signal: 'SIGSEGV' });
  });

  it('gets signals with its process group', async () => {
    const command = guest.sh('trap "echo told; exit 3" USR1; echo up; sleep 1000 & wait');
    expect(await firstLine(command.stdout)).toBe('up');
    command.kill('SIGUSR1');
    expect(await command.exit).toEqual({ code: 3 });
    const group = guest.sh('sleep 1000 & echo $!; wait');
    const child = await firstLine(group.stdout);
    group.kill('SIGKILL');
    expect(await group.exit).toEqual({ signal: 'SIGKILL' });
    const check = await guest
      .sh(`while kill -0 ${child} 2>/dev/null && ! grep -q ' Z ' /proc/${child}/stat; do :; done; echo gone`)
      .output();
    expect(check.stdout).toBe('gone\n');
  });

  it('that is not there, or is no program, is refused with the reason of its system', async () => {
    await expect(guest.agent.exec(['/no/such/program']).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    await expect(guest.agent.exec(['no-such-program-on-the-path']).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    await expect(guest.agent.exec(['/etc/passwd']).output()).rejects.toEqual(
      failure('GUEST_ERROR', 'EACCES'),
    );
    await expect(guest.agent.exec(['true'], { cwd: '/no/such' }).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    await expect(guest.agent.exec(['true'], { user: 'nobody-has-this-name' }).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    expect(() => guest.agent.exec([])).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => guest.agent.exec(['a\0b'])).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => guest.agent.exec(['x'.repeat(70000)])).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
  });

  it('ends its output when it ends, whatever it left running', async () => {
    const { stdout, exit } = await guest.sh('echo before; sleep 20 & exit 0').output();
    expect([stdout, exit]).toEqual(['before\n', { code: 0 }]);
  });

  it('is killed after its time', async () => {
    const command = guest.sh('echo up; sleep 1000', { timeout: 50 });
    await expect(command.exit).rejects.toEqual(failure('TIMED_OUT'));
    await expect(guest.sh('sleep 1000', { timeout: 1 }).output()).rejects.toEqual(failure('TIMED_OUT'));
  });

  it('is killed by an AbortSignal, before and after its start', async () => {
    const controller = new AbortController();
    const command = guest.sh('echo $$; exec sleep 1000', { signal: controller.signal });
    const pid = await firstLine(command.stdout);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(command.exit).rejects.toBe(reason);
    await expect(guest.sh('true', { signal: controller.signal }).exit).rejects.toBe(reason);
    expect((await guest.sh(`while kill -0 ${pid} 2>/dev/null; do :; done; echo gone`).output()).stdout).toBe(
      'gone\n',
    );
  });

  it('runs as another user where the agent is root', async () => {
    if (process.getuid?.() !== 0) {
      await expect(guest.agent.exec(['id', '-u'], { user: '65534:65534' }).exit).rejects.toEqual(
        failure('GUEST_ERROR', 'EPERM'),
      );
      return;
    }
    const numbers = await guest.sh('id -u; id -g', { user: '65534:65533' }).output();
    expect(numbers.stdout).toBe('65534\n65533\n');
    const name = await guest.sh('id -un; id -G; echo $HOME', { user: 'daemon' }).output();
    expect(name.stdout).toBe('daemon\n1\n/usr/sbin\n');
  });
});

describe('a terminal', () => {
  it('has a size, changes it, and knows end of file and interrupts', async () => {
    const script =
      'stty size; until [ "$(stty size)" = "40 120" ]; do sleep 0.02; done; stty size; read a; echo "got $a"; cat; echo end';
    const command = guest.sh(script, {
      tty: { columns: 100, rows: 30 },
    });
    const lines = command.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false });
    let seen = '';
    const until = async (what: string): Promise<void> => {
      while (!seen.includes(what)) {
        const { value, done } = (await lines.next()) as { value: string; done?: boolean };
        if (done === true) throw new Error(`"${what}" did not come: ${seen}`);
        seen += value;
      }
    };
    await until('30 100');
    command.resize({ columns: 120, rows: 40 });
    await until('40 120');
    command.stdin.write('hi\r');
    await until('got hi');
    command.stdin.end('line\n');
    await until('end');
    expect(await command.exit).toEqual({ code: 0 });
    expect(seen.match(/line/g)).toHaveLength(2);
    expect(await text(command.stderr)).toBe('');
  });

  it('turns the character into a signal', async () => {
    const command = guest.sh('echo up; exec sleep 1000', { tty: true });
    expect(await firstLine(command.stdout)).toBe('up\r');
    command.stdin.write('\x03');
    expect(await command.exit).toEqual({ signal: 'SIGINT' });
  });

  it('is lost with the command, whatever still has it open', async () => {
    const command = guest.sh('trap "" HUP; sleep 20 & echo up', { tty: true });
    expect(await text(command.stdout)).toBe('up\r\n');
    expect(await command.exit).toEqual({ code: 0 });
  });
});
