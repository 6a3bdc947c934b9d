// `npm run rig -- [options] -- COMMAND…`: runs a command with the built repository in an emulated machine with KVM.
import { parseArgs } from 'node:util';
import { build, installPackages } from '../setup.mjs';
import { BATCH_COMMAND, EXIT_RIG, RIG_TOOLS, RigError, startInRig, waitFor } from './index.mjs';

const HELP = `Usage: npm run rig -- [--arch x86_64|arm64] [options] -- COMMAND [ARGUMENT…]

Runs COMMAND in QEMU's emulated machine, where KVM works, with the built repository at /work.
Standard input, output and error and the exit code pass through. The first use fetches Debian's
kernel and libraries and Node, and caches them.

  --arch ARCH        x86_64 (default) or arm64
  --cpus N           CPUs of the machine (1)
  --memory MIB       memory of the machine (2048)
  --gic 2|3          arm64: version of the machine's interrupt controller (3)
  --env NAME=VALUE   a variable for the command; may be given several times
  --cwd DIRECTORY    where the command starts (/work)
  --file HOST:GUEST  a file or directory to see inside; may be given several times
  --with qemu        QEMU inside, to compare with
  --timeout SECONDS  for the command (600)
  --retry N          further starts when the machine itself does not come up (1)
  --batch            no COMMAND: commands are JSON lines on standard input, {"argv": […], "stdin"?,
                     "env"?, "cwd"?, "timeoutMs"?}, run one after the other in one boot; each gives a
                     line {"code", "signal", "timedOut", "milliseconds", "stdout", "stderr"};
                     stdin, stdout and stderr in base64
  --no-build         uses the build as it is
  --debug            shows the machine's console, and times, on standard error
  --help

Exit code: the command's; 124 after the timeout; 125 when the rig failed.
`;

/** @param {string} name @param {string | undefined} text @param {number} low @param {number} high */
function integer(name, text, low, high) {
  const value = Number(text);
  if (text === undefined || !/^\d+$/.test(text) || value < low || value > high) {
    throw new RigError(`--${name} takes a number from ${low} to ${high}`);
  }
  return value;
}

/** @param {string} name @param {string} text @param {string} separator */
function pair(name, text, separator) {
  const at = text.lastIndexOf(separator) === -1 ? -1 : text.indexOf(separator);
  if (at <= 0) throw new RigError(`--${name} takes two parts with '${separator}' between them, not ${text}`);
  return /** @type {const} */ ([text.slice(0, at), text.slice(at + 1)]);
}

function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      arch: { type: 'string', default: 'x86_64' },
      cpus: { type: 'string', default: '1' },
      memory: { type: 'string', default: '2048' },
      gic: { type: 'string', default: '3' },
      env: { type: 'string', multiple: true, default: [] },
      cwd: { type: 'string', default: '/work' },
      file: { type: 'string', multiple: true, default: [] },
      with: { type: 'string', multiple: true, default: [] },
      timeout: { type: 'string', default: '600' },
      retry: { type: 'string', default: '1' },
      batch: { type: 'boolean', default: false },
      'no-build': { type: 'boolean', default: false },
      debug: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  if (values.batch ? positionals.length > 0 : positionals.length === 0) {
    throw new RigError(values.batch ? '--batch takes no command' : 'no command: see --help');
  }
  if (values.arch !== 'x86_64' && values.arch !== 'arm64') throw new RigError(`--arch is x86_64 or arm64`);
  for (const name of values.with) if (name !== 'qemu') throw new RigError(`--with takes qemu, not ${name}`);
  return {
    arch: /** @type {import('./index.mjs').Arch} */ (values.arch),
    argv: values.batch ? BATCH_COMMAND : positionals,
    cpus: integer('cpus', values.cpus, 1, 8),
    memory: integer('memory', values.memory, 256, 65536),
    gic: /** @type {2 | 3} */ (integer('gic', values.gic, 2, 3)),
    env: Object.fromEntries(values.env.map((text) => pair('env', text, '='))),
    cwd: values.cwd,
    files: values.file.map((text) => {
      const [host, guest] = pair('file', text, ':');
      return { host, guest };
    }),
    qemu: values.with.includes('qemu'),
    timeoutMs: 1000 * integer('timeout', values.timeout, 1, 86_400),
    retries: integer('retry', values.retry, 0, 5),
    build: !values['no-build'],
    debug: values.debug,
  };
}

/** @returns {Promise<number>} the exit code */
async function main() {
  const chosen = options();
  if (chosen === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  installPackages('the rig', RIG_TOOLS[chosen.arch]);
  if (chosen.build) build();
  const started = performance.now();
  const progress = (/** @type {string} */ message) => void process.stderr.write(`rig: ${message}\n`);
  const time = (/** @type {string} */ what) => {
    if (chosen.debug) progress(`${what} ${((performance.now() - started) / 1000).toFixed(2)} s after start`);
  };
  const machine = await startInRig({
    ...chosen,
    progress,
    ...(chosen.debug ? { onConsole: (text) => void process.stderr.write(text) } : {}),
  });
  time('command begins');
  process.stdin.on('error', () => undefined);
  process.stdin.pipe(machine.stdin);
  process.stdout.on('error', () => machine.kill());
  machine.stdout.pipe(process.stdout, { end: false });
  machine.stderr.pipe(process.stderr, { end: false });
  const { code, timedOut } = await waitFor(machine, chosen.timeoutMs);
  if (timedOut) progress(`the command took longer than ${chosen.timeoutMs / 1000} s`);
  time('command ended');
  return code;
}

for (const [signal, number] of /** @type {const} */ ([
  ['SIGINT', 2],
  ['SIGTERM', 15],
  ['SIGHUP', 1],
])) {
  // The handlers of 'exit' end the machine and remove what is temporary.
  process.on(signal, () => process.exit(128 + number));
}
main().then(
  (code) => {
    process.exitCode = code;
    // Standard input may stay open for ever.
    process.stdin.destroy();
  },
  (error) => {
    const known = error instanceof RigError || error?.code?.startsWith?.('ERR_PARSE_ARGS') || 'code' in error;
    process.stderr.write(`rig: ${known ? error.message : error.stack}\n`);
    process.exitCode = EXIT_RIG;
    process.stdin.destroy();
  },
);
