import { jest } from '@jest/globals';
import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { ControlClient } from '@vmm/reference-vmm';
import {
  BOOT_TIMEOUT,
  CLI,
  type CliOptions,
  type CliResult,
  runtimeScratch,
  cli,
  sha256,
} from './support.ts';
import { Terminal } from './terminal.ts';

jest.setTimeout(BOOT_TIMEOUT);

let client: ControlClient;
const scratch = runtimeScratch(() => client.kill());

beforeAll(async () => {
  const started = await cli([
    'run',
    '--detach',
    '--hypervisor',
    'wasm',
    '--name',
    'vm',
    '--',
    'sleep',
    '100000',
  ]);
  expect(started.stdout.toString()).toBe('vm\n');
  client = ControlClient.connect('vm');
});

const exec = (args: readonly string[], options?: CliOptions): Promise<CliResult> =>
  cli(['exec', 'vm', ...args], options);
const script = (code: string, args: readonly string[] = [], options?: CliOptions): Promise<CliResult> =>
  exec([...args, '--', 'sh', '-c', code], options);
const output = ({ stdout }: CliResult): string => stdout.toString();
const json = (result: CliResult): unknown => JSON.parse(output(result));

describe('exec', () => {
  it('has streams of its own, and the exit code of the command', async () => {
    const [plain, environment] = await Promise.all([
      script('echo out; echo err >&2; exit 7'),
      script('echo "$A|$B|$(pwd)|$(id -u)"', ['-e', 'A=b=c', '-e', 'B', '-w', '/tmp', '-u', '65534:65534'], {
        env: { B: 'of here' },
      }),
    ]);
    expect([plain.code, output(plain), plain.stderr]).toEqual([7, 'out\n', 'err\n']);
    expect([environment.code, output(environment)]).toEqual([0, 'b=c|of here|/tmp|65534\n']);
  });

  it('gives all of its output to a reader that takes its time', async () => {
    const shell = (tail: string, ...args: readonly string[]): Promise<CliResult> =>
      new Promise((resolve) => {
        const words = [process.execPath, CLI, 'exec', 'vm', ...args];
        const child = spawn('sh', ['-c', `"$@" | ${tail}`, 'sh', ...words], {
          env: { ...process.env, XDG_RUNTIME_DIR: scratch.path },
          stdio: ['ignore', 'pipe', 'inherit'],
        });
        const stdout: Buffer[] = [];
        child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
        child.on('close', (code, signal) =>
          resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: '' }),
        );
      });
    const print = ['--', 'sh', '-c', 'head -c 1000000 /dev/zero | tr "\\0" x'];
    const [bytes, object] = await Promise.all([
      shell('(sleep 2; wc -c)', ...print),
      shell('(sleep 2; cat)', '--format', 'json', ...print),
    ]);
    expect(output(bytes)).toBe('1000000\n');
    expect(json(object)).toMatchObject({ stdout: 'x'.repeat(1_000_000) });
    // Nobody reads the rest of what was ended from outside.
    const ended = await shell('sleep 5; echo read', '--timeout', '500ms', '--', 'yes');
    expect(output(ended)).toBe('read\n');
  });

  it('passes input on with -i only', async () => {
    const input = Buffer.alloc(1_000_003, 'the quick brown fox ');
    const [passed, kept] = await Promise.all([
      exec(['-i', '--', 'cat'], { stdin: input }),
      exec(['--', 'cat'], { openStdin: true }),
    ]);
    expect([passed.code, sha256(passed.stdout)]).toEqual([0, sha256(input)]);
    expect([kept.code, output(kept)]).toEqual([0, '']);
  });

  it('says by its code why there was no command, or how it was ended', async () => {
    const results = await Promise.all([
      exec(['--', 'no-such-program']),
      exec(['--', '/etc/passwd']),
      script('kill -9 $$'),
      exec(['--timeout', '300ms', '--', 'sleep', '1000']),
      cli(['exec', 'no-such-vm', '--', 'true']),
      exec([]),
      exec(['-it', '--', 'sh']),
    ]);
    expect(results.map(({ code }) => code)).toEqual([127, 126, 137, 124, 125, 2, 2]);
    for (const { stdout } of results) expect(stdout.length).toBe(0);
  });

  it('prints one object with --format json', async () => {
    const [done, failed] = await Promise.all([
      script('cat; echo err >&2; exit 3', ['-i', '--format', 'json'], { stdin: 'in' }),
      exec(['--format', 'json', '--', 'no-such-program']),
    ]);
    expect([done.code, json(done)]).toEqual([
      3,
      { name: 'vm', exit: { code: 3 }, exitCode: 3, stdout: 'in', stderr: 'err\n' },
    ]);
    expect([failed.code, json(failed)]).toMatchObject([127, { error: { code: 'GUEST_ERROR' } }]);
  });

  it('passes signals on, and ends with the third whatever the command does', async () => {
    const told = await script('trap "echo told; exit 5" TERM; echo up; sleep 1000 & wait', [], {
      onOutput: (seen, { kill }) => {
        if (seen === 'up\n') kill('SIGTERM');
      },
    });
    expect([told.code, output(told)]).toEqual([5, 'up\ntold\n']);
    const stubborn = await script(
      'trap "echo no" INT TERM HUP; echo $$; while :; do sleep 1000 & wait $!; done',
      [],
      {
        onOutput: (seen, { kill }) => {
          if (/^\d+\n$/.test(seen)) kill('SIGINT');
          else if (/^\d+\nno\n$/.test(seen)) kill('SIGTERM');
          else kill('SIGHUP');
        },
      },
    );
    expect(stubborn.code).toBe(129);
    const [pid = ''] = output(stubborn).split('\n');
    expect(output(await script(`while [ -d /proc/${pid} ]; do usleep 10000; done; echo gone`))).toBe(
      'gone\n',
    );
  });

  it('gives the command SIGPIPE when nobody reads on, and says nothing of it', async () => {
    const result = await cli(['exec', 'vm', '--', 'yes'], { closeOutput: true });
    expect([result.code, result.stderr]).toEqual([141, '']);
  });

  it('ends its command when the client is killed, and only that', async () => {
    let pid = '';
    const other = client.exec(['cat']);
    const killed = await script('echo $$; exec sleep 100000', [], {
      onOutput: (seen, { kill }) => {
        pid = seen.trim();
        kill('SIGKILL');
      },
    });
    expect(killed.signal).toBe('SIGKILL');
    expect(output(await script(`while [ -d /proc/${pid} ]; do usleep 10000; done; echo gone`))).toBe(
      'gone\n',
    );
    other.stdin.end('still there');
    expect(await text(other.stdout)).toBe('still there');
  });

  it('has a terminal with -it, raw and of its size, and leaves this one as it was', async () => {
    using terminal = new Terminal(['exec', '-it', 'vm', '--', 'sh'], {
      env: { XDG_RUNTIME_DIR: scratch.path, PS1: '' },
    });
    await terminal.waitFor(/~ #\s*$/m);
    terminal.type('echo $((6 * 7)) answers on $(tty)\n');
    await terminal.waitFor(/^42 answers on \/dev\/pts\//m);
    terminal.resize(90, 20);
    terminal.type('until [ "$(stty size)" = "20 90" ]; do usleep 10000; done; echo re\\sized\n');
    await terminal.waitFor(/^resized/m);
    terminal.type('cat\n');
    terminal.type('typed\n');
    await terminal.waitFor(/^typed\s+typed/m);
    terminal.press('C-c');
    terminal.type('exit 9\n');
    await terminal.waitFor(/^code=9\s+1$/m);
  });
});

describe('cp', () => {
  const site = join(scratch.path, 'site');
  const stamp = 981_173_106.75;
  beforeAll(() => {
    mkdirSync(join(site, 'sub'), { recursive: true });
    writeFileSync(join(site, 'file'), Buffer.alloc(3_000_001, 'content'), { mode: 0o640 });
    writeFileSync(join(site, 'sub/run'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
    symlinkSync('sub/run', join(site, 'link'));
    for (const path of ['file', 'sub/run', 'sub', '']) utimesSync(join(site, path), stamp, stamp);
  });

  const cp = (...args: string[]): Promise<CliResult> => cli(['cp', ...args]);
  const find = async (path: string): Promise<string[]> =>
    output(await exec(['--', 'find', path]))
      .trim()
      .split('\n')
      .sort();

  it('brings trees there and back, with modes, times and links', async () => {
    const there = await cp(site, 'vm:/srv', '--format', 'json');
    expect([there.code, json(there)]).toMatchObject([0, { entries: 5, bytes: 3_000_020 }]);
    const stat = await script('cd /srv; stat -c "%n %a %u %Y" . file sub; sh -c ./link; readlink link');
    expect(output(stat)).toBe(
      ['. 755 0 981173106', 'file 640 0 981173106', 'sub 755 0 981173106', 'ran', 'sub/run', ''].join('\n'),
    );
    expect((await cp('vm:/srv', join(scratch.path, 'back'))).code).toBe(0);
    const back = join(scratch.path, 'back');
    expect(sha256(readFileSync(join(back, 'file')))).toBe(sha256(readFileSync(join(site, 'file'))));
    for (const path of ['', 'file', 'sub', 'sub/run'])
      expect([path, lstatSync(join(back, path)).mtimeMs, lstatSync(join(back, path)).mode]).toEqual([
        path,
        stamp * 1000,
        lstatSync(join(site, path)).mode,
      ]);
    expect(lstatSync(join(back, 'link')).isSymbolicLink()).toBe(true);
  });

  it('goes into directories that are there, and takes contents alone for DIR/.', async () => {
    await script('mkdir /tmp/into');
    for (const from of [site, `${site}/.`]) expect((await cp(from, 'vm:/tmp/into')).code).toBe(0);
    expect(await find('/tmp/into')).toEqual(
      [
        '',
        '/file',
        '/link',
        '/sub',
        '/sub/run',
        '/site',
        '/site/file',
        '/site/link',
        '/site/sub',
        '/site/sub/run',
      ]
        .map((path) => `/tmp/into${path}`)
        .sort(),
    );
    const into = join(scratch.path, 'into');
    mkdirSync(into);
    for (const from of ['vm:/tmp/into/sub', 'vm:/tmp/into/sub/.', 'vm:/tmp/into/file'])
      expect((await cp(from, into)).code).toBe(0);
    expect((await cp('vm:/tmp/into/file', join(into, 'named'))).code).toBe(0);
    expect(readdirSync(into, { recursive: true }).sort()).toEqual(['file', 'named', 'run', 'sub', 'sub/run']);
  });

  it('reads and writes tar streams', async () => {
    const tar = await cp('vm:/srv/sub', '-');
    expect(tar.code).toBe(0);
    const put = await cli(['cp', '-', 'vm:/run'], { stdin: tar.stdout });
    expect([put.code, output(await exec(['--', '/run/sub/run']))]).toEqual([0, 'ran\n']);
    const garbage = await cli(['cp', '-', 'vm:/run'], { stdin: Buffer.alloc(1024, 'x') });
    expect([garbage.code, garbage.stderr]).toEqual([1, expect.stringContaining('no tar stream')]);
  });

  it('says what is not there, and what is wrong', async () => {
    const results = await Promise.all([
      cp('vm:/no/such', scratch.path),
      cp(join(site, 'file'), 'vm:/no/such/file'),
      cp('vm:/etc/passwd', join(scratch.path, 'no/such/file')),
      cp('a', 'b'),
      cp('vm:/srv', '-', '--format', 'json'),
    ]);
    expect(results.map(({ code }) => code)).toEqual([1, 1, 2, 2, 2]);
    expect(results[0].stderr).toContain('No such file or directory');
    expect(existsSync(join(scratch.path, 'no'))).toBe(false);
  });
});

it('a VM that stands still refuses both, at once', async () => {
  await client.pause();
  const [command, copy] = await Promise.all([
    exec(['--', 'true']),
    cli(['cp', 'vm:/etc/passwd', scratch.path]),
  ]);
  expect([command.code, copy.code]).toEqual([125, 1]);
  for (const { stderr } of [command, copy]) expect(stderr).toContain('WRONG_STATE');
  await client.resume();
  expect((await exec(['--', 'true'])).code).toBe(0);
});
