// Disk images of the rig: ext4 made from a directory without mounting or root, cached under a key.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

/** An error that the user reads as it is; the command ends with 125. */
export class RigError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = 'RigError';
  }
}

const BLOCK = 4096;
/** Room for what a run writes; the image is sparse and a run's writes are thrown away. */
const FREE_BYTES = 256 << 20;

/** `$XDG_CACHE_HOME/reference-vmm/rig`, or the same below the home directory. */
export function cacheDirectory() {
  const base = process.env.XDG_CACHE_HOME;
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'reference-vmm/rig');
}

/** The file of a program that `PATH` may leave out for ordinary users. @param {string} name */
export function findTool(name) {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

/** @param {string} text */
export function digest(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/**
 * A cached file or directory, made at its first use. `make` writes to the path it is given; other processes
 * see the result at once or not at all.
 *
 * @template T
 * @param {string} kind entries of one kind replace one another
 * @param {string} key
 * @param {number} keepMilliseconds entries of this kind that nobody used for so long are removed
 * @param {(path: string) => T | Promise<T>} make
 * @returns {Promise<string>}
 */
export async function cached(kind, key, keepMilliseconds, make) {
  const cache = cacheDirectory();
  const name = `${kind}-${key}`;
  const path = join(cache, name);
  if (!existsSync(path)) {
    mkdirSync(cache, { recursive: true });
    const work = temporary(cache, 'making-');
    try {
      await make(join(work.path, name));
      removeUnused(cache, kind, keepMilliseconds);
      try {
        renameSync(join(work.path, name), path);
      } catch (error) {
        // Another process that made the same directory was first: its content is as good.
        if (!existsSync(path)) throw error;
      }
    } finally {
      work.remove();
    }
  }
  const now = new Date();
  utimesSync(path, now, now);
  return path;
}

/** @param {string} cache @param {string} kind @param {number} keepMilliseconds */
function removeUnused(cache, kind, keepMilliseconds) {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    const limit = name.startsWith('making-') ? 24 * 3600_000 : keepMilliseconds;
    if ((name.startsWith(`${kind}-`) || name.startsWith('making-')) && age > limit) {
      try {
        rmSync(path, { recursive: true, force: true });
      } catch {
        // Another process removes it at the same time.
      }
    }
  }
}

/**
 * A directory that goes away with the process if not before.
 *
 * @param {string} parent
 * @param {string} prefix
 */
export function temporary(parent, prefix) {
  const path = mkdtempSync(join(parent, prefix));
  const clean = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', clean);
  return {
    path,
    remove: () => {
      process.off('exit', clean);
      clean();
    },
  };
}

/**
 * Copies a file or directory into a tree; on one file system by hard links.
 *
 * @param {string} from
 * @param {string} to
 * @param {{ skip?: (name: string) => boolean, follow?: boolean }} [options]
 */
export function place(from, to, options = {}) {
  const stat = options.follow ? statSync(from) : lstatSync(from);
  if (stat.isDirectory()) {
    mkdirSync(to, { recursive: true });
    for (const name of readdirSync(from)) {
      if (!options.skip?.(name)) place(join(from, name), join(to, name), options);
    }
  } else if (stat.isSymbolicLink()) {
    rmSync(to, { force: true });
    symlinkSync(readlinkSync(from), to);
  } else if (stat.isFile()) {
    mkdirSync(dirname(to), { recursive: true });
    rmSync(to, { force: true });
    try {
      linkSync(from, to);
    } catch {
      copyFileSync(from, to);
    }
  }
}

/**
 * Makes an ext4 image of a tree.
 *
 * @param {string} tree
 * @param {string} image
 */
export function makeImage(tree, image) {
  const mke2fs = findTool('mke2fs');
  if (mke2fs === undefined) throw new RigError('mke2fs is missing: install the package e2fsprogs');
  let bytes = 0;
  let files = 0;
  /** @param {string} folder */
  const measure = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      files++;
      const path = join(folder, entry.name);
      bytes += BLOCK + (entry.isFile() ? Math.ceil(statSync(path).size / BLOCK) * BLOCK : 0);
      if (entry.isDirectory()) measure(path);
    }
  };
  measure(tree);
  const inodes = files + 20_000;
  const blocks = Math.ceil((bytes * 1.02 + inodes * 256 + FREE_BYTES) / BLOCK);
  const features = '^has_journal,^resize_inode';
  const args = ['-q', '-F', '-t', 'ext4', '-b', `${BLOCK}`, '-O', features, '-m0', '-N', `${inodes}`];
  args.push('-E', 'lazy_itable_init=1,root_owner=0:0', '-d', tree, image, `${blocks}`);
  execFileSync(mke2fs, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
