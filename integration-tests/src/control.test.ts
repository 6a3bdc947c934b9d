import { jest } from '@jest/globals';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { type ConsoleClient, ControlClient, VmBuilder, VmControl, list as listVms } from '@vmm/reference-vmm';
import { BOOT_TIMEOUT, type CliResult, cli, runtimeScratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = runtimeScratch();

afterEach(async () => {
  for (const { name } of await listVms()) await ControlClient.connect(name).kill();
});

const TICKS = 'i=0; while :; do echo tick $i; i=$((i + 1)); sleep 0.2; done';

/** However busy the machine is. */
const PATIENCE = ['--timeout', '60s'];
const list = (): ReturnType<typeof listVms> => listVms({ timeout: 60_000 });

/** The one object on standard output. */
function json({ stdout }: CliResult): unknown {
  return JSON.parse(stdout.toString());
}

/** Starts a VM in the background. */
async function detached(
  name: string,
  command: readonly string[],
  options: string[] = [],
): Promise<ControlClient> {
  const result = await cli([
    ...['run', '--detach', '--hypervisor', 'wasm', '--name', name, ...options],
    ...(command.length > 0 ? ['--', ...command] : []),
  ]);
  expect([result.code, result.stdout.toString()]).toEqual([0, `${name}\n`]);
  return ControlClient.connect(name);
}

/** Waits until a console shows a pattern. */
class Screen {
  text = '';
  #wake: () => void = () => undefined;

  constructor(console: ConsoleClient | NodeJS.ReadableStream) {
    console.on('data', (bytes: Uint8Array) => {
      this.text += new TextDecoder().decode(bytes);
      this.#wake();
    });
    console.on('close', () => this.#wake());
  }

  async shows(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.text)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

function runtimeFiles(): string[] {
  return readdirSync(join(scratch.path, 'reference-vmm'));
}

describe('run --detach', () => {
  it('returns when the guest runs, which goes on in a session of its own under all commands', async () => {
    const client = await detached('web', ['sh', '-c', TICKS]);
    const { pid } = client;
    const session = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[3];
    expect(Number(session)).toBe(pid);

    expect(json(await cli(['list', ...PATIENCE, '--format', 'json']))).toMatchObject({
      vms: [{ name: 'web', pid, state: 'running', hypervisor: 'wasm', arch: 'aarch64' }],
    });
    expect((await cli(['list', ...PATIENCE])).stdout.toString()).toMatch(/^NAME .*\nweb +running +\d+ +wasm/);
    const inspected = await cli(['inspect', 'web', '--format', 'json']);
    expect(json(inspected)).toMatchObject({ command: ['sh', '-c', TICKS], cpus: 1, reason: null });

    const followed = await cli(['logs', '-f', 'web'], {
      onOutput: (output, { kill }) => {
        if (output.includes('tick 2\n')) kill('SIGINT');
      },
    });
    expect(followed.stdout.toString()).toContain('tick 0\ntick 1\ntick 2\n');

    expect(json(await cli(['pause', '-n', 'web', '--format', 'json']))).toMatchObject({ state: 'paused' });
    const [one, two] = [await client.stats(), await client.stats()];
    expect(two.instructions).toBe(one.instructions);
    const refused = await cli(['pause', 'web', '--format', 'json']);
    expect([refused.code, json(refused)]).toMatchObject([1, { error: { code: 'WRONG_STATE' } }]);
    expect(refused.stderr).toMatch(/it is paused \[WRONG_STATE\]/);

    expect((await cli(['resume', '-n', 'web'])).stdout.toString()).toBe('web runs again\n');
    const screen = new Screen(await client.logs({ follow: true }));
    await screen.shows(/tick 5\n/);
    const stats = json(await cli(['stats', 'web', '--format', 'json']));
    expect(stats).toMatchObject({ state: 'running', devices: [{ name: 'console' }, { name: 'entropy' }] });

    const stopped = await cli(['stop', '-n', 'web', '--grace', '0', '--format', 'json']);
    expect([stopped.code, json(stopped)]).toMatchObject([
      0,
      { state: 'stopped', reason: { kind: 'stopped' } },
    ]);
    expect(await list()).toEqual([]);
    expect(runtimeFiles()).toEqual([]);
  });

  it('leaves the input of a command open with -i, and its end is the VM’s', async () => {
    const client = await detached('reader', ['sh', '-c', 'read line; echo "got $line"; exit 5'], ['-i']);
    const console = await client.console();
    const seen = text(console);
    console.write('this\n');
    expect(await seen).toContain('got this\n');
    expect(console.reason).toEqual({ kind: 'exited', code: 5 });
  });

  it('tells why there is no VM, in text and in JSON', async () => {
    const args = ['run', '--detach', '-k', '/no/such/kernel'];
    const plain = await cli(args);
    expect([plain.code, plain.stdout.toString()]).toEqual([125, '']);
    expect(plain.stderr).toMatch(/^reference-vmm: .*\/no\/such\/kernel.*\[FILE_NOT_FOUND\]\n$/m);
    const object = await cli([...args, '--format', 'json']);
    expect([object.code, json(object)]).toMatchObject([125, { error: { code: 'FILE_NOT_FOUND' } }]);
    const usage = await cli(['run', '--detach', '-c', '0', '--format', 'json', '--', 'true']);
    expect([usage.code, json(usage)]).toMatchObject([2, { error: { code: 'INVALID_CONFIG' } }]);
    expect(runtimeFiles()).toEqual([]);
  });

  it('refuses a name that another VM has, which goes on', async () => {
    const client = await detached('taken', ['sleep', '1000']);
    const second = await cli(['run', '--detach', '--name', 'taken', '--format', 'json', '--', 'true']);
    expect([second.code, json(second)]).toMatchObject([125, { error: { code: 'NAME_TAKEN' } }]);
    expect(await client.info()).toMatchObject({ state: 'running' });
  });
});

describe('attach', () => {
  it('has several viewers at a time, who all type and all see', async () => {
    const client = await detached('shell', []);
    const first = await client.console();
    const one = new Screen(first);
    const two = new Screen(await client.console());
    // The prompt may have come before there was anybody to see it.
    const log = new Screen(await client.logs({ follow: true }));
    await log.shows(/~ # /);
    first.write('echo $((6 * 7)) answers\n');
    await Promise.all([one.shows(/^42 answers/m), two.shows(/^42 answers/m)]);
    first.resize({ columns: 77, rows: 21 });
    first.write('until [ "$(stty size)" = "21 77" ]; do usleep 10000; done; echo re\\sized\n');
    await two.shows(/^resized/m);

    const attached = await cli(['attach', 'shell'], { stdin: 'echo from $((50 + 1))\nexit 0\n' });
    expect(attached.code).toBe(0);
    expect(attached.stdout.toString()).toMatch(/^from 51/m);
    expect(attached.stderr).toContain('"shell" has ended: exited');
    await Promise.all([one.shows(/^from 51/m), two.shows(/^from 51/m)]);
  });
});

describe('a VM whose process', () => {
  it('was killed leaves nothing, and its name is free', async () => {
    const { pid } = await detached('victim', ['sleep', '1000']);
    process.kill(pid, 'SIGKILL');
    while ((await list()).length > 0);
    const gone = await cli(['inspect', 'victim', '--format', 'json']);
    expect([gone.code, json(gone)]).toMatchObject([1, { error: { code: 'NO_SUCH_VM' } }]);
    expect(runtimeFiles()).toEqual([]);
    const again = await detached('victim', ['sleep', '1000']);
    expect(again.pid).not.toBe(pid);
  });

  it('hangs is listed as such, and killed', async () => {
    const client = await detached('stuck', ['sleep', '1000']);
    process.kill(client.pid, 'SIGSTOP');
    // It stands still when it gets to it.
    while (!readFileSync(`/proc/${client.pid}/stat`, 'latin1').includes(') T ')) await delay(1);
    expect(await listVms()).toMatchObject([{ name: 'stuck', pid: client.pid, state: 'unreachable' }]);
    const killed = await cli(['kill', 'stuck', '--format', 'json']);
    expect([killed.code, json(killed)]).toEqual([0, { name: 'stuck', pid: client.pid, state: 'killed' }]);
    expect(existsSync(join(scratch.path, 'reference-vmm', 'stuck'))).toBe(false);
  });

  it('gets two commands at once answers both', async () => {
    await detached('busy', ['sleep', '1000']);
    const pauses = await Promise.all([1, 2].map(() => cli(['pause', 'busy', '--format', 'json'])));
    expect(pauses.map(({ code }) => code).sort()).toEqual([0, 1]);
    expect(pauses.map(json)).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ state: 'paused' }),
        { error: expect.objectContaining({ code: 'WRONG_STATE' }) as unknown },
      ]),
    );
    const client = ControlClient.connect('busy');
    const ends = await Promise.all([client.stop({ grace: 0 }), client.stop({ grace: 0 })]);
    expect(ends).toMatchObject([{ state: 'stopped' }, { state: 'stopped' }]);
  });

  it('gets a signal ends it and is gone', async () => {
    const client = await detached('signalled', ['sleep', '1000']);
    const log = await client.logs({ follow: true });
    const seen = text(log);
    process.kill(client.pid, 'SIGTERM');
    expect(await seen).toContain('ended by SIGTERM');
    while (runtimeFiles().length > 0) await list();
  });
});

describe('a VM in the foreground', () => {
  it('is reached by its control socket, too', async () => {
    let stopped: Promise<CliResult> | undefined;
    const run = await cli(
      ['run', '--hypervisor', 'wasm', '--name', 'front', '--', 'sh', '-c', 'echo up; sleep 1000'],
      {
        onOutput: (output) => {
          if (output.includes('up')) stopped ??= cli(['stop', 'front', '--grace', '0']);
        },
      },
    );
    expect((await stopped)?.stdout.toString()).toBe('front has ended: stopped\n');
    expect([run.code, run.stdout.toString()]).toEqual([0, 'up\n']);
    expect(run.stderr).toContain('the VM was stopped');
  });

  it('has one object as its output with --format json', async () => {
    const run = await cli([
      'run',
      '--format',
      'json',
      '--name',
      'object',
      '--',
      'sh',
      '-c',
      'echo said; exit 4',
    ]);
    expect(run.code).toBe(4);
    expect(json(run)).toEqual({
      name: 'object',
      reason: { kind: 'exited', code: 4 },
      exitCode: 4,
      duration: expect.any(Number),
    });
    expect(run.stderr).toContain('said\n');
  });

  it('of the library has a control socket where the program wants one', async () => {
    const vm = await new VmBuilder().hypervisor('wasm').name('library').command('sleep', '1000').build();
    const control = await VmControl.open(vm);
    try {
      vm.start();
      expect(await list()).toMatchObject([
        {
          name: 'library',
          pid: process.pid,
          state: expect.stringMatching(/^(?:starting|running)$/) as string,
        },
      ]);
      expect(json(await cli(['pause', 'library', '--format', 'json']))).toMatchObject({ state: 'paused' });
      expect(vm.state).toBe('paused');
    } finally {
      await vm[Symbol.asyncDispose]();
      await control[Symbol.asyncDispose]();
    }
    expect(await list()).toEqual([]);
  });
});

it.each([
  [['no-such-command'], 'USAGE'],
  [['list', '--no-such-option'], 'USAGE'],
  [['stop'], 'INVALID_CONFIG'],
  [['stop', 'one', '-n', 'two'], 'INVALID_CONFIG'],
  [['stop', 'a', '--grace', 'soon'], 'INVALID_CONFIG'],
  [['inspect', '../a'], 'INVALID_CONFIG'],
  [['logs', '-f', 'a'], 'INVALID_CONFIG'],
  [['completion', 'tcsh'], 'USAGE'],
])('wrong usage is one object too: %j', async (args, code) => {
  const result = await cli([...args, '--format', 'json']);
  expect([result.code, json(result)]).toMatchObject([2, { error: { code } }]);
  expect(result.stderr).not.toBe('');
});
