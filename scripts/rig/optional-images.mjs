// Images that a run may have beside the system and the repository.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ROOT } from '../setup.mjs';
import { privateApt } from './base-image.mjs';
import { cached, digest, makeImage, place, temporary } from './images.mjs';

/** @typedef {import('./base-image.mjs').Arch} Arch */

const KEEP = 14 * 24 * 3600_000;
const QEMU = {
  x86_64: {
    name: 'qemu-system-x86',
    program: 'qemu-system-x86_64',
    loader: 'ld-linux-x86-64.so.2',
    triplet: 'x86_64-linux-gnu',
  },
  arm64: {
    name: 'qemu-system-arm',
    program: 'qemu-system-aarch64',
    loader: 'ld-linux-aarch64.so.1',
    triplet: 'aarch64-linux-gnu',
  },
};
/** Parts of QEMU's packages and their dependencies that no microvm or virt machine reads. */
const NOT_NEEDED = /^(doc|man|locale|lintian|info|perl5?|icons|gconv|edk2.*|skiboot.*|openbios.*|.*\.fd)$/;

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
    const work = temporary(dirname(image), 'making-');
    try {
      place(directory, join(work.path, name));
      makeImage(work.path, image);
    } finally {
      work.remove();
    }
  });
}

/**
 * QEMU with its libraries and firmware for /opt/qemu, from Debian's packages.
 *
 * @param {Arch} arch
 * @param {(message: string) => void} progress
 */
export function qemuImage(arch, progress) {
  const recipe = JSON.stringify([1, QEMU[arch], `${NOT_NEEDED}`]);
  return cached(`qemu-${arch}`, digest(recipe), KEEP, async (image) => {
    const work = temporary(dirname(image), 'making-');
    try {
      const packages = await unpackWithDependencies(work.path, arch, progress);
      progress('building the image of QEMU');
      const tree = join(work.path, 'tree');
      const skip = (/** @type {string} */ name) => NOT_NEEDED.test(name);
      for (const folder of ['lib', 'usr/lib', 'usr/share']) {
        place(join(packages, folder), join(tree, basename(folder)), { skip });
      }
      const { program, loader, triplet } = QEMU[arch];
      place(join(packages, 'usr/bin', program), join(tree, 'lib', program));
      const libraries = `/opt/qemu/lib/${triplet}`;
      const wrapper = [
        '#!/bin/sh',
        `exec ${libraries}/${loader} --library-path ${libraries}:${libraries}/pulseaudio /opt/qemu/lib/${program} \\`,
        '  -L /opt/qemu/share/qemu -L /opt/qemu/share/seabios "$@"',
        '',
      ];
      mkdirSync(join(tree, 'bin'));
      writeFileSync(join(tree, 'bin', program), wrapper.join('\n'), { mode: 0o755 });
      makeImage(tree, image);
    } finally {
      work.remove();
    }
  });
}

/** @param {string} work @param {Arch} arch @param {(message: string) => void} progress */
async function unpackWithDependencies(work, arch, progress) {
  const directory = join(work, 'apt');
  await privateApt(directory, arch, progress);
  progress(`downloading ${QEMU[arch].name} and what it depends on (about 45 MB)`);
  const env = { ...process.env, APT_CONFIG: join(directory, 'apt.conf'), LC_ALL: 'C' };
  const args = ['install', '--download-only', '--no-install-recommends', '-y', '-q', QEMU[arch].name];
  execFileSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const packages = join(work, 'packages');
  const archives = join(directory, 'cache/archives');
  for (const name of readdirSync(archives).filter((file) => file.endsWith('.deb'))) {
    execFileSync('dpkg-deb', ['-x', join(archives, name), packages]);
  }
  return packages;
}
