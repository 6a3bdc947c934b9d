// Shared set-up of `npm start`, `npm test` and `npm run bench`: packages, build, Debian packages for tests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const STAMP = join(ROOT, 'node_modules/.cache/vmm/build');
/** Packages with a native addon. */
const ADDONS = ['hypervisor', 'virtio-devices'];
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
    if (existsSync(TEST_TOOLS['g++']) && !ADDONS.every(isBuilt)) buildAddons();
    return;
  }
  const started = Date.now();
  process.stderr.write('reference-vmm: installing packages and building, once\n');
  rmSync(STAMP, { force: true });
  const changed = sourcesChanged();
  const log = join(ROOT, 'node_modules/.cache/vmm/setup.log');
  mkdirSync(join(ROOT, 'node_modules/.cache/vmm'), { recursive: true });
  quietly(log, 'npx', ['--yes', PNPM, 'install', '--frozen-lockfile']);
  // Through pnpm, since turbo looks for it on the path.
  quietly(log, 'npx', ['--yes', PNPM, 'exec', 'turbo', 'run', 'build', '--output-logs=errors-only']);
  buildAddons();
  mkdirSync(join(ROOT, 'node_modules/.cache/vmm'), { recursive: true });
  writeFileSync(STAMP, String(changed));
  process.stderr.write(`reference-vmm: built in ${((Date.now() - started) / 1000).toFixed(0)} s\n`);
}

/** Turbo remembers a build without a compiler and keeps its messages back; this does nothing when the addons are there. */
function buildAddons() {
  for (const name of ADDONS)
    run(process.execPath, [join(ROOT, `packages/${name}/scripts/build-native.mjs`), '--optional']);
}

function isBuilt(name) {
  return existsSync(join(ROOT, `packages/${name}/prebuilds/linux-${process.arch}/.inputs`));
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
  'g++': '/usr/bin/g++',
  make: '/usr/bin/make',
  python3: '/usr/bin/python3',
  'qemu-user-static': '/usr/bin/qemu-aarch64-static',
  'qemu-system-arm': '/usr/bin/qemu-system-aarch64',
  'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
  'g++-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-g++',
  'gcc-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-gcc',
  binutils: '/usr/bin/objdump',
  'binutils-aarch64-linux-gnu': '/usr/bin/aarch64-linux-gnu-objdump',
  'libc6-dev-arm64-cross': '/usr/aarch64-linux-gnu/include/stdio.h',
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
 */
export function installPackages(purpose, packages) {
  const missing = Object.entries(packages)
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name);
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0)
    fail(`For ${purpose}, Debian packages are missing here. Install them with:\n  sudo ${command}`);
  if (!existsSync('/usr/bin/apt-get'))
    fail(
      `For ${purpose}, these Debian packages are needed, and there is no apt-get here: ${missing.join(' ')}`,
    );
  process.stderr.write(`installing for ${purpose}: ${missing.join(' ')}\n`);
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-q'], { env });
  run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { env });
}
