// Images that a run may have beside the system and the repository.
import { basename, dirname, join } from 'node:path';
import { ROOT } from '../setup.mjs';
import { RigError, cached, makeImage, place, temporary } from './images.mjs';

/** @typedef {import('./base-image.mjs').Arch} Arch */

const KEEP = 7 * 24 * 3600_000;

/**
 * The built-in guest of reference-vmm, so that it needs no network inside.
 *
 * @param {Arch} arch
 * @param {(message: string) => void} progress
 */
export async function guestImage(arch, progress) {
  const { prepareGuest } = await import(join(ROOT, 'reference-vmm/dist/guest/guest.js'));
  const { kernel } = await prepareGuest(progress, arch === 'x86_64' ? 'x86_64' : 'aarch64');
  const directory = dirname(kernel);
  const name = basename(directory);
  return cached(`guest-${arch}`, name.slice(name.lastIndexOf('-') + 1), KEEP, (image) => {
    const work = temporary(dirname(image), 'tree-');
    try {
      place(directory, join(work.path, name));
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
