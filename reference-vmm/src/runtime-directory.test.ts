import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { isAlive, ownIdentity } from './process-identity.ts';
import { RuntimeDirectory, runtimeEntries, runtimeEntry } from './runtime-directory.ts';

/** For other processes. */
const MODULE = new URL('../dist/runtime-directory.js', import.meta.url).href;

const previous = process.env['XDG_RUNTIME_DIR'];
let base = '';

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'vmm-runtime-'));
  process.env['XDG_RUNTIME_DIR'] = base;
});

afterEach(() => {
  rmSync(base, { recursive: true, force: true });
  if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
  else process.env['XDG_RUNTIME_DIR'] = previous;
});

function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

describe('RuntimeDirectory', () => {
  it('is private, holds the name, and gives it back', () => {
    const directory = RuntimeDirectory.claim('one');
    expect(statSync(directory.path).mode & 0o777).toBe(0o700);
    expect(() => RuntimeDirectory.claim('one')).toThrow(expect.objectContaining({ code: 'NAME_TAKEN' }));
    using other = RuntimeDirectory.claim('two');
    expect(existsSync(other.path)).toBe(true);
    directory[Symbol.dispose]();
    directory[Symbol.dispose]();
    RuntimeDirectory.claim('one')[Symbol.dispose]();
    expect(readdirSync(join(base, 'reference-vmm'))).toEqual(['two']);
  });

  it.each([
    ['a process that is gone', () => ({ pid: deadPid(), startTime: '1' })],
    ['a pid that another process has now', () => ({ pid: process.pid, startTime: '1' })],
  ])('takes over what was left by %s', (_, holder) => {
    const path = join(base, 'reference-vmm', 'left');
    mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(path, 'vm.json'), JSON.stringify(holder()));
    using directory = RuntimeDirectory.claim('left');
    expect(directory.path).toBe(path);
  });

  it('takes over half a state file, which a crash of the machine left', () => {
    const path = join(base, 'reference-vmm', 'left');
    mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(path, 'vm.json'), '{"pid"');
    using directory = RuntimeDirectory.claim('left');
    expect(directory.path).toBe(path);
  });

  it('leaves alone what is not a VM’s, and says so', () => {
    const path = join(base, 'reference-vmm', 'other');
    mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(path, 'file'), '');
    expect(runtimeEntries()).toEqual([]);
    expect(() => RuntimeDirectory.claim('other')).toThrow(
      expect.objectContaining({ code: 'RUNTIME_DIRECTORY' }),
    );
    expect(existsSync(join(path, 'file'))).toBe(true);
  });

  it('removes what a process left that was killed while it made or removed a directory', () => {
    const runtime = join(base, 'reference-vmm');
    const dead = `${deadPid()}-1`;
    const { pid, startTime } = ownIdentity();
    const own = `.claim-${pid}-${startTime}-d`;
    for (const name of [`.claim-${dead}-a`, `.gone-${dead}-b`, own])
      mkdirSync(join(runtime, name), { recursive: true, mode: 0o700 });
    expect(runtimeEntries()).toEqual([]);
    expect(readdirSync(runtime)).toEqual([own]);
  });

  it('tells who holds a name, and cleans up after those who are gone', () => {
    using one = RuntimeDirectory.claim('one');
    const left = join(base, 'reference-vmm', 'left');
    mkdirSync(left, { mode: 0o700 });
    writeFileSync(join(left, 'vm.json'), JSON.stringify({ pid: deadPid(), startTime: '1' }));
    expect(runtimeEntry('one')).toEqual({ name: 'one', path: one.path, holder: ownIdentity() });
    expect(() => runtimeEntry('left')).toThrow(expect.objectContaining({ code: 'NO_SUCH_VM' }));
    expect(existsSync(left)).toBe(false);
    expect(() => runtimeEntry('../x')).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });

  it('a process that was killed and that nobody waited for holds nothing', async () => {
    // The shell becomes a program that never waits for its child.
    const parent = spawn('sh', ['-c', 'sleep 1000 & echo $!; exec sleep 1000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      const pid = Number(await new Promise((resolve) => parent.stdout.once('data', resolve)));
      const startTime = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')[19]!;
      expect(isAlive({ pid, startTime })).toBe(true);
      while (readFileSync(`/proc/${parent.pid}/comm`, 'utf8') !== 'sleep\n')
        await new Promise((resolve) => setTimeout(resolve, 5));
      process.kill(pid, 'SIGKILL');
      while (!/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')))
        await new Promise((resolve) => setTimeout(resolve, 5));
      expect(isAlive({ pid, startTime })).toBe(false);
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('refuses a link in place of the base directory', () => {
    mkdirSync(join(base, 'elsewhere'), { mode: 0o700 });
    symlinkSync(join(base, 'elsewhere'), join(base, 'reference-vmm'));
    expect(() => runtimeEntries()).toThrow(expect.objectContaining({ code: 'RUNTIME_DIRECTORY' }));
  });

  it('refuses a base directory that others may write', () => {
    mkdirSync(join(base, 'reference-vmm'));
    chmodSync(join(base, 'reference-vmm'), 0o777);
    expect(() => RuntimeDirectory.claim('x')).toThrow(expect.objectContaining({ code: 'RUNTIME_DIRECTORY' }));
  });

  it('makes a base directory that others may read private', () => {
    mkdirSync(join(base, 'reference-vmm'));
    chmodSync(join(base, 'reference-vmm'), 0o755);
    using directory = RuntimeDirectory.claim('x');
    expect(statSync(join(directory.path, '..')).mode & 0o777).toBe(0o700);
  });

  it.each<[string, () => string | undefined]>([
    ['is not set', () => undefined],
    ['is no absolute path', () => 'runtime'],
    ['leads to nothing', () => join(base, 'nothing')],
    ['leads to a file', () => join(base, 'file')],
    ['leads to a directory that others may write', () => join(base, 'open')],
    ['leads to a directory that may not be written', () => join(base, 'closed')],
  ])('is in the temporary directory when XDG_RUNTIME_DIR %s', (_, runtime) => {
    writeFileSync(join(base, 'file'), '');
    mkdirSync(join(base, 'open'));
    chmodSync(join(base, 'open'), 0o777);
    // Of another user, for root, whom modes do not keep out.
    mkdirSync(join(base, 'closed'), { mode: 0o555 });
    if (process.getuid?.() === 0) chownSync(join(base, 'closed'), 12345, 12345);
    const env: NodeJS.ProcessEnv = { ...process.env, TMPDIR: base };
    delete env['XDG_RUNTIME_DIR'];
    const path = runtime();
    if (path !== undefined) env['XDG_RUNTIME_DIR'] = path;
    const script = `
      const { RuntimeDirectory } = await import(${JSON.stringify(MODULE)});
      console.log(RuntimeDirectory.claim('x').path);`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { env });
    const expected = join(base, `reference-vmm-${userInfo().uid}`);
    expect(String(stdout).trim()).toBe(join(expected, 'x'));
    expect(statSync(expected).mode & 0o777).toBe(0o700);
    expect(readdirSync(expected)).toEqual([]);
  });

  it('takes along what goes with it, and leaves what others put there since', () => {
    const [own, others] = [join(base, 'own.sock'), join(base, 'others.sock')];
    for (const path of [own, others]) writeFileSync(path, '');
    const directory = RuntimeDirectory.claim('x');
    directory.goesWith(own);
    directory.goesWith(others);
    directory.goesWith(join(base, 'nothing'));
    // Kept, so that the new one is another file for certain.
    renameSync(others, join(base, 'kept.sock'));
    writeFileSync(others, 'new');
    // As a process that was killed leaves it.
    writeFileSync(join(directory.path, 'vm.json'), JSON.stringify({ pid: deadPid(), startTime: '1' }));
    expect(runtimeEntries()).toEqual([]);
    expect([existsSync(own), existsSync(others)]).toEqual([false, true]);
    expect(readdirSync(join(base, 'reference-vmm'))).toEqual([]);
    directory[Symbol.dispose]();
  });

  it('goes to one of many that claim a name at the same moment, and the others hear why', async () => {
    const left = join(base, 'reference-vmm', 'x');
    mkdirSync(left, { recursive: true, mode: 0o700 });
    writeFileSync(join(left, 'vm.json'), JSON.stringify({ pid: deadPid(), startTime: '1' }));
    const script = `
      const { RuntimeDirectory } = await import(${JSON.stringify(MODULE)});
      process.stdin.once('data', () => {
        try {
          RuntimeDirectory.claim('x');
          process.stdout.write('won');
        } catch (error) {
          process.stdout.write(error.code);
        }
        process.stdin.once('data', () => process.exit());
      });
      process.stderr.write('ready');`;
    const children = Array.from({ length: 10 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: 'pipe',
        env: { ...process.env },
      }),
    );
    try {
      await Promise.all(children.map(({ stderr }) => once(stderr, 'data')));
      const answers = children.map(({ stdout }) => once(stdout, 'data'));
      for (const { stdin } of children) stdin.write('go');
      const said = (await Promise.all(answers)).map(([bytes]) => String(bytes));
      expect(said.sort()).toEqual([...new Array<string>(9).fill('NAME_TAKEN'), 'won']);
      expect(runtimeEntries()).toMatchObject([{ name: 'x' }]);
    } finally {
      for (const child of children) child.kill('SIGKILL');
    }
  });

  it.each(['', '.', '..', 'a/b', '-a', 'a-', 'a b', 'ü', 'x'.repeat(64)])('refuses the name "%s"', (name) =>
    expect(() => RuntimeDirectory.claim(name)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' })),
  );
});
