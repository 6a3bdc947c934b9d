import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { VmmError, isErrno } from './errors.ts';

/** Names of VMs: what a host name allows, so that the guest can carry it too (RFC 1123 §2.1). */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;

const STATE_FILE = 'vm.json';
/** Directories that are being made or removed; no VM name starts with a dot. */
const TRANSIENT = '.';
const CLAIM_ATTEMPTS = 3;

/** Who holds a name: a process, identified by pid and start time since pids are used again. */
interface Holder {
  readonly pid: number;
  readonly startTime: string;
}

/**
 * A VM's directory `$XDG_RUNTIME_DIR/reference-vmm/<name>` (mode 0700; below the temporary directory where
 * there is no runtime directory). Holding it is holding the name. What a killed process left is recognised
 * and removed by whoever starts a VM next.
 */
export class RuntimeDirectory implements Disposable {
  readonly path: string;
  #released = false;
  readonly #onExit = (): void => this[Symbol.dispose]();

  private constructor(path: string) {
    this.path = path;
    process.once('exit', this.#onExit);
  }

  /** @throws VmmError `NAME_TAKEN`, `INVALID_CONFIG` for an unusable name, `RUNTIME_DIRECTORY` */
  static claim(name: string): RuntimeDirectory {
    checkName(name);
    const base = baseDirectory();
    removeStale(base);
    const path = join(base, name);
    const fresh = mkdtempSync(join(base, `${TRANSIENT}claim-`));
    try {
      const holder: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' };
      writeFileSync(join(fresh, STATE_FILE), `${JSON.stringify(holder)}\n`, { mode: 0o600 });
      for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
        try {
          renameSync(fresh, path);
          return new RuntimeDirectory(path);
        } catch (error) {
          if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'EEXIST')) {
            throw new VmmError('RUNTIME_DIRECTORY', `cannot create ${path}: ${String(error)}`, {
              cause: error,
            });
          }
        }
        const other = readHolder(path);
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
      rmSync(fresh, { recursive: true, force: true });
    }
  }

  /** Gives the name back; more than one call is harmless. */
  [Symbol.dispose](): void {
    if (this.#released) return;
    this.#released = true;
    process.off('exit', this.#onExit);
    rmSync(this.path, { recursive: true, force: true });
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

function removeStale(base: string): void {
  for (const name of readdirSync(base)) if (!name.startsWith(TRANSIENT)) removeIfStale(base, name);
}

/** Moves the directory aside before it looks, so that a claim made meanwhile is not removed with it. */
function removeIfStale(base: string, name: string): void {
  const path = join(base, name);
  const seen = readHolder(path);
  if (seen === undefined || isAlive(seen)) return;
  const aside = mkdtempSync(join(base, `${TRANSIENT}stale-`));
  try {
    renameSync(path, join(aside, name));
    const moved = readHolder(join(aside, name));
    if (moved !== undefined && isAlive(moved)) renameSync(join(aside, name), path);
  } catch {
    // Somebody else was quicker to remove it, or to take the name.
  }
  rmSync(aside, { recursive: true, force: true });
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
  const found = statSync(base);
  if (found.uid !== uid || (found.mode & 0o022) !== 0) {
    throw new VmmError(
      'RUNTIME_DIRECTORY',
      `${base} belongs to another user or is writable by others: set XDG_RUNTIME_DIR to a directory of your own`,
    );
  }
  return base;
}

function readHolder(path: string): Holder | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(join(path, STATE_FILE), 'utf8'));
    if (typeof value !== 'object' || value === null) return undefined;
    if (!('pid' in value) || typeof value.pid !== 'number') return undefined;
    if (!('startTime' in value) || typeof value.startTime !== 'string') return undefined;
    return { pid: value.pid, startTime: value.startTime };
  } catch {
    return undefined;
  }
}

function isAlive(holder: Holder): boolean {
  const startTime = startTimeOf(holder.pid);
  if (startTime !== undefined) return startTime === holder.startTime;
  if (holder.startTime !== '') return false;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return isErrno(error, 'EPERM');
  }
}

/** Field 22 of /proc/PID/stat, clock ticks since boot (proc(5)); undefined where there is no such process. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
