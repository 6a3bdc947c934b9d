import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Architecture, type CpioEntry, type Guest, buildCpio, prepareGuest } from '@vmm/reference-vmm';

export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));
export const CLI: string = join(ROOT, 'reference-vmm/dist/cli/main.js');

/** Long enough for a boot on a busy machine: only a hang reaches it. */
export const BOOT_TIMEOUT = 180_000;

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface CliOptions {
  readonly stdin?: string | Uint8Array;
  /** Standard input does not end; `write` types into it. */
  readonly openStdin?: boolean;
  /** Nobody reads standard output behind its first bytes. */
  readonly closeOutput?: boolean;
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Called with all of standard output so far, whenever it grew; `kill` sends the process a signal. */
  readonly onOutput?: (
    text: string,
    control: { kill: (signal: NodeJS.Signals) => void; write: (text: string) => void },
  ) => void;
}

/** Runs the compiled command as a user would, and answers what it printed and how it ended. */
export function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, ...args], {
      cwd: options.cwd ?? ROOT,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const control = {
      kill: (signal: NodeJS.Signals): void => void child.kill(signal),
      write: (text: string): void => void child.stdin.write(text),
    };
    const watchdog = setTimeout(() => child.kill('SIGKILL'), BOOT_TIMEOUT - 5_000);
    child.stdout.on('data', (bytes: Buffer) => {
      stdout.push(bytes);
      if (options.closeOutput === true) child.stdout.destroy();
      options.onOutput?.(Buffer.concat(stdout).toString('utf8'), control);
    });
    child.stderr.on('data', (bytes: Buffer) => stderr.push(bytes));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(watchdog);
      resolve({
        code,
        signal,
        stdout: Buffer.concat(stdout),
        stderr: Buffer.concat(stderr).toString('utf8'),
      });
    });
    child.stdin.on('error', () => undefined);
    if (options.openStdin === true) return;
    child.stdin.end(options.stdin ?? '');
  });
}

/** Runs a command in the built-in guest. */
export function inGuest(
  command: readonly string[],
  runOptions: readonly string[] = [],
  options: CliOptions = {},
): Promise<CliResult> {
  return cli(['run', ...runOptions, '--', ...command], options);
}

export function sh(
  script: string,
  runOptions: readonly string[] = [],
  options: CliOptions = {},
): Promise<CliResult> {
  return inGuest(['sh', '-c', script], runOptions, options);
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A directory for one test file, removed by `dispose`. */
export class Scratch implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'vmm-test-'));

  file(name: string, content?: Uint8Array | string): string {
    const path = join(this.path, name);
    if (content !== undefined) writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/**
 * A directory for one test file, which its VMs and the commands that it runs have as XDG_RUNTIME_DIR, with the built-in guest
 * there already. To be called where hooks can be.
 *
 * @param end what comes before it is removed
 */
export function runtimeScratch(end: () => unknown = () => undefined): Scratch {
  const scratch = new Scratch();
  const previous = process.env['XDG_RUNTIME_DIR'];
  beforeAll(async () => {
    process.env['XDG_RUNTIME_DIR'] = scratch.path;
    await guest();
  });
  afterAll(async () => {
    await end();
    if (previous === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = previous;
    scratch[Symbol.dispose]();
  });
  return scratch;
}

/** The built-in guest's files. */
export function guest(arch: Architecture = 'aarch64'): Promise<Guest> {
  return prepareGuest((message) => process.stderr.write(`${message}\n`), arch);
}

/** An initial RAM filesystem whose init is a script for the guest's own busybox. */
export async function initrdWith(script: string, arch?: Architecture): Promise<Uint8Array> {
  const { initramfs } = await guest(arch);
  const busybox = extract(readFileSync(initramfs), 'bin/busybox');
  const entries: CpioEntry[] = [
    ...['bin', 'proc', 'sys', 'dev'].map((path): CpioEntry => ({ type: 'directory', path })),
    { type: 'file', path: 'bin/busybox', data: busybox, mode: 0o755 },
    {
      type: 'file',
      path: 'init',
      mode: 0o755,
      data: new TextEncoder().encode(
        `#!/bin/busybox sh\n/bin/busybox mount -t proc proc /proc\n/bin/busybox mount -t sysfs sysfs /sys\n/bin/busybox mount -t devtmpfs devtmpfs /dev\n/bin/busybox --install -s /bin\nexport PATH=/bin\n${script}\n`,
      ),
    },
  ];
  return buildCpio(entries);
}

function extract(archive: Buffer, path: string): Uint8Array {
  for (let offset = 0; offset < archive.length;) {
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', offset + 6 + 8 * index, offset + 14 + 8 * index), 16);
    const fileSize = field(6);
    const nameSize = field(11);
    const name = archive.toString('utf8', offset + 110, offset + 110 + nameSize - 1);
    const data = offset + Math.ceil((110 + nameSize) / 4) * 4;
    if (name === path) return archive.subarray(data, data + fileSize);
    offset = data + Math.ceil(fileSize / 4) * 4;
  }
  throw new Error(`${path} is not in the archive`);
}
