import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive, isResponsive, ownIdentity } from './process-identity.ts';
import { RuntimeDirectory, type RuntimeEntry } from './runtime-directory.ts';
import { StatusFile, type VmIdentity, readStatus } from './status-file.ts';

const IDENTITY: VmIdentity = {
  name: 'one',
  hypervisor: 'wasm',
  arch: 'aarch64',
  cpus: 2,
  memory: 256 << 20,
  kernel: null,
  command: ['true'],
  devices: [{ name: 'console', type: 3, model: 'console' }],
};

/** Clock ticks, proc(5). */
function startTimeOf(pid: number): string {
  return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19]!;
}

describe('the status file of a VM', () => {
  const previous = process.env['XDG_RUNTIME_DIR'];
  let base: string;
  let directory: RuntimeDirectory;
  let entry: RuntimeEntry;

  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'status-'));
    process.env['XDG_RUNTIME_DIR'] = base;
    directory = RuntimeDirectory.claim('one');
    entry = { name: 'one', path: directory.path, holder: ownIdentity() };
  });
  afterEach(() => {
    directory[Symbol.dispose]();
    rmSync(base, { recursive: true });
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
  });

  it('says what it is and its state, each time that changes', () => {
    const file = new StatusFile(directory, () => IDENTITY);
    expect(readStatus(entry)).toBeUndefined();
    file.update('running');
    const seen = readStatus(entry);
    expect(seen).toMatchObject({ ...IDENTITY, pid: process.pid, state: 'running', reason: null });
    expect(seen!.uptime).toBeGreaterThanOrEqual(0);
    file.update('paused');
    expect(readStatus(entry)).toMatchObject({ state: 'paused', startTime: seen!.startTime });
  });

  it('is gone when it cannot be written, rather than wrong', () => {
    const file = new StatusFile(directory, () => IDENTITY);
    file.update('running');
    // No file can take the place of a directory.
    mkdirSync(join(directory.path, 'status.json~'));
    file.update('paused');
    expect(readStatus(entry)).toBeUndefined();
  });

  it('is not written into the directory of whoever has the name next', () => {
    const file = new StatusFile(directory, () => IDENTITY);
    directory[Symbol.dispose]();
    using next = RuntimeDirectory.claim('one');
    file.update('stopped');
    expect(readStatus({ ...entry, path: next.path })).toBeUndefined();
  });

  it.each([
    ['nothing', ''],
    ['half of it', '{"made":1,"vm":{"name":"one"'],
    ['what is no status', '{"made":1,"vm":{"name":"one"}}'],
  ])('is not believed when it has %s', (_, text) => {
    writeFileSync(join(directory.path, 'status.json'), text);
    expect(readStatus(entry)).toBeUndefined();
  });

  it('is believed of the process that holds the directory only, and as long as that runs', async () => {
    new StatusFile(directory, () => IDENTITY).update('running');
    expect(readStatus({ ...entry, name: 'two' })).toBeUndefined();
    expect(readStatus({ ...entry, holder: { pid: process.ppid, startTime: '' } })).toBeUndefined();
    expect(readStatus({ ...entry, holder: { ...entry.holder, startTime: '1' } })).toBeUndefined();

    const text = readFileSync(join(directory.path, 'status.json'), 'utf8');
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const holder = { pid: child.pid!, startTime: startTimeOf(child.pid!) };
    const status = JSON.parse(text) as { vm: { pid: number } };
    status.vm.pid = holder.pid;
    writeFileSync(join(directory.path, 'status.json'), JSON.stringify(status));
    expect(readStatus({ ...entry, holder })).toMatchObject({ pid: child.pid, state: 'running' });
    child.kill('SIGSTOP');
    while (isResponsive(holder)) await delay(1);
    expect(isAlive(holder)).toBe(true);
    expect(readStatus({ ...entry, holder })).toBeUndefined();
    child.kill('SIGCONT');
    while (!isResponsive(holder)) await delay(1);
    expect(readStatus({ ...entry, holder })).toBeDefined();
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(readStatus({ ...entry, holder })).toBeUndefined();
  });
});
