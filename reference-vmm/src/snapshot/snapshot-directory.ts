import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { VmmError, isErrno } from '../errors.ts';
import { isAlive, ownIdentity } from '../process-identity.ts';

export const MANIFEST_FILE = 'snapshot.json';
/** All of the memory. */
export const MEMORY_FILE = 'memory.bin';
/** What has changed since the snapshot that this one is based on. */
export const DIFFERENCE_FILE = 'memory.diff';
const FILES: readonly string[] = [MANIFEST_FILE, MEMORY_FILE, DIFFERENCE_FILE];

/** Where a snapshot is while a newer one takes its place. */
const REPLACED = '.replaced-';
/** Where a snapshot is while it is written. */
const UNFINISHED = '.unfinished-';

/** Milliseconds for which a snapshot that is just being replaced may have no name. */
const SWAP_LIMIT = 10_000;
const POLL = 5;

/**
 * Makes a directory of what `fill` writes: beside it, and when everything is on disk, in its place. What was there goes
 * only then, and stays when anything fails. What processes left that were killed meanwhile is removed.
 *
 * @param path does not exist, is empty, or a snapshot, which is replaced
 * @throws VmmError `SNAPSHOT_FAILED`, and what `fill` throws
 */
export async function replaceDirectory<T>(path: string, fill: (directory: string) => Promise<T>): Promise<T> {
  const target = resolve(path);
  await recover(target);
  await checkReplaceable(target);
  const parent = dirname(target);
  await mkdir(parent, { recursive: true });
  await removeLeftovers(target);
  const fresh = await temporary(target, UNFINISHED);
  try {
    const result = await fill(fresh);
    await synchronize(fresh);
    await swap(fresh, target);
    await synchronize(parent);
    return result;
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
  for (let waited = 0; !(await exists(target)); waited += POLL) {
    const replaced = await temporaries(target, REPLACED);
    // Another process is at it.
    if (replaced.some(({ owned }) => owned) && waited < SWAP_LIMIT) {
      await delay(POLL);
      continue;
    }
    for (const { directory, owned } of replaced) {
      if (owned) continue;
      const old = join(directory, basename(target));
      if (!(await exists(join(old, MANIFEST_FILE)))) continue;
      await rename(old, target);
      await rm(directory, { recursive: true, force: true });
      return;
    }
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
  const aside = await temporary(target, REPLACED);
  const old = join(aside, basename(target));
  try {
    await rename(target, old);
    try {
      await rename(fresh, target);
    } catch (error) {
      // Where another process has put a newer one there, that stays.
      await rename(old, target).catch(() => undefined);
      throw error;
    }
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
}

interface Temporary {
  readonly directory: string;
  /** The process that made it lives. */
  readonly owned: boolean;
}

/** A directory beside the target, which tells whose it is. */
async function temporary(target: string, kind: string): Promise<string> {
  const { pid, startTime } = ownIdentity();
  return await mkdtemp(join(dirname(target), `.${basename(target)}${kind}${pid}-${startTime}-`));
}

async function temporaries(target: string, kind: string): Promise<Temporary[]> {
  const parent = dirname(target);
  const prefix = `.${basename(target)}${kind}`;
  const names = await readdir(parent).catch(() => []);
  return names
    .filter((name) => name.startsWith(prefix))
    .flatMap((name) => {
      const match = /^(\d+)-(\d*)-[^-]+$/.exec(name.slice(prefix.length));
      if (match === null) return [];
      const [, pid = '', startTime = ''] = match;
      return [{ directory: join(parent, name), owned: isAlive({ pid: Number(pid), startTime }) }];
    });
}

/** The target is there, or {@link recover} found nothing to be it: what was aside is of no use. */
async function removeLeftovers(target: string): Promise<void> {
  const found = [...(await temporaries(target, UNFINISHED)), ...(await temporaries(target, REPLACED))];
  for (const { directory, owned } of found) if (!owned) await rm(directory, { recursive: true, force: true });
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
