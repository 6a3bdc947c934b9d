import { jest } from '@jest/globals';
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { BOOT_TIMEOUT, CLI, type CliResult, ROOT, Scratch, cli } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

interface Argument {
  name(): string;
}
interface CommandWords {
  name(): string;
  readonly registeredArguments: readonly Argument[];
}
const program = (await import(join(ROOT, 'reference-vmm/dist/cli/program.js'))) as {
  createProgram(): Promise<{ readonly commands: readonly CommandWords[] }>;
};
const { commands } = await program.createProgram();

const scratch = new Scratch();
/** An environment with a runtime directory of its own. */
function environment(name: string): NodeJS.ProcessEnv {
  mkdirSync(scratch.file(name));
  return { XDG_RUNTIME_DIR: scratch.file(name) };
}
/** Without VMs, and with some that do not answer. */
const env = environment('empty');
const stuckEnv = environment('stuck');

const each = commands.map((command) => [command.name(), command] as const);
/** Commands about one VM. */
const targets = each.filter(([, { registeredArguments }]) => registeredArguments[0]?.name() === 'name');

/** A process that holds names of VMs and their control sockets, tells who is asked, and never answers. */
const STUCK = `
  import { createServer } from 'node:net';
  import { RuntimeDirectory } from '${ROOT}/reference-vmm/dist/runtime-directory.js';
  process.setMaxListeners(0);
  for (const name of process.argv.slice(1)) {
    const { path } = RuntimeDirectory.claim(name);
    const server = createServer((socket) => { socket.on('error', () => {}).resume(); console.log(name); });
    await new Promise((resolve) => server.listen(path + '/control.sock', resolve));
  }
  console.log('ready');`;
let stuck: ChildProcess;
const said = new EventEmitter();

beforeAll(async () => {
  stuck = spawn(
    process.execPath,
    ['--input-type=module', '-e', STUCK, '--', ...targets.map(([name]) => `stuck-${name}`)],
    { env: { ...process.env, ...stuckEnv }, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  createInterface({ input: stuck.stdout! }).on('line', (line) => said.emit(line));
  await Promise.race([
    once(said, 'ready'),
    once(stuck, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${String(code)}`))),
  ]);
});
afterAll(() => {
  stuck.kill();
  scratch[Symbol.dispose]();
});

/** Words for whatever a command wants to have. */
function wordsFor({ registeredArguments }: CommandWords, name: string): string[] {
  const words: Readonly<Record<string, string>> = {
    name,
    command: 'true',
    source: `${name}:/etc/passwd`,
    destination: scratch.file('copy'),
    directory: scratch.file('no-such-directory/inside'),
    shell: 'bash',
  };
  return registeredArguments.map((argument) => words[argument.name()] ?? argument.name());
}

/** Exactly one object on standard output; for people there are words on standard error when it is an error. */
function expectOneObject({ code, stdout, stderr, signal }: CliResult): Readonly<Record<string, unknown>> {
  expect(signal).toBeNull();
  const value: unknown = JSON.parse(stdout.toString('utf8'));
  expect(value).toEqual(expect.objectContaining({}));
  expect(Array.isArray(value)).toBe(false);
  const object = value as Readonly<Record<string, unknown>>;
  if ('error' in object) {
    expect(object['error']).toEqual(
      expect.objectContaining({ code: expect.any(String), message: expect.any(String) }),
    );
    expect(code).not.toBe(0);
    expect(stderr).not.toBe('');
  }
  return object;
}

describe('--format json is one object on standard output', () => {
  it('there are commands', () => {
    expect(each.length).toBeGreaterThan(12);
  });

  it.each(each)('of %s', async (name, command) => {
    const [usual, usage] = await Promise.all([
      cli([name, '--format', 'json', ...wordsFor(command, 'nobody')], { env }),
      cli([name, '--format=json', '--no-such-option'], { env: { ...env, REFERENCE_VMM_FORMAT: 'text' } }),
    ]);
    const object = expectOneObject(usual);
    // Without such a VM most commands fail, and the others have nothing to complain of.
    expect('error' in object).toBe(usual.code !== 0);
    expect([usage.code, expectOneObject(usage)]).toMatchObject([2, { error: { code: 'USAGE' } }]);
  });

  it.each(targets)('of %s, interrupted while it waits for the VM', async (name, command) => {
    const asked = once(said, `stuck-${name}`);
    const child = spawn(
      process.execPath,
      [CLI, name, '--format', 'json', ...wordsFor(command, `stuck-${name}`)],
      {
        cwd: ROOT,
        env: { ...process.env, ...stuckEnv },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const output: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    child.stdout.on('data', (bytes: Buffer) => output.stdout.push(bytes));
    child.stderr.on('data', (bytes: Buffer) => output.stderr.push(bytes));
    const closed = once(child, 'close');
    await asked;
    child.kill('SIGINT');
    // Some pass the first on to the guest, or end in good order first.
    const again = setInterval(() => child.kill('SIGINT'), 250);
    const [code, signal] = (await closed) as [number | null, NodeJS.Signals | null];
    clearInterval(again);
    const stdout = Buffer.concat(output.stdout);
    const stderr = Buffer.concat(output.stderr).toString();
    expectOneObject({ code, signal, stdout, stderr });
    expect(code).toBe(130);
  });

  it('of the program itself: version, help, no command, an unknown one; the environment asks for it too', async () => {
    const results = await Promise.all(
      [['--version'], ['--help'], ['run', '--help'], ['help', 'stop'], [], ['no-such-command']].map((args) =>
        cli(args, { env: { ...env, REFERENCE_VMM_FORMAT: 'json' } }),
      ),
    );
    expect(results.map((result) => [result.code, Object.keys(expectOneObject(result))[0]])).toEqual([
      [0, 'version'],
      [0, 'text'],
      [0, 'text'],
      [0, 'text'],
      [2, 'error'],
      [2, 'error'],
    ]);
  });
});

it('the environment names the VM and the grace, and a bad value is told by its variable', async () => {
  const [named, grace, format] = await Promise.all([
    cli(['pause', '--format', 'json'], { env: { ...env, REFERENCE_VMM_NAME: 'nobody' } }),
    cli(['stop', 'nobody', '--format', 'json'], { env: { ...env, REFERENCE_VMM_GRACE: 'soon' } }),
    cli(['list'], { env: { ...env, REFERENCE_VMM_FORMAT: 'xml' } }),
  ]);
  expect([named.code, expectOneObject(named)]).toMatchObject([1, { error: { code: 'NO_SUCH_VM' } }]);
  expect([grace.code, expectOneObject(grace)]).toMatchObject([2, { error: { code: 'INVALID_CONFIG' } }]);
  expect(grace.stderr).toMatch(/REFERENCE_VMM_GRACE: "soon" is not a duration/);
  expect([format.code, format.stderr]).toEqual([2, expect.stringContaining('REFERENCE_VMM_FORMAT')]);
});

describe('colours', () => {
  const CSI = '\x1b[';
  const listed = async (options: NodeJS.ProcessEnv): Promise<string> =>
    (await cli(['list', '--timeout', '100ms'], { env: { ...stuckEnv, ...options } })).stdout.toString();

  it('are for terminals, and for whoever forces them; NO_COLOR wins', async () => {
    const [plain, forced, none] = await Promise.all([
      listed({ FORCE_COLOR: '' }),
      listed({ FORCE_COLOR: '1' }),
      listed({ FORCE_COLOR: '1', NO_COLOR: '1' }),
    ]);
    expect(plain).toMatch(/^NAME[^]*stuck-\S+ +unreachable/);
    expect(plain).not.toContain(CSI);
    expect(forced).toContain(CSI);
    expect(none).toBe(plain);
  });
});
