import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isAlive, ownIdentity } from '../process-identity.ts';

/** Directories in which something is fetched, by the process that does it. */
const FETCHING = /^fetch-(\d+)-(\d*)-/;
/** Pids mean little where several containers share a cache: what is older than any fetch takes is nobody's. */
const ABANDONED_AFTER = 3_600_000;

/**
 * Makes a directory of the cache. Whatever else it needs is in a directory of its own, and the result appears in one step:
 * processes that do the same at once do not meet, the first result stays, and one that was killed blocks nobody.
 *
 * @param target in the cache; what lies there and is not complete is replaced
 * @param complete tells whether a directory is what `make` makes
 * @param make fills the directory `fresh`; `work` is for everything else, and removed afterwards
 */
export async function makeInCache(
  target: string,
  complete: (directory: string) => boolean,
  make: (fresh: string, work: string) => Promise<void>,
): Promise<void> {
  const cache = dirname(target);
  mkdirSync(cache, { recursive: true });
  removeAbandoned(cache);
  const { pid, startTime } = ownIdentity();
  const work = mkdtempSync(join(cache, `fetch-${pid}-${startTime}-`));
  const clean = (): void => rmSync(work, { recursive: true, force: true });
  process.once('exit', clean);
  try {
    const fresh = join(work, 'fresh');
    mkdirSync(fresh);
    await make(fresh, work);
    try {
      renameSync(fresh, target);
    } catch (error) {
      if (complete(target)) return;
      renameSync(target, join(work, 'incomplete'));
      try {
        renameSync(fresh, target);
      } catch {
        if (!complete(target)) throw error;
      }
    }
  } finally {
    process.off('exit', clean);
    clean();
  }
}

function removeAbandoned(cache: string): void {
  for (const name of readdirSync(cache)) {
    const match = FETCHING.exec(name);
    if (match === null || isAlive({ pid: Number(match[1]), startTime: match[2] ?? '' })) continue;
    const path = join(cache, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat !== undefined && Date.now() - stat.mtimeMs > ABANDONED_AFTER)
      rmSync(path, { recursive: true, force: true });
  }
}
