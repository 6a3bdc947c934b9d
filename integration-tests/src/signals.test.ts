import { jest } from '@jest/globals';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { ControlClient, list } from '@vmm/reference-vmm';
import { ConsolePty } from '@vmm/virtio-devices/node';
import { BOOT_TIMEOUT, CLI, cli, runtimeScratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

runtimeScratch();

afterEach(async () => {
  for (const { name } of await list()) await ControlClient.connect(name).kill();
});

/** Polls: how a terminal is set is not told. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** A terminal, and a command at it. */
class Seat implements Disposable {
  text = '';
  readonly #pty: ConsolePty;
  /** Modes are kept as long as somebody has the terminal open. */
  readonly #fd: number;
  readonly #before: string;

  /** @param size of its window; some have none */
  constructor(size: { readonly columns: number; readonly rows: number }) {
    this.#pty = new ConsolePty({ size });
    this.#pty.on('data', (bytes: Uint8Array) => (this.text += new TextDecoder().decode(bytes)));
    this.#fd = openSync(this.#pty.path, 'r+');
    execFileSync('stty', ['-F', this.#pty.path, 'sane']);
    this.#before = this.modes();
  }

  modes(): string {
    return execFileSync('stty', ['-F', this.#pty.path, '-g'], { encoding: 'utf8' });
  }

  /** Runs a command until it has the terminal in raw mode. */
  async run(args: readonly string[]): Promise<ChildProcess> {
    const stdio = [this.#fd, this.#fd, this.#fd];
    const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env }, stdio });
    await until(() => this.modes() !== this.#before || child.exitCode !== null);
    expect(child.exitCode).toBeNull();
    return child;
  }

  /** How a command ended; the terminal is as it was. */
  async ended(child: ChildProcess): Promise<unknown> {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    expect(this.modes()).toBe(this.#before);
    return child.exitCode;
  }

  type(text: string): void {
    this.#pty.write(text);
  }

  async shows(pattern: RegExp): Promise<void> {
    await until(() => pattern.test(this.text));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
    this.#pty.destroy();
  }
}

it('terminals are as they were before, however a command at them ends', async () => {
  using one = new Seat({ columns: 80, rows: 24 });
  const run = await one.run(['run', '--hypervisor', 'wasm', '--name', 'seat']);
  await one.shows(/[#$] /);

  using other = new Seat({ columns: 0, rows: 0 });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    const attached = await other.run(['attach', 'seat']);
    attached.kill(signal);
    expect(await other.ended(attached)).toBe(code);
  }
  const left = await other.run(['attach', 'seat']);
  other.type('\x1d\x1d');
  expect(await other.ended(left)).toBe(0);
  // Nobody who left took the guest along.
  const followed = await cli(['logs', '-f', 'seat'], {
    onOutput: (text, { kill }) => {
      if (/[#$] /.test(text)) kill('SIGINT');
    },
  });
  expect([followed.code, followed.signal]).toEqual([130, null]);

  const bereft = await other.run(['attach', 'seat']);
  const { pid } = ControlClient.connect('seat');
  process.kill(pid, 'SIGKILL');
  expect(await other.ended(bereft)).toBe(1);
  await other.shows(/the connection to .* broke off/);
  if (run.signalCode === null) await once(run, 'exit');
  expect(run.signalCode).toBe('SIGKILL');

  const again = await other.run(['run', '--hypervisor', 'wasm', '--name', 'seat']);
  await until(() => {
    again.kill('SIGHUP');
    return again.exitCode !== null;
  });
  expect(await other.ended(again)).toBe(129);
  expect(await list()).toEqual([]);
});

it('the first signal asks the guest, and the second ends it', async () => {
  const script = 'trap "" TERM; echo up; while :; do sleep 1; done';
  const args = ['run', '--hypervisor', 'wasm', '--name', 'stubborn', '--', 'sh', '-c', script];
  const child = spawn(process.execPath, [CLI, ...args], {
    env: { ...process.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.once('data', () => child.kill('SIGTERM'));
  child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()));
  await until(() => said.includes('ended by SIGTERM: the guest is to power off'));
  expect(child.exitCode).toBeNull();
  const ended = once(child, 'exit');
  // What comes right behind the first one is taken for its echo.
  await until(() => !child.kill('SIGINT') || child.exitCode !== null);
  expect(await ended).toEqual([130, null]);
  expect(said).toMatch(/ended by SIGINT\n/);
  expect(await list()).toEqual([]);
});
