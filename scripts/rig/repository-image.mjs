// The built repository as the rig sees it at /work: packages' dist, prebuilds and sources, and a flat
// node_modules of what they need at run time.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { ROOT } from '../setup.mjs';
import { RigError, cached, digest, makeImage, place, temporary } from './images.mjs';

/** A build gives a new image; who started a run with the old one has opened it long before. */
const KEEP = 900_000;
const FORMAT = 2;
const FOLDER_PARTS = ['package.json', 'dist', 'agent', 'src', 'prebuilds', 'bench', 'test', 'examples'];
/** Types, maps and what builds note are not read at run time; the oracles of the tests are large and stay outside. */
const SKIP = /\.(d\.ts|map|tsbuildinfo|tmp)$|^(node_modules|__snapshots__|\.turbo|\.inputs)$/;

function workspaceFolders() {
  const packages = readdirSync(join(ROOT, 'packages')).map((name) => `packages/${name}`);
  return [...packages, 'reference-vmm', 'integration-tests'].filter((folder) =>
    existsSync(join(ROOT, folder, 'package.json')),
  );
}

/** @param {string} folder @returns {{ name: string, dependencies?: Record<string, string> }} */
function manifest(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/** Folders of packages outside the workspace that it needs at run time, by name. */
function runtimeDependencies() {
  /** @type {Map<string, string>} */
  const found = new Map();
  /** @param {string} folder */
  const visit = (folder) => {
    for (const name of Object.keys(manifest(folder).dependencies ?? {})) {
      const link = dependencyFolder(folder, name);
      const real = realpathSync(link);
      if (!real.includes('node_modules')) continue;
      const known = found.get(name);
      if (known === real) continue;
      if (known !== undefined) throw new RigError(`two versions of ${name} are needed: ${known} and ${real}`);
      found.set(name, real);
      visit(real);
    }
  };
  for (const folder of workspaceFolders()) visit(join(ROOT, folder));
  return found;
}

/** @param {string} folder @param {string} name */
function dependencyFolder(folder, name) {
  for (const base of createRequire(join(folder, 'package.json')).resolve.paths(name) ?? []) {
    if (existsSync(join(base, name, 'package.json'))) return join(base, name);
  }
  throw new RigError(`${relative(ROOT, folder)} needs ${name}, which is not installed: run npm start once`);
}

/** @param {string} path @param {string[]} lines */
function list(path, lines) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isDirectory()) {
    lines.push(`${path} ${stat.size} ${stat.mtimeMs}`);
    return;
  }
  for (const name of readdirSync(path)) if (!SKIP.test(name)) list(join(path, name), lines);
}

/** Builds the native addons for an architecture, if they changed. @param {import('./base-image.mjs').Arch} arch */
export function buildAddons(arch) {
  for (const name of ['hypervisor', 'virtio-devices']) {
    const script = join(ROOT, `packages/${name}/scripts/build-native.mjs`);
    const args = [script, '--arch', arch === 'x86_64' ? 'x64' : 'arm64'];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    if (status !== 0)
      throw new RigError(`the addon of ${name} for ${arch} did not build:\n${stdout}${stderr}`);
  }
}

/**
 * The image of the repository as it is now.
 *
 * @returns {Promise<string>}
 */
export function repositoryImage() {
  const folders = workspaceFolders();
  const dependencies = runtimeDependencies();
  const lines = [`${FORMAT}`, ...dependencies.values()];
  for (const folder of folders) for (const part of FOLDER_PARTS) list(join(ROOT, folder, part), lines);
  for (const part of ['package.json', 'scripts']) list(join(ROOT, part), lines);
  return cached('repository', digest(lines.join('\n')), KEEP, (image) => {
    const work = temporary(dirname(image), 'making-');
    const skip = (/** @type {string} */ name) => SKIP.test(name);
    try {
      const modules = join(work.path, 'node_modules');
      mkdirSync(join(modules, '.bin'), { recursive: true });
      for (const folder of folders) {
        for (const part of FOLDER_PARTS) {
          const from = join(ROOT, folder, part);
          if (existsSync(from)) place(from, join(work.path, folder, part), { skip });
        }
        const link = join(modules, manifest(join(ROOT, folder)).name);
        mkdirSync(dirname(link), { recursive: true });
        symlinkSync(relative(dirname(link), join(work.path, folder)), link);
      }
      for (const [name, folder] of dependencies) place(folder, join(modules, name), { skip });
      for (const part of ['package.json', 'scripts'])
        place(join(ROOT, part), join(work.path, part), { skip });
      const command = '#!/bin/sh\nexec node /work/reference-vmm/dist/cli/main.js "$@"\n';
      writeFileSync(join(modules, '.bin/reference-vmm'), command, { mode: 0o755 });
      makeImage(work.path, image);
    } finally {
      work.remove();
    }
  });
}
