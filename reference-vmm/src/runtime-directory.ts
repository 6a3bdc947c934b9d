import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { VmmError, isErrno } from './errors.ts';
import { type ProcessIdentity, isAlive, ownIdentity } from './process-identity.ts';

/** Names of VMs: what a host name allows, so that the guest can carry it too (RFC 1123 §2.1). */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

const STATE_FILE = 'vm.json';
/** Directories that are being made or removed, by the process that does it; no VM name starts with a dot. */
const TRANSIENT = /^\.(claim|stale|gone)-(\d+)-(\d*)-/;
const CLAIM_ATTEMPTS = 3;

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
 * A VM's directory `$XDG_RUNTIME_DIR/reference-vmm/<name>` (mode 0700; below the temporary directory where
 * there is no runtime directory). Holding it is holding the name. It comes and goes in one step, and what a
 * killed process left is recognised and removed by whoever finds it.
 */
export class RuntimeDirectory implements Disposable {
  readonly path: string;
  readonly #base: string;
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
        const other = readHolder(path);
        if (other === undefined && existsSync(path)) {
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

  /** Gives the name back; more than one call is harmless. */
  [Symbol.dispose](): void {
    if (this.#released) return;
    this.#released = true;
    process.off('exit', this.#onExit);
    // Half a directory must not be found under the name, should this process be killed meanwhile.
    discard(this.#base, this.path, 'gone');
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

/** Removes what killed processes were making or removing, and puts back what they had only moved aside. */
function removeTransient(base: string): void {
  for (const name of readdirSync(base)) {
    const match = TRANSIENT.exec(name);
    if (match === null || isAlive({ pid: Number(match[2]), startTime: match[3] ?? '' })) continue;
    if (match[1] === 'stale') giveBack(base, name);
    remove(join(base, name));
  }
}

/**
 * Moves the directory aside before it looks, so that a claim made meanwhile is not removed with it.
 *
 * @returns who holds the directory, if somebody does
 */
function removeIfStale(base: string, name: string): ProcessIdentity | undefined {
  const seen = readHolder(join(base, name));
  if (seen === undefined || isAlive(seen)) return seen;
  discard(base, join(base, name), 'stale', name);
  return undefined;
}

function discard(base: string, path: string, why: 'stale' | 'gone', name = 'vm'): void {
  let aside: string;
  try {
    aside = transient(base, why);
  } catch {
    // Whoever comes next and may write tries again.
    return;
  }
  try {
    renameSync(path, join(aside, name));
  } catch {
    // Somebody else was quicker to remove it.
  }
  if (why === 'stale') giveBack(base, aside.slice(base.length + 1));
  remove(aside);
}

/** Puts back what was moved aside and turned out to be held. */
function giveBack(base: string, aside: string): void {
  try {
    for (const name of readdirSync(join(base, aside))) {
      const holder = readHolder(join(base, aside, name));
      if (holder !== undefined && isAlive(holder)) renameSync(join(base, aside, name), join(base, name));
    }
  } catch {
    // Somebody else took the name, or removed the directory.
  }
}

function transient(base: string, why: 'claim' | 'stale' | 'gone'): string {
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

function baseDirectory(): string {
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const { uid } = userInfo();
  const base =
    runtime?.startsWith('/') === true
      ? join(runtime, 'reference-vmm')
      : join(tmpdir(), `reference-vmm-${uid}`);
  try {
    mkdirSync(base, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new VmmError('RUNTIME_DIRECTORY', `cannot create ${base}: ${String(error)}`, { cause: error });
  }
  // A link would lead what is removed below to a place of another's choosing.
  const found = lstatSync(base);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o022) !== 0) {
    throw new VmmError(
      'RUNTIME_DIRECTORY',
      `${base} is no directory, belongs to another user or is writable by others: set XDG_RUNTIME_DIR to a directory of your own`,
    );
  }
  return base;
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
