// The image of one run: second stage of the rig's first process, its settings, the command, files to see inside.
import { copyFileSync, cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RigError, makeImage } from './images.mjs';

/** A word for a POSIX shell. @param {string} text */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * @param {string} work an empty directory
 * @param {object} options
 * @param {readonly string[]} options.argv
 * @param {string} options.token
 * @param {readonly string[]} options.mounts where each image before this one is mounted, the root first
 * @param {Readonly<Record<string, string>>} [options.env]
 * @param {string} [options.cwd]
 * @param {readonly { host: string, guest: string }[]} [options.files]
 * @returns {string} the image
 */
export function runImage(work, { argv, token, mounts, env = {}, cwd = '/work', files = [] }) {
  const tree = join(work, 'tree');
  mkdirSync(join(tree, 'files'), { recursive: true });
  for (const name of ['init.sh', 'batch.mjs']) {
    copyFileSync(
      fileURLToPath(new URL(`guest/${name}`, import.meta.url)),
      join(tree, name.replace('.sh', '')),
    );
  }
  const settings = [`token=${token}`];
  mounts.forEach((mount, index) => {
    if (mount !== '/') settings.push(`mkdir -p ${mount} && mount -t ext4 /dev/nvme0n${index + 1} ${mount}`);
  });
  files.forEach(({ host, guest }, index) => {
    if (!guest.startsWith('/')) throw new RigError(`${guest}: the path inside the rig must be absolute`);
    const stat = statSync(host, { throwIfNoEntry: false });
    if (stat === undefined) throw new RigError(`${host}: no such file`);
    cpSync(resolve(host), join(tree, 'files', `${index}`), { recursive: true, dereference: true });
    const make = stat.isDirectory() ? `mkdir -p ${quoted(guest)}` : `: >>${quoted(guest)}`;
    settings.push(`mkdir -p "$(dirname ${quoted(guest)})"; ${make}`);
    settings.push(`mount --bind /rig/run/files/${index} ${quoted(guest)}`);
  });
  const environment = {
    HOME: '/root',
    PATH: '/work/node_modules/.bin:/usr/bin:/usr/sbin:/opt/qemu/bin',
    ...env,
  };
  const exports = Object.entries(environment).map(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw new RigError(`${name}: not a name of a variable`);
    return `export ${name}=${quoted(value)}`;
  });
  // In a child, since a first process of a PID namespace does not take signals as others do.
  const command = [
    ...exports,
    `cd ${quoted(cwd)} || exit 125`,
    `( exec ${argv.map(quoted).join(' ')} )`,
    'exit $?',
  ];
  writeFileSync(join(tree, 'settings'), `${settings.join('\n')}\n`);
  writeFileSync(join(tree, 'command'), `${command.join('\n')}\n`);
  const image = join(work, 'run.ext4');
  makeImage(tree, image);
  return image;
}
