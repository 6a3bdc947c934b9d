import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { VmmError, isErrno } from './errors.ts';
import { LEFTOVERS_FILE, type Leftover, leftoverAt, removeLeftovers } from './leftovers.ts';
import { type ProcessIdentity, isAlive, ownIdentity } from './process-identity.ts';
import { baseDirectory } from './runtime-base.ts';

/** Names of VMs: what a host name allows, so that the guest can carry it too (RFC 1123 §2.1). */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

const STATE_FILE = 'vm.json';
/** Directories that are being made or removed, by the process that does it; no VM name starts with a dot. */
const TRANSIENT = /^\.(?:claim|gone)-(\d+)-(\d*)-/;
const CLAIM_ATTEMPTS = 10;
const DESCRIPTORS = '/proc/self/fd';

const holderSchema: v.GenericSchema<unknown, ProcessIdentity> = v.object({
  pid: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  startTime: v.string(),
});
/** Who holds what a crash of the machine left with half a state file. */
const NOBODY: ProcessIdentity = { pid: 0, startTime: 'none' };

/** The directory of a VM whose process lives. */
export interface RuntimeEntry {
  readonly name: string;
  readonly path: string;
  readonly holder: ProcessIdentity;
}

/**
 * A VM's directory `<name>` in {@link baseDirectory}, mode 0700. Holding it is holding the name. It comes and goes in one step, and what a
 * killed process left is recognised and removed by whoever finds it.
 */
export class RuntimeDirectory implements Disposable {
  readonly path: string;
  readonly #base: string;
  readonly #leftovers: Leftover[] = [];
  #released = false;
  readonly #onExit = (): void => this[Symbol.dispose]();

  private constructor(base: string, path: string) {
    this.#base = base;
    this.path = path;
    process.once('exit', this.#onExit);
  }

  /** @throws VmmError `NAME_TAKEN`, `INVALID_CONFIG` for an unusable name, `RUNTIME_DIRECTORY` */
  static claim(name: string): RuntimeDirectory {
    checkName(name);
    const base = baseDirectory();
    runtimeEntries();
    const path = join(base, name);
    const fresh = transient(base, 'claim');
    try {
      writeFileSync(join(fresh, STATE_FILE), `${JSON.stringify(ownIdentity())}\n`, { mode: 0o600 });
      for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
        try {
          renameSync(fresh, path);
          return new RuntimeDirectory(base, path);
        } catch (error) {
          if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'EEXIST')) {
            throw new VmmError('RUNTIME_DIRECTORY', `cannot create ${path}: ${String(error)}`, {
              cause: error,
            });
          }
        }
        // In this order: one that is emptied or claimed meanwhile has what tells whose it is, or nothing.
        const names = namesIn(path);
        const other = readHolder(path);
        if (other === undefined && names.length > 0 && !names.includes(STATE_FILE)) {
          throw new VmmError('RUNTIME_DIRECTORY', `${path} is not the directory of a VM: remove it`);
        }
        if (other !== undefined && isAlive(other)) {
          throw new VmmError(
            'NAME_TAKEN',
            `a VM named "${name}" runs already (pid ${other.pid}): choose another name`,
          );
        }
        removeIfStale(base, name);
      }
      throw new VmmError('NAME_TAKEN', `another process took the name "${name}" at the same moment`);
    } finally {
      remove(fresh);
    }
  }

  /**
   * Puts a file into the directory, for other processes to read: all of it or, when it cannot be written, none; nothing
   * once the name has been given back. Never throws.
   */
  publish(name: string, text: string): void {
    if (this.#released) return;
    const path = join(this.path, name);
    try {
      writeFileSync(`${path}~`, text, { mode: 0o600 });
      renameSync(`${path}~`, path);
    } catch {
      remove(path);
    }
  }

  /** A file elsewhere that is of no use without this VM: whoever removes the directory removes it, too. Never throws. */
  goesWith(path: string): void {
    const leftover = leftoverAt(resolve(path));
    if (leftover === undefined) return;
    this.#leftovers.push(leftover);
    this.publish(LEFTOVERS_FILE, JSON.stringify(this.#leftovers));
  }

  /** Gives the name back; more than one call is harmless. */
  [Symbol.dispose](): void {
    if (this.#released) return;
    this.#released = true;
    process.off('exit', this.#onExit);
    // Half a directory must not be found under the name, should this process be killed meanwhile.
    discard(this.#base, this.path);
  }
}

/** @throws VmmError `INVALID_CONFIG` */
export function checkName(name: string): void {
  if (!NAME.test(name)) {
    throw new VmmError(
      'INVALID_CONFIG',
      `the name "${name}" is not made of 1 to 63 letters, digits and inner hyphens`,
    );
  }
}

/**
 * The VMs of this user whose processes live, by name; what others left behind is removed on the way.
 *
 * @throws VmmError `RUNTIME_DIRECTORY`
 */
export function runtimeEntries(): RuntimeEntry[] {
  const base = baseDirectory();
  removeTransient(base);
  return readdirSync(base)
    .sort()
    .flatMap((name) => {
      const holder = NAME.test(name) ? removeIfStale(base, name) : undefined;
      return holder === undefined ? [] : [{ name, path: join(base, name), holder }];
    });
}

/**
 * The directory of a VM; what a killed process left under its name is removed.
 *
 * @throws VmmError `NO_SUCH_VM`, `INVALID_CONFIG` for an unusable name, `RUNTIME_DIRECTORY`
 */
export function runtimeEntry(name: string): RuntimeEntry {
  checkName(name);
  const base = baseDirectory();
  removeIfStale(base, name);
  const path = join(base, name);
  const holder = readHolder(path);
  if (holder === undefined || !isAlive(holder))
    throw new VmmError('NO_SUCH_VM', `no VM named "${name}" runs`);
  return { name, path, holder };
}

/** Removes the directory of a VM whose process is gone. @throws VmmError `RUNTIME_DIRECTORY` */
export function removeStaleEntry(name: string): void {
  removeIfStale(baseDirectory(), name);
}

/** Removes what killed processes were making or removing. */
function removeTransient(base: string): void {
  for (const name of readdirSync(base)) {
    const match = TRANSIENT.exec(name);
    if (match === null || isAlive({ pid: Number(match[1]), startTime: match[2] ?? '' })) continue;
    removeAside(join(base, name));
  }
}

/**
 * Removes a directory whose holder is gone; several processes may do so at once. A new claim replaces the directory when it is
 * empty: so it is emptied by its descriptor, which never leads to the directory of that claim, and what tells whose it is
 * goes last.
 *
 * @returns who holds the directory, if somebody does
 */
function removeIfStale(base: string, name: string): ProcessIdentity | undefined {
  const path = join(base, name);
  const seen = readHolder(path);
  if (seen !== undefined && isAlive(seen)) return seen;
  if (seen === undefined) {
    // A process that was killed while it removed it left it empty.
    removeEmpty(path);
    return undefined;
  }
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  try {
    const same = existsSync(DESCRIPTORS) ? join(DESCRIPTORS, String(fd)) : path;
    const holder = readHolder(same);
    if (holder === undefined || isAlive(holder)) return undefined;
    removeLeftovers(same);
    for (const each of readdirSync(same)) if (each !== STATE_FILE) remove(join(same, each));
    remove(join(same, STATE_FILE));
  } catch {
    // Another process removes it at the same time.
  } finally {
    closeSync(fd);
  }
  removeEmpty(path);
  return undefined;
}

/** Fails for the directory of a new claim, which is never empty. */
function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Taken by another, or removed.
  }
}

function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

/** Gives up a directory of this process's in one step. */
function discard(base: string, path: string): void {
  let aside: string;
  try {
    aside = transient(base, 'gone');
  } catch {
    // Whoever comes next and may write tries again.
    return;
  }
  try {
    renameSync(path, join(aside, 'vm'));
  } catch {
    // It is gone.
  }
  removeAside(aside);
}

function removeAside(aside: string): void {
  try {
    for (const name of readdirSync(aside)) removeLeftovers(join(aside, name));
  } catch {
    // Another process removes it at the same time.
  }
  remove(aside);
}

function transient(base: string, why: 'claim' | 'gone'): string {
  const { pid, startTime } = ownIdentity();
  return mkdtempSync(join(base, `.${why}-${pid}-${startTime}-`));
}

function remove(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch {
    // Another process removes it at the same time, or comes to it next.
  }
}

/** Undefined where there is no file to read: what VMs have for a directory has one from its beginning to its end. */
function readHolder(path: string): ProcessIdentity | undefined {
  let text: string;
  try {
    text = readFileSync(join(path, STATE_FILE), 'utf8');
  } catch {
    return undefined;
  }
  try {
    return v.parse(holderSchema, JSON.parse(text));
  } catch {
    return NOBODY;
  }
}
