import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RuntimeDirectory } from './runtime-directory.ts';

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

  it('refuses a base directory that others may write', () => {
    mkdirSync(join(base, 'reference-vmm'));
    chmodSync(join(base, 'reference-vmm'), 0o777);
    expect(() => RuntimeDirectory.claim('x')).toThrow(expect.objectContaining({ code: 'RUNTIME_DIRECTORY' }));
  });

  it.each(['', '.', '..', 'a/b', '-a', 'a-', 'a b', 'ü', 'x'.repeat(64)])('refuses the name "%s"', (name) =>
    expect(() => RuntimeDirectory.claim(name)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' })),
  );
});
