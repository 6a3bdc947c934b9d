import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { VmmError, isErrno } from '../errors.ts';

export const MANIFEST_FILE = 'snapshot.json';
export const MEMORY_FILE = 'memory.bin';
const FILES: readonly string[] = [MANIFEST_FILE, MEMORY_FILE];

/** Where a snapshot is while a newer one takes its place. */
const REPLACED = '.replaced-';
/** Where a snapshot is while it is written. */
const UNFINISHED = '.unfinished-';

/**
 * Makes a directory of what `fill` writes: beside it, and when everything is on disk, in its place. What was there goes
 * only then, and stays when anything fails.
 *
 * @param path does not exist, is empty, or a snapshot, which is replaced
 * @throws VmmError `SNAPSHOT_FAILED`, and what `fill` throws
 */
export async function replaceDirectory(
  path: string,
  fill: (directory: string) => Promise<void>,
): Promise<void> {
  const target = resolve(path);
  await recover(target);
  await checkReplaceable(target);
  const parent = dirname(target);
  await mkdir(parent, { recursive: true });
  const fresh = await mkdtemp(join(parent, `.${basename(target)}${UNFINISHED}`));
  try {
    await fill(fresh);
    await synchronize(fresh);
    await swap(fresh, target);
    await synchronize(parent);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/**
 * A process that is killed between the two renames of a replacement leaves the old snapshot under another name; this
 * gives it its own back.
 */
export async function recover(path: string): Promise<void> {
  const target = resolve(path);
  if (await exists(target)) return;
  const prefix = `.${basename(target)}${REPLACED}`;
  const names = await readdir(dirname(target)).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const old = join(dirname(target), name, basename(target));
    if (!(await exists(join(old, MANIFEST_FILE)))) continue;
    await rename(old, target);
    await rm(dirname(old), { recursive: true, force: true });
    return;
  }
}

/** Files go with a directory that is replaced: they must be a snapshot's. */
async function checkReplaceable(target: string): Promise<void> {
  let names: readonly string[];
  try {
    names = await readdir(target);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return;
    throw failure(`${target} is no directory that a snapshot can be in`, cause);
  }
  const foreign = names.filter((name) => !FILES.includes(name));
  if (foreign.length > 0)
    throw failure(`${target} has something in it that is no snapshot: ${foreign.slice(0, 3).join(', ')}`);
}

async function swap(fresh: string, target: string): Promise<void> {
  if (!(await exists(target))) {
    await rename(fresh, target);
    return;
  }
  const aside = await mkdtemp(join(dirname(target), `.${basename(target)}${REPLACED}`));
  const old = join(aside, basename(target));
  try {
    await rename(target, old);
    try {
      await rename(fresh, target);
    } catch (error) {
      await rename(old, target);
      throw error;
    }
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

/** The names in a directory are on disk, too. */
async function synchronize(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

function failure(message: string, cause?: unknown): VmmError {
  return new VmmError('SNAPSHOT_FAILED', message, { cause });
}
