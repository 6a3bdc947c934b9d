// The rig as a library: `runInRig` runs one command, `openRig` many in one boot.
import { tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { baseImage } from './base-image.mjs';
import { RigError, temporary } from './images.mjs';
import { startMachine } from './machine.mjs';
import { buildAddons, repositoryImage } from './repository-image.mjs';
import { guestImage, qemuImage } from './optional-images.mjs';
import { runImage } from './run-image.mjs';
import { newToken } from './streams.mjs';

export { RigError };

/** Debian packages that the rig uses, by a file that shows that each is installed. */
export const RIG_TOOLS = {
  x86_64: { 'qemu-system-x86': '/usr/bin/qemu-system-x86_64', e2fsprogs: '/sbin/mke2fs' },
  arm64: {
    'qemu-system-arm': '/usr/bin/qemu-system-aarch64',
    'g++-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-g++',
    e2fsprogs: '/sbin/mke2fs',
  },
};

/** @typedef {import('./base-image.mjs').Arch} Arch */

/**
 * @typedef {object} RigOptions
 * @property {Arch} arch
 * @property {number} [cpus] 1 (default) to 4; more than the host has makes nothing quicker
 * @property {number} [memory] in MiB, 2048 by default
 * @property {2 | 3} [gic] arm64: version of the machine's interrupt controller, 3 by default
 * @property {Readonly<Record<string, string>>} [env]
 * @property {string} [cwd] /work by default, which is the repository
 * @property {readonly { host: string, guest: string }[]} [files] files or directories to see inside
 * @property {boolean} [qemu] QEMU itself inside, as qemu-system-x86_64 or qemu-system-aarch64
 * @property {number} [timeoutMs] of the command, 600000 by default
 * @property {number} [retries] starts after one whose machine did not come up, 1 by default
 * @property {(message: string) => void} [progress]
 * @property {(text: string) => void} [onConsole]
 */

/** Time for the machine to reach its command, on a busy machine; only a hang reaches it. */
const BOOT_LIMIT_MS = 300_000;
const TIMEOUT_MS = 600_000;
/** Runs commands that come as JSON lines. */
export const BATCH_COMMAND = ['node', '/rig/run/batch.mjs'];
export const EXIT_TIMEOUT = 124;
export const EXIT_RIG = 125;

/** @param {string} text */
function lastLines(text) {
  return text.trimEnd().split('\n').slice(-40).join('\n');
}

/** Starts a machine with a command and answers once the command begins. @param {RigOptions & { argv: readonly string[] }} options */
export async function startInRig(options) {
  const progress = options.progress ?? (() => undefined);
  const { arch, cpus = 1, memory = 2048, gic = 3, retries = 1 } = options;
  const base = await baseImage(arch, progress);
  buildAddons(arch);
  const images = [
    { file: base.image, mount: '/' },
    { file: await repositoryImage(), mount: '/work' },
    { file: await guestImage(arch, progress), mount: '/root/.cache/reference-vmm' },
    ...(options.qemu ? [{ file: await qemuImage(arch, progress), mount: '/opt/qemu' }] : []),
  ];
  for (let attempt = 0; ; attempt++) {
    const token = newToken();
    const work = temporary(tmpdir(), 'vmm-rig-');
    try {
      const own = runImage(work.path, { ...options, token, mounts: images.map(({ mount }) => mount) });
      const machine = startMachine({
        ...{ arch, cpus, memory, gic, token, kernel: base.kernel },
        images: [...images.map(({ file }) => file), own],
        ...(options.onConsole === undefined ? {} : { onConsole: options.onConsole }),
      });
      const timer = setTimeout(machine.kill, BOOT_LIMIT_MS);
      const up = await Promise.race([machine.ready.then(() => true), machine.ended.then(() => false)]);
      clearTimeout(timer);
      if (up) return machine;
      if (attempt === retries) {
        throw new RigError(`the machine did not come up; its console:\n${lastLines(machine.console())}`);
      }
      progress('the machine did not come up; starting it once more. Its console:');
      progress(lastLines(machine.console()));
    } finally {
      // QEMU has its disks open by now.
      work.remove();
    }
  }
}

/**
 * Waits for a started command.
 *
 * @param {Awaited<ReturnType<typeof startInRig>>} machine
 * @param {number} timeoutMs
 * @returns {Promise<{ code: number, timedOut: boolean }>}
 */
export async function waitFor(machine, timeoutMs) {
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    machine.kill();
  }, timeoutMs);
  const code = await machine.ended;
  clearTimeout(timer);
  if (code !== undefined) return { code, timedOut: false };
  if (timedOut) return { code: EXIT_TIMEOUT, timedOut };
  throw new RigError(`the machine ended before its command; its console:\n${lastLines(machine.console())}`);
}

/**
 * Runs one command in the rig.
 *
 * @param {RigOptions & { argv: readonly string[], stdin?: string | Uint8Array }} options
 * @returns {Promise<{ stdout: Buffer, stderr: Buffer, code: number, timedOut: boolean }>} code 124 after a
 *   timeout; as a shell says it, 128 and the signal's number after a signal
 * @throws RigError when the machine fails, with its console
 */
export async function runInRig(options) {
  const machine = await startInRig(options);
  const [stdout, stderr] = [machine.stdout, machine.stderr].map((stream) => {
    /** @type {Buffer[]} */
    const chunks = [];
    stream.on('data', (bytes) => chunks.push(bytes));
    return { chunks, end: finished(stream, { writable: false }).catch(() => undefined) };
  });
  machine.stdin.end(options.stdin ?? '');
  const result = await waitFor(machine, options.timeoutMs ?? TIMEOUT_MS);
  await Promise.all([stdout?.end, stderr?.end]);
  return {
    stdout: Buffer.concat(stdout?.chunks ?? []),
    stderr: Buffer.concat(stderr?.chunks ?? []),
    ...result,
  };
}

/**
 * @typedef {object} RigCommandResult
 * @property {number | null} code 127 when the command could not be started, null after a signal
 * @property {string | null} signal
 * @property {boolean} timedOut
 * @property {number} milliseconds inside the machine
 * @property {Buffer} stdout
 * @property {Buffer} stderr
 * @property {string} [error]
 * @property {Buffer} [lastWords] what `onTimeout` had to say
 */

/** @typedef {Awaited<ReturnType<typeof openRig>>} Rig */

/**
 * Starts a machine that runs commands one after the other.
 *
 * @param {RigOptions} options the timeout counts for each command
 */
export async function openRig(options) {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const machine = await startInRig({ ...options, argv: BATCH_COMMAND, cwd: '/work' });
  machine.stderr.resume();
  const results = createInterface({ input: machine.stdout, crlfDelay: Infinity })[Symbol.asyncIterator]();
  /** @type {Promise<unknown>} */
  let queue = Promise.resolve();
  /**
   * @param {readonly string[]} argv
   * @param {{ stdin?: string | Uint8Array, env?: Readonly<Record<string, string>>, cwd?: string, timeoutMs?: number,
   *   onTimeout?: readonly string[] }} [command] `onTimeout` is run before a command that takes too long is killed
   * @returns {Promise<RigCommandResult>}
   * @throws RigError when the machine fails, with its console
   */
  const run = (argv, command = {}) => {
    const stdin = Buffer.from(command.stdin ?? '').toString('base64');
    const limit = command.timeoutMs ?? timeoutMs;
    const line = {
      argv,
      stdin,
      env: command.env,
      cwd: command.cwd ?? options.cwd,
      timeoutMs: limit,
      onTimeout: command.onTimeout,
    };
    const result = queue.then(async () => {
      machine.stdin.write(`${JSON.stringify(line)}\n`);
      // A machine that hangs answers nothing, so the limit holds outside as well.
      const timer = setTimeout(machine.kill, limit + 120_000);
      const { value } = await results.next();
      clearTimeout(timer);
      if (value === undefined)
        throw new RigError(`the machine ended; its console:\n${lastLines(machine.console())}`);
      const answer = JSON.parse(value);
      const decode = (/** @type {string} */ text) => Buffer.from(text, 'base64');
      const lastWords = answer.lastWords && { lastWords: decode(answer.lastWords) };
      return { ...answer, stdout: decode(answer.stdout), stderr: decode(answer.stderr), ...lastWords };
    });
    queue = result.catch(() => undefined);
    return result;
  };
  const close = async () => {
    machine.kill();
    await machine.ended;
  };
  return { run, close, console: machine.console, [Symbol.asyncDispose]: close };
}
