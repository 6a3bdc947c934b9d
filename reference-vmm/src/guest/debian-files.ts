import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { VmmError } from '../errors.ts';
import type { Architecture } from '../machine/machine.ts';
import { PrivateApt, type Progress } from './apt.ts';
import type { CpioEntry } from './cpio.ts';
import { makeInCache } from './fetch-directory.ts';
import { DEBIAN_NAMES, cacheDirectory } from './guest.ts';

/** Needed to install and configure packages, not to run what is in them. */
const LEFT_OUT: readonly string[] = [
  'adduser',
  'debconf',
  'dpkg',
  'gcc-12-base',
  'install-info',
  'libc-bin',
  'passwd',
  'perl',
  'perl-base',
];
/** Documentation, translations, and what else takes room and no program needs. */
const SKIPPED = /^usr\/(?:share\/(?:doc|man|info|locale|lintian|bug|bash-completion)|include)$|\/gconv$/;

const FORMAT = 2;
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;

/**
 * The files of Debian packages and all they depend on, for {@link VmBuilder.guestFiles}; fetched through apt the first
 * time, and kept in the cache. Maintainer scripts are not run, documentation is left out.
 *
 * @example
 * builder.guestFiles(await debianFiles(['e2fsprogs'], 'aarch64')).command('mkfs.ext4', '/dev/vda')
 *
 * @throws VmmError `NO_APT`, `APT_FAILED`, `INVALID_CONFIG` for what is no package's name
 */
export async function debianFiles(
  packages: readonly string[],
  arch: Architecture,
  progress: Progress = () => undefined,
): Promise<CpioEntry[]> {
  for (const name of packages)
    if (!PACKAGE_NAME.test(name)) throw new VmmError('INVALID_CONFIG', `"${name}" is no name of a package`);
  const wanted = [...new Set(packages)].sort();
  const debian = DEBIAN_NAMES[arch];
  const key = createHash('sha256').update(`${FORMAT} ${wanted.join()}`).digest('hex').slice(0, 12);
  const directory = join(cacheDirectory(), `debian-${debian}-${key}`);
  if (!existsSync(directory)) await fetchPackages(wanted, debian, directory, progress);
  return entriesOf(directory);
}

async function fetchPackages(
  packages: readonly string[],
  debian: string,
  target: string,
  progress: Progress,
): Promise<void> {
  await makeInCache(target, existsSync, async (fresh, work) => {
    const apt = new PrivateApt(join(work, 'apt'), debian, progress);
    await apt.update();
    const names = await apt.closure(packages, LEFT_OUT);
    const versions = Object.fromEntries(await apt.unpackAll(names, fresh));
    mkdirSync(join(fresh, 'vmm'), { recursive: true });
    writeFileSync(join(fresh, 'vmm/packages.json'), `${JSON.stringify(versions, undefined, 2)}\n`);
  });
}

function entriesOf(root: string): CpioEntry[] {
  const entries: CpioEntry[] = [];
  const walk = (path: string): void => {
    for (const name of readdirSync(join(root, path)).sort()) {
      const inside = path === '' ? name : `${path}/${name}`;
      if (SKIPPED.test(inside)) continue;
      const file = join(root, inside);
      const stat = lstatSync(file);
      if (stat.isSymbolicLink()) {
        entries.push({ type: 'symlink', path: inside, target: readlinkSync(file) });
      } else if (stat.isDirectory()) {
        entries.push({ type: 'directory', path: inside, mode: stat.mode & 0o7777 });
        walk(inside);
      } else if (stat.isFile()) {
        entries.push({ type: 'file', path: inside, data: readFileSync(file), mode: stat.mode & 0o7777 });
      }
    }
  };
  walk('');
  return entries;
}
