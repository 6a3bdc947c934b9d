// Builds a package's addon from its binding.gyp and native/ into prebuilds/linux-ARCH.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const TARGETS = { x64: 'x86_64-linux-gnu-', arm64: 'aarch64-linux-gnu-' };
const { values: options } = parseArgs({
  options: {
    arch: { type: 'string', default: process.arch },
    out: { type: 'string' },
    sanitize: { type: 'string', default: '' },
    optional: { type: 'boolean', default: false },
  },
});
const { arch, sanitize } = options;
const prefix = arch === process.arch ? '' : TARGETS[arch];
const compiler = prefix === '' ? (process.env.CXX ?? 'g++') : `${prefix}g++`;

let root, what, tools, out, folder, stamp;

/**
 * Reads the command line: `--arch x64|arm64` (default: this machine's), `--out FOLDER` instead of the package's,
 * `--sanitize address` for tests, `--optional`: where it cannot be built say so and succeed.
 *
 * @param {string} packageFolder has binding.gyp and native/
 * @param {string} name for messages
 * @param {{ addonApi: string, nodeGyp: string, prebuildify: string }} paths of what the package depends on for this:
 *   manifest of node-addon-api, the two programs
 */
export function buildAddon(packageFolder, name, paths) {
  root = packageFolder;
  what = name;
  tools = paths;
  out = resolve(options.out ?? root);
  folder = join(out, 'prebuilds', `linux-${arch}`);
  stamp = join(folder, '.inputs');
  main();
}

function main() {
  if (!(arch in TARGETS)) return unavailable(`there is none for ${arch}`);
  if (process.platform !== 'linux') return unavailable('it is made for Linux');
  const inputs = hashInputs();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs) return;
  const missing = [compiler, 'make', 'python3'].filter((name) => !onPath(name));
  if (missing.length > 0)
    return unavailable(`missing: ${missing.join(', ')}; install g++, make and python3 and build again`);
  const nodedir = findHeaders();
  rmSync(stamp, { force: true });
  if (compile(nodedir)) {
    writeFileSync(stamp, inputs);
    const name = readdirSync(folder).find((file) => file.endsWith('.node'));
    console.log(join('prebuilds', `linux-${arch}`, name ?? ''));
  } else if (nodedir === undefined) {
    // node-gyp may have failed to fetch them.
    unavailable(`the headers of Node.js are missing; set npm_config_nodedir to a folder with include/node`);
  } else {
    process.exitCode = 1;
  }
}

function unavailable(reason) {
  process.stderr.write(`no ${what} for ${process.platform}-${arch}, ${reason}\n`);
  if (!options.optional) process.exitCode = 1;
}

/** Everything that the addon is made from. */
function hashInputs() {
  const hash = createHash('sha256');
  const native = readdirSync(join(root, 'native')).sort();
  for (const file of ['binding.gyp', ...native.map((name) => join('native', name))])
    hash.update(file).update(readFileSync(join(root, file)));
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  hash
    .update(JSON.parse(readFileSync(tools.addonApi, 'utf8')).version)
    .update(compiler)
    .update(sanitize);
  return hash.digest('hex');
}

function onPath(name) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return name.includes('/') ? existsSync(name) : folders.some((path) => existsSync(join(path, name)));
}

/** Where this Node.js or the system has node_api.h, so that node-gyp need not download it. */
function findHeaders() {
  const places = [
    process.env.npm_config_nodedir,
    join(dirname(process.execPath), '..'),
    '/usr/local',
    '/usr',
  ];
  return places.find((place) => place !== undefined && existsSync(join(place, 'include/node/node_api.h')));
}

function compile(nodedir) {
  // A folder for each build: node-gyp knows only one, and node-gyp-build would load what it finds there.
  mkdirSync(join(root, 'build'), { recursive: true });
  const work = mkdtempSync(join(root, 'build', `${arch}-`));
  for (const name of ['binding.gyp', 'package.json', 'native'])
    cpSync(join(root, name), join(work, name), { recursive: true });
  const env = {
    ...process.env,
    CC: `${prefix}gcc`,
    CXX: compiler,
    JOBS: 'max',
    GYP_DEFINES: `sanitize=${sanitize}`,
    PREBUILD_STRIP_BIN: `${prefix}strip`,
    PREBUILD_SHELL: '/bin/sh',
    PREBUILD_NODE_GYP: `"${process.execPath}" "${tools.nodeGyp}"`,
    ...(nodedir === undefined ? {} : { npm_config_nodedir: nodedir }),
  };
  const flags = [
    '--target',
    process.versions.node,
    '--napi',
    '--tag-libc',
    '--arch',
    arch,
    '--platform',
    'linux',
    '--out',
    work,
  ];
  if (sanitize === '') flags.push('--strip');
  const result = spawnSync(process.execPath, [tools.prebuildify, ...flags], {
    cwd: work,
    env,
    encoding: 'utf8',
  });
  if (result.status === 0) install(join(work, 'prebuilds', `linux-${arch}`));
  rmSync(work, { recursive: true, force: true });
  if (result.status === 0) return true;
  process.stderr.write(`${result.stdout}${result.stderr}${result.error?.message ?? ''}`);
  return false;
}

/** Replaces the addon in one step: a process that loads it, or builds it as well, sees the old one or the new one. */
function install(made) {
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(made)) {
    const fresh = join(folder, `.${process.pid}.tmp`);
    cpSync(join(made, name), fresh);
    renameSync(fresh, join(folder, name));
  }
}
