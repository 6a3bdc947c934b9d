import { spawn } from 'node:child_process';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Agent } from './agent.ts';
import type { GuestProcess } from './guest-process.ts';
import { agentProgram } from './program.ts';
import type { TreeItem, TreeSource } from './transfers.ts';

const program = agentProgram(process.arch === 'x64' ? 'x86_64' : 'aarch64');
if (program === undefined)
  throw new Error('the agent was not built: node reference-vmm/scripts/build-agent.mjs');

/** The program that runs in guests, on this machine. */
function startProgram(): { channel: Duplex; end: () => Promise<number | null> } {
  const child = spawn(program!, ['--fd', '3'], { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  const exited = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  const channel = child.stdio[3] as Duplex;
  return {
    channel,
    end: async () => {
      channel.destroy();
      return await exited;
    },
  };
}

let scratch = '';
let agent: Agent;
let end: () => Promise<number | null>;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'vmm-agent-'));
  const started = startProgram();
  agent = Agent.attach(started.channel);
  end = started.end;
  await agent.ready();
});

afterAll(async () => {
  // The program has not failed on the way.
  expect(agent.failure).toBeUndefined();
  expect(await end()).toBe(0);
  rmSync(scratch, { recursive: true, force: true });
});

const sh = (script: string, options?: Parameters<Agent['exec']>[1]): GuestProcess =>
  agent.exec(['sh', '-c', script], options);

async function firstLine(stream: Readable): Promise<string> {
  let seen = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    seen += String(chunk);
    if (seen.includes('\n')) break;
  }
  return seen.slice(0, seen.indexOf('\n'));
}

const failure = (code: string, cause?: string): unknown =>
  expect.objectContaining({
    name: 'VmmError',
    code,
    ...(cause === undefined ? {} : { cause: expect.objectContaining({ code: cause }) }),
  });

describe('a command', () => {
  it('has standard input, output and error of its own, and an exit code', async () => {
    const command = sh('read a; echo "out $a"; echo "err $a" >&2; exit 7');
    command.stdin.end('x\n');
    expect(await Promise.all([text(command.stdout), text(command.stderr), command.exit])).toEqual([
      'out x\n',
      'err x\n',
      { code: 7 },
    ]);
  });

  it('is not given to a shell', async () => {
    const { stdout } = await agent.exec(['printf', '%s|', 'a b', '$HOME', '', "'"]).output();
    expect(stdout).toBe("a b|$HOME||'|");
  });

  it('has the environment and the working directory that were asked for', async () => {
    const added = await sh('echo "$A:$PATH:$(pwd)"', { env: { A: 'é=1' }, cwd: scratch }).output();
    expect(added.stdout).toBe(`é=1:${process.env['PATH']}:${scratch}\n`);
    const own = await agent.exec(['/usr/bin/env'], { env: { B: '2' }, ownEnvironment: true }).output();
    expect(own.stdout).toBe('B=2\n');
  });

  it('says by which signal it ended', async () => {
    expect(await sh('kill -SEGV $$').exit).toEqual({ signal: 'SIGSEGV' });
  });

  it('gets signals with its process group', async () => {
    const command = sh('trap "echo told; exit 3" USR1; echo up; sleep 1000 & wait');
    expect(await firstLine(command.stdout)).toBe('up');
    command.kill('SIGUSR1');
    expect(await command.exit).toEqual({ code: 3 });
    const group = sh('sleep 1000 & echo $!; wait');
    const child = await firstLine(group.stdout);
    group.kill('SIGKILL');
    expect(await group.exit).toEqual({ signal: 'SIGKILL' });
    const check = await sh(
      `while kill -0 ${child} 2>/dev/null && ! grep -q ' Z ' /proc/${child}/stat; do :; done; echo gone`,
    ).output();
    expect(check.stdout).toBe('gone\n');
  });

  it('that is not there, or is no program, is refused with the reason of its system', async () => {
    await expect(agent.exec(['/no/such/program']).exit).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(agent.exec(['no-such-program-on-the-path']).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    await expect(agent.exec(['/etc/passwd']).output()).rejects.toEqual(failure('GUEST_ERROR', 'EACCES'));
    await expect(agent.exec(['true'], { cwd: '/no/such' }).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    await expect(agent.exec(['true'], { user: 'nobody-has-this-name' }).exit).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOENT'),
    );
    expect(() => agent.exec([])).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => agent.exec(['a\0b'])).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(() => agent.exec(['x'.repeat(70000)])).toThrow(
      expect.objectContaining({ code: 'INVALID_REQUEST' }),
    );
  });

  it('ends its output when it ends, whatever it left running', async () => {
    const { stdout, exit } = await sh('echo before; sleep 20 & exit 0').output();
    expect([stdout, exit]).toEqual(['before\n', { code: 0 }]);
  });

  it('is killed after its time', async () => {
    const command = sh('echo up; sleep 1000', { timeout: 50 });
    await expect(command.exit).rejects.toEqual(failure('TIMED_OUT'));
    await expect(sh('sleep 1000', { timeout: 1 }).output()).rejects.toEqual(failure('TIMED_OUT'));
  });

  it('is killed by an AbortSignal, before and after its start', async () => {
    const controller = new AbortController();
    const command = sh('echo $$; exec sleep 1000', { signal: controller.signal });
    const pid = await firstLine(command.stdout);
    const reason = new Error('enough');
    controller.abort(reason);
    await expect(command.exit).rejects.toBe(reason);
    await expect(sh('true', { signal: controller.signal }).exit).rejects.toBe(reason);
    expect((await sh(`while kill -0 ${pid} 2>/dev/null; do :; done; echo gone`).output()).stdout).toBe(
      'gone\n',
    );
  });

  it('runs as another user where the agent is root', async () => {
    if (process.getuid?.() !== 0) {
      await expect(agent.exec(['id', '-u'], { user: '65534:65534' }).exit).rejects.toEqual(
        failure('GUEST_ERROR', 'EPERM'),
      );
      return;
    }
    const numbers = await sh('id -u; id -g', { user: '65534:65533' }).output();
    expect(numbers.stdout).toBe('65534\n65533\n');
    const name = await sh('id -un; id -G; echo $HOME', { user: 'daemon' }).output();
    expect(name.stdout).toBe('daemon\n1\n/usr/sbin\n');
  });
});

describe('flow', () => {
  const megabytes = 8 * 1024 * 1024;

  it('carries more than any buffer both ways at once', async () => {
    const command = agent.exec(['cat']);
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
    const flood = agent.exec(['yes']);
    const silent = agent.exec(['sleep', '1000']);
    // Nobody takes this.
    silent.stdin.write(Buffer.alloc(megabytes));
    for (let i = 0; i < 5; i++) expect((await sh('echo hello').output()).stdout).toBe('hello\n');
    expect(flood.stdout.readableLength).toBeLessThanOrEqual(262144);
    for (const command of [flood, silent]) command.kill('SIGKILL');
    expect(await flood.exit).toEqual({ signal: 'SIGKILL' });
    expect(await silent.exit).toEqual({ signal: 'SIGKILL' });
    flood.stdout.destroy();
  });

  it('does not make standard error wait for standard output', async () => {
    const command = sh('echo first >&2; yes | head -c 8000000; echo last >&2');
    // Standard output is full by then, and is read last.
    expect(await firstLine(command.stderr)).toBe('first');
    expect((await text(command.stdout)).length).toBe(8000000);
    expect(await text(command.stderr)).toBe('last\n');
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('runs many at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) => sh(`cat; echo ${i}; exit ${i}`).output()),
    );
    expect(results.map(({ stdout, exit }) => [stdout, exit])).toEqual(
      results.map((_, i) => [`${i}\n`, { code: i }]),
    );
  });

  it('refuses more than 256 at once, and takes more when they have ended', async () => {
    const commands = Array.from({ length: 256 }, () => agent.exec(['cat']));
    await expect(agent.exec(['true']).exit).rejects.toEqual(failure('GUEST_ERROR'));
    for (const { stdin } of commands) stdin.end();
    await Promise.all(commands.map(({ stdout, stderr }) => Promise.all([text(stdout), text(stderr)])));
    expect(await Promise.all(commands.map(({ exit }) => exit))).toEqual(commands.map(() => ({ code: 0 })));
    expect(await agent.exec(['true']).exit).toEqual({ code: 0 });
  });

  it('gives a command whose output nobody wants SIGPIPE', async () => {
    const command = agent.exec(['yes']);
    command.stdout.destroy();
    expect(await command.exit).toEqual({ signal: 'SIGPIPE' });
  });

  it('takes input that a command does not read', async () => {
    const command = sh('exec <&-; echo closed; read never </dev/null; exit 0');
    command.stdin.write(Buffer.alloc(megabytes));
    command.stdin.end();
    expect(await text(command.stdout)).toBe('closed\n');
    expect(await command.exit).toEqual({ code: 0 });
  });

  it('hands over all output of a command that ended long before', async () => {
    const command = sh('head -c 60000 /dev/zero; exit 4');
    expect(await command.exit).toEqual({ code: 4 });
    expect((await text(command.stdout)).length).toBe(60000);
  });
});

describe('a terminal', () => {
  it('has a size, changes it, and knows end of file and interrupts', async () => {
    const script =
      'stty size; until [ "$(stty size)" = "40 120" ]; do sleep 0.02; done; stty size; read a; echo "got $a"; cat; echo end';
    const command = sh(script, {
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
    const command = sh('echo up; exec sleep 1000', { tty: true });
    expect(await firstLine(command.stdout)).toBe('up\r');
    command.stdin.write('\x03');
    expect(await command.exit).toEqual({ signal: 'SIGINT' });
  });

  it('is lost with the command, whatever still has it open', async () => {
    const command = sh('trap "" HUP; sleep 20 & echo up', { tty: true });
    expect(await text(command.stdout)).toBe('up\r\n');
    expect(await command.exit).toEqual({ code: 0 });
  });
});

describe('files', () => {
  const base = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0, mtime: 1_600_000_000_123 };
  const big = Buffer.alloc(1_500_000, 'content');
  const tree: TreeSource[] = [
    { ...base, type: 'directory', path: 'top', mode: 0o750, size: 0 },
    { ...base, type: 'file', path: 'top/big', mode: 0o640, size: big.length, content: [big] },
    { ...base, type: 'file', path: 'top/empty', mode: 0o4755, size: 0 },
    { ...base, type: 'symlink', path: 'top/link', mode: 0o777, size: 0, target: '../else where' },
  ];

  async function collect(path: string): Promise<(Omit<TreeItem, 'content'> & { data: Buffer })[]> {
    const found = [];
    for await (const { content, ...entry } of agent.get(path)) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of content) chunks.push(chunk);
      found.push({ ...entry, data: Buffer.concat(chunks) });
    }
    return found.sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  it('go there and come back as they were', async () => {
    await agent.put(scratch, tree);
    const top = join(scratch, 'top');
    expect(readFileSync(join(top, 'big')).equals(big)).toBe(true);
    expect(statSync(join(top, 'empty')).mode & 0o7777).toBe(0o4755);
    expect(readlinkSync(join(top, 'link'))).toBe('../else where');
    expect(lstatSync(join(top, 'link')).mtimeMs).toBe(base.mtime);
    const found = await collect(`${top}/`);
    expect(
      found.map(({ data, mtime, ...entry }) => [
        entry,
        data.length,
        entry.type === 'directory' ? base.mtime : mtime,
      ]),
    ).toEqual(
      tree.map(({ content, mtime, ...entry }) => [entry, content === undefined ? 0 : entry.size, mtime]),
    );
    expect(found[1]!.data.equals(big)).toBe(true);
  });

  it('replace files and links, and follow no link', async () => {
    const directory = join(scratch, 'replace');
    mkdirSync(directory);
    writeFileSync(join(directory, 'outside'), 'mine');
    symlinkSync('outside', join(directory, 'a'));
    symlinkSync('.', join(directory, 'through'));
    const file = (path: string): TreeSource => ({
      ...base,
      type: 'file',
      path,
      mode: 0o600,
      size: 3,
      content: [Buffer.from('new')],
    });
    await agent.put(directory, [file('a')]);
    expect(readFileSync(join(directory, 'outside'), 'utf8')).toBe('mine');
    expect(readFileSync(join(directory, 'a'), 'utf8')).toBe('new');
    await expect(agent.put(directory, [file('through/outside')])).rejects.toEqual(
      failure('GUEST_ERROR', 'ENOTDIR'),
    );
    for (const path of ['../x', '/x', 'a//b', './x', ''])
      await expect(agent.put(directory, [file(path)])).rejects.toEqual(failure('INVALID_REQUEST'));
  });

  it('that cannot be read or written are refused with the reason', async () => {
    await expect(collect('/no/such')).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(agent.put('/no/such', tree)).rejects.toEqual(failure('GUEST_ERROR', 'ENOENT'));
    await expect(agent.put('relative', tree)).rejects.toEqual(failure('INVALID_REQUEST'));
    const short = { ...tree[1]!, content: [Buffer.from('short')] };
    await expect(agent.put(scratch, [tree[0]!, short])).rejects.toEqual(failure('INVALID_REQUEST'));
    const deep = Array.from({ length: 80 }, (_, i) => 'd/'.repeat(i) + 'd');
    await agent.put(
      scratch,
      deep.map((path) => ({ ...tree[0]!, path })),
    );
    await expect(collect(join(scratch, 'd'))).rejects.toEqual(failure('GUEST_ERROR', 'ELOOP'));
  });

  it('may be left half-way', async () => {
    writeFileSync(join(scratch, 'large'), Buffer.alloc(4_000_000));
    for await (const { content } of agent.get(join(scratch, 'large'))) {
      for await (const chunk of content) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      break;
    }
    const controller = new AbortController();
    const reason = new Error('enough');
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000);
      controller.abort(reason);
      await new Promise(() => undefined);
    };
    const source = { ...tree[1]!, path: 'half', content: endless() };
    await expect(agent.put(scratch, [source], { signal: controller.signal })).rejects.toBe(reason);
    await agent.ping();
  });

  it('of times before the epoch and between milliseconds', async () => {
    await agent.put(scratch, [{ ...base, type: 'file', path: 'old', mode: 0o600, size: 0, mtime: -1500.5 }]);
    const [found] = await collect(join(scratch, 'old'));
    expect(found!.mtime).toBe(-1500.5);
  });
});

describe('requests', () => {
  it('that are malformed are refused before they are sent', async () => {
    await expect(agent.addEntropy(new Uint8Array(0))).rejects.toEqual(failure('INVALID_REQUEST'));
    await expect(agent.setClock(Number.NaN)).rejects.toEqual(failure('INVALID_REQUEST'));
    const network = { device: 'eth0', address: '10.0.0.1', prefix: 24 };
    await expect(agent.setNetwork({ ...network, prefix: 33 })).rejects.toEqual(failure('INVALID_REQUEST'));
    await expect(agent.setNetwork({ ...network, address: '10.0.0.256' })).rejects.toEqual(
      failure('INVALID_REQUEST'),
    );
    expect(() => agent.exec(['true']).kill(65)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
  });

  it('that the system does not allow are refused with its reason', async () => {
    await expect(agent.setNetwork({ device: 'no-such', address: '10.0.0.1', prefix: 24 })).rejects.toEqual(
      failure('GUEST_ERROR'),
    );
  });
});

/** A stream whose end is not that of the one below. */
function borrowed(channel: Duplex): Duplex {
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array, _, callback) => void channel.write(chunk, callback),
    destroy: (error, callback) => {
      channel.off('data', take);
      callback(error);
    },
  });
  const take = (bytes: Uint8Array): void => void stream.push(bytes);
  channel.on('data', take);
  return stream;
}

describe('sessions', () => {
  it('follow one another on one stream, also from the middle of a frame', async () => {
    const { channel, end: finish } = startProgram();
    // What an earlier session left: a frame that announces 60000 bytes, of which 100 have come.
    const left = Buffer.alloc(104);
    left.writeUInt32LE(60000);
    channel.write(left);
    // Of this stream another one is made for each session, so that it survives them.
    const first = Agent.attach(borrowed(channel));
    expect(await first.ready()).toEqual({ version: 1, arch: process.arch === 'x64' ? 'x86_64' : 'aarch64' });
    const orphan = first.exec(['sh', '-c', 'trap "" HUP; echo $$; exec sleep 1000']);
    const pid = await firstLine(orphan.stdout);
    const second = Agent.attach(borrowed(channel));
    first.end(new Error('replaced'));
    await expect(orphan.exit).rejects.toThrow('replaced');
    await second.ready();
    process.kill(Number(pid), 'SIGKILL');
    expect((await second.exec(['echo', 'again']).output()).stdout).toBe('again\n');
    await second[Symbol.asyncDispose]();
    expect(await finish()).toBe(0);
  });

  it('end with the agent, and tell all that is open', async () => {
    const { channel, end: finish } = startProgram();
    const other = Agent.attach(channel);
    const { exit } = other.exec(['sleep', '1000']);
    const transfer = other.get('/no/such').next();
    await expect(transfer).rejects.toEqual(failure('GUEST_ERROR'));
    await finish();
    await expect(exit).rejects.toEqual(failure('AGENT_LOST'));
    expect(await other.closed).toEqual(failure('AGENT_LOST'));
    await expect(other.ready()).resolves.toBeDefined();
    await expect(other.ping()).rejects.toEqual(failure('AGENT_LOST'));
    await expect(other.exec(['true']).exit).rejects.toEqual(failure('AGENT_LOST'));
  });
});
