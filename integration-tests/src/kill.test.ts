import { jest } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { list } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, CLI, type CliResult, cli, runtimeScratch } from './support.ts';

jest.setTimeout(2 * BOOT_TIMEOUT);

let vmm: ChildProcess | undefined;
const scratch = runtimeScratch(() => void vmm?.kill('SIGKILL'));
const temporary = join(scratch.path, 'tmp');
const snapshots = join(scratch.path, 'snapshots');
const runtime = join(scratch.path, 'reference-vmm');
const socket = join(scratch.path, 'vsock');
const tap = `vmk${process.pid}`;

beforeAll(() => {
  for (const each of [temporary, snapshots, join(scratch.path, 'share')]) mkdirSync(each);
  scratch.file('disk', new Uint8Array(1024 * 1024));
});

/** Polls: what another process or the kernel does is not told. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** A VM with something of everything that a process can leave behind. */
class Victim {
  readonly child: ChildProcess;
  text = '';

  constructor(script: string) {
    const args = [
      ...['run', '--hypervisor', 'wasm', '--name', 'victim', '--memory', '128'],
      ...['--net', `tap=${tap}`, '--net', 'user', '--vsock', `7,path=${socket}`],
      ...['--share', join(scratch.path, 'share')],
      ...['--disk', `${join(scratch.path, 'disk')},overlay=${join(scratch.path, 'overlay')}`],
      ...['--', 'sh', '-c', script],
    ];
    const env = { ...process.env, TMPDIR: temporary };
    this.child = spawn(process.execPath, [CLI, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (bytes: Buffer) => (this.text += bytes.toString()));
    vmm = this.child;
  }

  async shows(pattern: RegExp): Promise<void> {
    await until(() => pattern.test(this.text) || this.child.exitCode !== null);
    expect(this.text).toMatch(pattern);
  }

  /** Kills it, and looks at what is left. */
  async kill(): Promise<void> {
    const { pid } = this.child;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/);
    const ended = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    expect((await ended)[1]).toBe('SIGKILL');
    await until(() => children.every((each) => each === '' || !existsSync(`/proc/${each}`)));
    await until(() => !existsSync(`/sys/class/net/${tap}`));
    expect(await list()).toEqual([]);
    // Another command may be at it as well.
    await until(() => readdirSync(runtime).length === 0);
    expect(readdirSync(temporary)).toEqual([]);
    expect(existsSync(socket)).toBe(false);
  }
}

/** Whoever asked for something hears that there is nobody any more. */
async function refused(asked: Promise<CliResult>): Promise<void> {
  const { code, stdout } = await asked;
  expect([code, JSON.parse(stdout.toString())]).toEqual([1, { error: expect.anything() as unknown }]);
}

const WAITS = 'trap "echo asked" TERM; echo up; while :; do sleep 1; done';

it('kill -9 at any moment leaves nothing, and the next run has the same name, tap, socket and overlay', async () => {
  const made = new Victim(WAITS);
  await until(() => existsSync(join(runtime, 'victim')));
  await made.kill();

  const booting = new Victim(WAITS);
  await until(() => /"state":"running"/.test(read(join(runtime, 'victim', 'status.json'))));
  await booting.kill();

  const target = join(snapshots, 'one');
  const saved = new Victim(WAITS);
  await saved.shows(/^up$/m);
  expect(existsSync(`/sys/class/net/${tap}`) && existsSync(socket)).toBe(true);
  const snapshot = cli(['snapshot', 'victim', target, '--format', 'json']);
  await until(() => readdirSync(snapshots).length > 0);
  await saved.kill();
  // Whether it was done just before.
  if (existsSync(target)) await snapshot;
  else await refused(snapshot);

  const stopped = new Victim(WAITS);
  await stopped.shows(/^up$/m);
  expect((await cli(['snapshot', 'victim', target])).code).toBe(0);
  // What the other one had begun is gone.
  expect(readdirSync(snapshots)).toEqual(['one']);
  const stop = cli(['stop', 'victim', '--grace', '1h', '--format', 'json']);
  await stopped.shows(/^asked$/m);
  await stopped.kill();
  await refused(stop);
});
