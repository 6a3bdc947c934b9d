import { jest } from '@jest/globals';
import { mkdirSync } from 'node:fs';
import { BOOT_TIMEOUT, type CliResult, Scratch, cli, guest, sh } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const scratch = new Scratch();
// Fetching it tells its progress, and these tests count lines.
beforeAll(async () => {
  await guest();
});
afterAll(() => scratch[Symbol.dispose]());

/** One line on standard error with a stable code, nothing on standard output, and this exit code. */
function expectRefusal(result: CliResult, exitCode: number, pattern: RegExp): void {
  expect(result.stdout.toString()).toBe('');
  const lines = result.stderr.split('\n').filter((line) => line !== '');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(pattern);
  expect(result.code).toBe(exitCode);
}

function x86Kernel(): Uint8Array {
  const image = new Uint8Array(4096);
  image.set(new TextEncoder().encode('HdrS'), 0x202);
  image.set([0x55, 0xaa], 0x1fe);
  return image;
}

describe('wrong input is refused with one clear line', () => {
  it.each<[string, () => string[], number, RegExp]>([
    [
      'a kernel that is not there',
      () => ['-k', '/no/such/kernel'],
      125,
      /\/no\/such\/kernel.*\[FILE_NOT_FOUND\]/,
    ],
    ['a kernel that is a directory', () => ['-k', scratch.path], 125, /directory.*\[FILE_UNREADABLE\]/],
    [
      'a file that is no kernel',
      () => ['-k', scratch.file('text', 'hello '.repeat(1000))],
      125,
      /\[NOT_A_KERNEL\]/,
    ],
    [
      'a kernel of another architecture',
      () => ['--arch', 'aarch64', '-k', scratch.file('bzImage', x86Kernel())],
      125,
      /x86.*\[WRONG_ARCHITECTURE\]/,
    ],
    [
      'a disk that is not there',
      () => ['-d', '/no/such/disk', '--', 'true'],
      125,
      /\/no\/such\/disk.*\[NOT_FOUND\]/,
    ],
    [
      'a disk that is empty',
      () => ['-d', scratch.file('empty', ''), '--', 'true'],
      125,
      /empty.*\[INVALID_SIZE\]/,
    ],
    ['a disk that is a directory', () => ['-d', scratch.path, '--', 'true'], 125, /\[NOT_A_FILE\]/],
    [
      'a disk that is not a multiple of 512',
      () => ['-d', scratch.file('odd', new Uint8Array(1000)), '--', 'true'],
      125,
      /512.*\[INVALID_SIZE\]/,
    ],
    ['no CPU', () => ['-c', '0', '--', 'true'], 2, /cpus.*\[INVALID_CONFIG\]/],
    ['too many CPUs', () => ['-c', '1000', '--', 'true'], 2, /cpus.*\[INVALID_CONFIG\]/],
    ['no memory', () => ['-m', '0', '--', 'true'], 2, /memory.*\[INVALID_CONFIG\]/],
    ['a size that is none', () => ['-m', 'lots', '--', 'true'], 2, /not a size.*\[INVALID_CONFIG\]/],
    [
      'a duration that is none',
      () => ['--timeout', 'soon', '--', 'true'],
      2,
      /not a duration.*\[INVALID_CONFIG\]/,
    ],
    ['an unusable name', () => ['--name', 'a/b', '--', 'true'], 2, /name.*\[INVALID_CONFIG\]/],
  ])('%s', async (_, args, code, pattern) => {
    expectRefusal(await cli(['run', ...args()]), code, pattern);
  });

  it('an unknown option, with a hint at --help', async () => {
    const result = await cli(['run', '--no-such-option']);
    expect(result.code).toBe(2);
    expect(result.stderr).toContain('--no-such-option');
    expect(result.stdout.toString()).toBe('');
  });

  it('too little memory for the kernel', async () => {
    const { kernel } = await guest();
    expectRefusal(await cli(['run', '-k', kernel, '-m', '24']), 125, /\[MEMORY_TOO_SMALL\]/);
  });

  it('an initrd that does not fit', async () => {
    const { kernel } = await guest();
    const initrd = scratch.file('huge.cpio', new Uint8Array(80 * 1024 * 1024));
    expectRefusal(
      await cli(['run', '-k', kernel, '--initrd', initrd, '-m', '64']),
      125,
      /\[INITRD_TOO_LARGE\]/,
    );
  });

  it('a machine without apt and without the guest in its cache', async () => {
    mkdirSync(`${scratch.path}/nothing`, { recursive: true });
    const env = { PATH: `${scratch.path}/nothing`, XDG_CACHE_HOME: `${scratch.path}/cache` };
    expectRefusal(await cli(['run', '--', 'true'], { env }), 125, /--kernel.*\[NO_APT\]/);
  });

  it('a name that another VM has, which goes on', async () => {
    let second: Promise<CliResult> | undefined;
    const first = await sh('echo up; read line; echo "still here: $line"', ['--name', 'taken'], {
      openStdin: true,
      onOutput: (text, { write }) => {
        if (second !== undefined || !text.includes('up')) return;
        second = cli(['run', '--name', 'taken', '--', 'true']);
        void second.then(() => write('yes\n'));
      },
    });
    expectRefusal(await second!, 125, /taken.*\[NAME_TAKEN\]/);
    expect(first.stdout.toString()).toBe('up\nstill here: yes\n');
    expect(first.code).toBe(0);
  });

  it('but the name of a VM that was killed is free again', async () => {
    const killed = await sh('echo up; sleep 1000', ['--name', 'killed'], {
      onOutput: (text, { kill }) => {
        if (text.includes('up')) kill('SIGKILL');
      },
    });
    expect(killed.signal).toBe('SIGKILL');
    const result = await sh('hostname', ['--name', 'killed']);
    expect(result.stdout.toString()).toBe('killed\n');
  });
});
