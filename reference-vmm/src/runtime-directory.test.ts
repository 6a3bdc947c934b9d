import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive, ownIdentity } from './process-identity.ts';
import { RuntimeDirectory, runtimeEntries, runtimeEntry } from './runtime-directory.ts';

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
    for (const name of [
      `.claim-${dead}-a`,
      `.gone-${dead}-b`,
      `.stale-${dead}-c`,
      `.claim-${pid}-${startTime}-d`,
    ]) {
      mkdirSync(join(runtime, name), { recursive: true, mode: 0o700 });
    }
    // The VM whose directory it had moved aside lives.
    const alive = join(runtime, `.stale-${dead}-c`, 'alive');
    mkdirSync(alive);
    writeFileSync(join(alive, 'vm.json'), JSON.stringify(ownIdentity()));
    expect(runtimeEntries()).toMatchObject([{ name: 'alive', holder: { pid } }]);
    expect(readdirSync(runtime).sort()).toEqual([`.claim-${pid}-${startTime}-d`, 'alive']);
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

  it.each(['', '.', '..', 'a/b', '-a', 'a-', 'a b', 'ü', 'x'.repeat(64)])('refuses the name "%s"', (name) =>
    expect(() => RuntimeDirectory.claim(name)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' })),
  );
});
