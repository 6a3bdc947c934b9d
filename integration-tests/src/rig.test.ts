import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { type Arch, openRig, runInRig } from '../../scripts/rig/index.mjs';
import { ROOT } from './support.ts';

/** Only a hang reaches it: two boots of an emulated machine, on a busy one. */
const LIMIT = 400_000;
const MEGABYTE = randomBytes(1 << 20);
const progress = (message: string): void => void process.stderr.write(`rig: ${message}\n`);

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe.each<Arch>(['x86_64', 'arm64'])('the %s rig', (arch) => {
  it(
    'passes a megabyte of arbitrary bytes in and out, both outputs apart, and the exit code',
    async () => {
      const script = 'tee /dev/stderr; exit 37';
      const result = await runInRig({ arch, argv: ['sh', '-c', script], stdin: MEGABYTE, progress });
      expect(sha256(result.stdout)).toBe(sha256(MEGABYTE));
      expect(sha256(result.stderr)).toBe(sha256(MEGABYTE));
      expect(result.code).toBe(37);
    },
    LIMIT,
  );

  it(
    'has KVM, Node of the architecture, the built packages with their addon, and runs many commands in one boot',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'vmm-rig-test-'));
      try {
        writeFileSync(join(directory, 'own file'), 'seen inside');
        await using rig = await openRig({
          arch,
          progress,
          env: { OF_THE_RIG: "it's" },
          files: [{ host: join(directory, 'own file'), guest: '/some/where/own file' }],
        });
        const node = await rig.run(['node', '-p', 'process.arch']);
        expect(node).toMatchObject({ code: 0, signal: null, timedOut: false });
        expect(node.stdout.toString()).toBe(arch === 'x86_64' ? 'x64\n' : 'arm64\n');

        const open = `require('node:fs').closeSync(require('node:fs').openSync('/dev/kvm', 'r+'))`;
        expect(await rig.run(['node', '-e', open])).toMatchObject({ code: 0 });

        const load = `import { diagnoseKvm } from '@vmm/hypervisor/kvm';
          console.log((await diagnoseKvm()).available);`;
        const loaded = await rig.run(['node', '--input-type=module', '-e', load]);
        expect(loaded.stderr.toString()).toBe('');
        expect(loaded.stdout.toString()).toBe('true\n');

        const words = await rig.run(
          [
            'sh',
            '-c',
            'printf "%s|" "$OF_THE_RIG" "$OF_THE_COMMAND" "$@"; cat "/some/where/own file"; pwd; exit 9',
          ].concat(['sh', 'a b', '', `'"$x`]),
          { env: { OF_THE_COMMAND: 'two' }, cwd: '/tmp' },
        );
        expect(words.stdout.toString()).toBe(`it's|two|a b||'"$x|seen inside/tmp\n`);
        expect(words.code).toBe(9);

        expect(await rig.run(['cat'], { stdin: MEGABYTE })).toMatchObject({ code: 0, stdout: MEGABYTE });
        expect(await rig.run(['/no/such/program'])).toMatchObject({ code: 127 });
        expect(await rig.run(['sh', '-c', 'kill -TERM $$'])).toMatchObject({ code: null, signal: 'SIGTERM' });
        expect(
          await rig.run(['sleep', '1000'], { timeoutMs: 1000, onTimeout: ['echo', 'asked'] }),
        ).toMatchObject({ timedOut: true, lastWords: Buffer.from('asked\n') });
        expect(await rig.run(['true'])).toMatchObject({ code: 0, timedOut: false });
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
    LIMIT,
  );

  it(
    'ends a command at its timeout with 124',
    async () => {
      const result = await runInRig({
        ...{ arch, progress, timeoutMs: 30_000 },
        argv: ['sh', '-c', 'echo begun; exec sleep 1000'],
      });
      expect(result).toMatchObject({ code: 124, timedOut: true });
      expect(result.stdout.toString()).toBe('begun\n');
    },
    LIMIT,
  );
});

describe('npm run rig', () => {
  const command = join(ROOT, 'scripts/rig/cli.mjs');

  it(
    'ends the machine and leaves nothing in the temporary directory after SIGTERM',
    async () => {
      const temporary = mkdtempSync(join(tmpdir(), 'vmm-rig-test-'));
      try {
        const args = [command, '--no-build', '--', 'sh', '-c', 'echo begun; exec sleep 1000'];
        const child = spawn(process.execPath, args, {
          stdio: ['ignore', 'pipe', 'inherit'],
          env: { ...process.env, TMPDIR: temporary },
        });
        await new Promise<void>((resolve) => child.stdout.once('data', () => resolve()));
        const machines = childrenOf(child.pid!);
        expect(machines).toHaveLength(1);
        const ended = new Promise((resolve) => child.once('close', resolve));
        child.kill('SIGTERM');
        expect(await ended).toBe(143);
        while (machines.some(isRunning)) await new Promise((resolve) => setTimeout(resolve, 10));
        expect(readdirSync(temporary)).toEqual([]);
      } finally {
        rmSync(temporary, { recursive: true, force: true });
      }
    },
    LIMIT,
  );

  it('says what is wrong with its arguments and exits with 125', async () => {
    for (const [args, message] of [
      [[], 'no command'],
      [['--arch', 'mips', '--', 'true'], '--arch'],
      [['--cpus', '0', '--', 'true'], '--cpus'],
      [['--no-build', '--file', '/no/such/file:/x', '--', 'true'], '/no/such/file'],
      [['--unknown', '--', 'true'], '--unknown'],
    ] as const) {
      const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
      let text = '';
      child.stderr.on('data', (bytes: Buffer) => (text += bytes.toString()));
      expect(await new Promise((resolve) => child.once('close', resolve))).toBe(125);
      expect(text).toContain(message);
    }
  });
});

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text
    .trim()
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
}

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}
