// Shared set-up of `npm start`, `npm test` and `npm run bench`: packages, build, Debian packages for tests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = join(ROOT, 'node_modules/.cache/vmm/build');
/** What a C or C++ compiler makes: the script, what it leaves behind, and what Debian's compiler is called. */
const NATIVE = [
  ...['hypervisor', 'virtio-devices'].map((name) => ({
    script: `packages/${name}/scripts/build-native.mjs`,
    made: `packages/${name}/prebuilds/linux-${process.arch}/.inputs`,
    compiler: '/usr/bin/g++',
  })),
  {
    script: 'reference-vmm/scripts/build-agent.mjs',
    made: 'reference-vmm/agent/dist/aarch64/.inputs',
    compiler: '/usr/bin/aarch64-linux-gnu-gcc',
  },
];
/** Debian packages that builds use, by a file that shows that each is installed. */
const BUILD_TOOLS = {
  'g++': '/usr/bin/g++',
  make: '/usr/bin/make',
  python3: '/usr/bin/python3',
  // Guests of the software hypervisor are arm64; on an arm64 machine these are the plain compiler's other names.
  'gcc-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-gcc',
  ...(process.arch === 'arm64' ? {} : { 'libc6-dev-arm64-cross': '/usr/aarch64-linux-gnu/include/stdio.h' }),
};
const PNPM = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).packageManager;

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Node ${process.versions.node} is too old: Node 20.19 or later is needed`);
}

export function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Runs a command with its output on standard error, and ends this process if it fails. */
export function run(command, args, options = {}) {
  const env = { ...process.env, npm_config_loglevel: 'warn', ...options.env };
  const result = spawnSync(command, args, { cwd: ROOT, stdio: options.stdio ?? ['ignore', 2, 2], env });
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0) {
    process.stderr.write(`failed (${result.status ?? result.signal}): ${command} ${args.join(' ')}\n`);
    process.exit(result.status ?? 1);
  }
}

/** Runs a task of every package; turbo looks for pnpm on the path, so it goes through pnpm. */
export function turbo(task) {
  run('npx', ['--yes', PNPM, 'exec', 'turbo', 'run', task, '--output-logs=errors-only']);
}

/** Runs a program of the root's node_modules/.bin. */
export function bin(name, args, options) {
  run(join(ROOT, 'node_modules/.bin', name), args, options);
}

function newest(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(
    0,
    ...readdirSync(path).map((name) => (name.startsWith('.') ? 0 : newest(join(path, name)))),
  );
}

function workspaceFolders() {
  return [
    ...readdirSync(join(ROOT, 'packages')).map((name) => `packages/${name}`),
    'reference-vmm',
    'integration-tests',
  ];
}

const BUILD_INPUTS = [
  'src',
  'assembly',
  'native',
  'agent/src',
  'binding.gyp',
  'scripts',
  'package.json',
  'tsconfig.build.json',
];

/** Newest change of anything that a build reads, in milliseconds since the epoch. */
function sourcesChanged() {
  const inputs = [
    'pnpm-lock.yaml',
    'package.json',
    'tsconfig.base.json',
    'turbo.json',
    'scripts/build-addon.mjs',
  ];
  for (const folder of workspaceFolders()) {
    for (const part of BUILD_INPUTS) inputs.push(join(folder, part));
  }
  return Math.max(...inputs.map((path) => newest(join(ROOT, path))));
}

/** Installs the workspace's packages and builds everything, unless nothing changed since the last time. */
export function build() {
  if (existsSync(STAMP) && Number(readFileSync(STAMP, 'utf8')) >= sourcesChanged()) {
    // The compiler may have come later.
    for (const { script, made, compiler } of NATIVE)
      if (existsSync(compiler) && !existsSync(join(ROOT, made))) buildNative(script);
    return;
  }
  const started = Date.now();
  process.stderr.write('reference-vmm: installing packages and building, once\n');
  rmSync(STAMP, { force: true });
  installPackages('the KVM addon and the agent of guests', BUILD_TOOLS, { optional: true });
  const changed = sourcesChanged();
  const log = join(ROOT, 'node_modules/.cache/vmm/setup.log');
  mkdirSync(join(ROOT, 'node_modules/.cache/vmm'), { recursive: true });
  quietly(log, 'npx', ['--yes', PNPM, 'install', '--frozen-lockfile']);
  // Through pnpm, since turbo looks for it on the path.
  quietly(log, 'npx', ['--yes', PNPM, 'exec', 'turbo', 'run', 'build', '--output-logs=errors-only']);
  for (const { script } of NATIVE) buildNative(script);
  mkdirSync(join(ROOT, 'node_modules/.cache/vmm'), { recursive: true });
  writeFileSync(STAMP, String(changed));
  process.stderr.write(`reference-vmm: built in ${((Date.now() - started) / 1000).toFixed(0)} s\n`);
}

/** Turbo remembers a build without a compiler and keeps its messages back; this does nothing when all is there. */
function buildNative(script) {
  run(process.execPath, [join(ROOT, script), '--optional']);
}

function quietly(log, command, args) {
  const env = { ...process.env, npm_config_loglevel: 'warn', TURBO_TELEMETRY_DISABLED: '1' };
  const result = spawnSync(command, args, { cwd: ROOT, env, encoding: 'utf8', maxBuffer: 64 << 20 });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`;
  writeFileSync(log, output);
  if (result.error) fail(`${command}: ${result.error.message}`);
  if (result.status !== 0)
    fail(`${output}\nfailed (${result.status ?? result.signal}): ${command} ${args.join(' ')}`);
}

/** Debian packages that the tests use, by a file that shows that each is installed. */
const TEST_TOOLS = {
  ...BUILD_TOOLS,
  'qemu-user-static': '/usr/bin/qemu-aarch64-static',
  'qemu-system-arm': '/usr/bin/qemu-system-aarch64',
  'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
  'g++-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-g++',
  binutils: '/usr/bin/objdump',
  'binutils-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-objdump',
  'device-tree-compiler': '/usr/bin/dtc',
  'acpica-tools': '/usr/bin/iasl',
  cpio: '/usr/bin/cpio',
  e2fsprogs: '/sbin/mke2fs',
  tmux: '/usr/bin/tmux',
  iproute2: '/sbin/ip',
  openssl: '/usr/bin/openssl',
  passt: '/usr/bin/passt',
  tcpdump: '/usr/bin/tcpdump',
  socat: '/usr/bin/socat',
  zsh: '/usr/bin/zsh',
  fish: '/usr/bin/fish',
};

/** Installs the Debian packages that tests need; without root it says what to install and ends. */
export function testTools() {
  installPackages('the tests', TEST_TOOLS);
}

/**
 * Installs those Debian packages whose file is missing.
 *
 * @param {string} purpose
 * @param {Readonly<Record<string, string>>} packages a file of each
 * @param {{ optional?: boolean }} options optional: where they cannot be installed say so and go on
 */
export function installPackages(purpose, packages, { optional = false } = {}) {
  const missing = Object.entries(packages)
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name);
  if (missing.length === 0) return;
  const refuse = (message) => {
    if (!optional) fail(message);
    process.stderr.write(`${message}\n`);
  };
  const install = ['install', '-y', '-q', '--no-install-recommends', ...missing];
  if (process.getuid?.() !== 0)
    return refuse(
      `For ${purpose}, Debian packages are missing here. Install them with:\n  sudo apt-get ${install.join(' ')}`,
    );
  if (!existsSync('/usr/bin/apt-get'))
    return refuse(
      `For ${purpose}, these Debian packages are needed, and there is no apt-get here: ${missing.join(' ')}`,
    );
  process.stderr.write(`installing for ${purpose}: ${missing.join(' ')}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [['update', '-q'], install]) {
    const { status } = spawnSync('apt-get', args, { cwd: ROOT, env, stdio: ['ignore', 2, 2] });
    if (status !== 0) return refuse(`failed: apt-get ${args.join(' ')}`);
  }
}
