// Images that a run may have beside the system and the repository.
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { debianArchitecture } from './base-image.mjs';
import { RigError, cacheDirectory, cached, makeImage, place, temporary } from './images.mjs';

/** @typedef {import('./base-image.mjs').Arch} Arch */

const KEEP = 7 * 24 * 3600_000;

/**
 * The built-in guest of reference-vmm from the host's cache, so that it needs no network inside.
 *
 * @param {Arch} arch
 */
export async function guestImage(arch) {
  const cache = dirname(cacheDirectory());
  const prefix = `guest-${debianArchitecture(arch)}-`;
  const newest = (existsSync(cache) ? readdirSync(cache) : [])
    .filter((name) => name.startsWith(prefix) && existsSync(join(cache, name, 'manifest.json')))
    .map((name) => ({ name, time: statSync(join(cache, name)).mtimeMs }))
    .sort((left, right) => right.time - left.time)[0];
  if (newest === undefined) return undefined;
  return cached(`guest-${arch}`, newest.name.slice(prefix.length), KEEP, (image) => {
    const work = temporary(dirname(image), 'tree-');
    try {
      mkdirSync(work.path, { recursive: true });
      place(join(cache, newest.name), join(work.path, newest.name));
      makeImage(work.path, image);
    } finally {
      work.remove();
    }
  });
}

/** @param {Arch} arch @param {(message: string) => void} _progress @returns {Promise<string>} */
export async function qemuImage(arch, _progress) {
  throw new RigError(`QEMU inside the ${arch} rig is not there yet`);
}
