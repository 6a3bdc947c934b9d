import { accessSync, chmodSync, constants, lstatSync, mkdirSync, statSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { VmmError } from './errors.ts';

/** Of an access mode: group or others may write. */
const WRITABLE_BY_OTHERS = 0o022;
const PRIVATE = 0o700;

/**
 * The directory that this user's VMs have their directories in, made if it is not there: `$XDG_RUNTIME_DIR/reference-vmm`.
 * Where that variable is not set, or does not lead to a directory that is this user's, writable for it and for nobody else,
 * `reference-vmm-<uid>` in the temporary directory.
 *
 * @throws VmmError `RUNTIME_DIRECTORY`
 */
export function baseDirectory(): string {
  const { uid } = userInfo();
  const runtime = process.env['XDG_RUNTIME_DIR'];
  const base =
    runtime !== undefined && isOwn(runtime, uid)
      ? join(runtime, 'reference-vmm')
      : join(tmpdir(), `reference-vmm-${uid}`);
  try {
    mkdirSync(base, { mode: PRIVATE });
  } catch (error) {
    // What is there already is looked at in any case.
    if (lstatSync(base, { throwIfNoEntry: false }) === undefined)
      throw new VmmError('RUNTIME_DIRECTORY', `cannot create ${base}: ${String(error)}`, { cause: error });
  }
  check(base, uid);
  return base;
}

function isOwn(path: string, uid: number): boolean {
  if (!path.startsWith('/')) return false;
  try {
    const found = statSync(path);
    if (!found.isDirectory() || found.uid !== uid || (found.mode & WRITABLE_BY_OTHERS) !== 0) return false;
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function check(base: string, uid: number): void {
  // A link would lead what is removed below to a place of another's choosing.
  const found = lstatSync(base);
  if (!found.isDirectory() || found.uid !== uid || (found.mode & WRITABLE_BY_OTHERS) !== 0)
    throw new VmmError(
      'RUNTIME_DIRECTORY',
      `${base} is no directory, belongs to another user or is writable by others: set XDG_RUNTIME_DIR to a directory of your own`,
    );
  if ((found.mode & 0o777) !== PRIVATE) chmodSync(base, PRIVATE);
}
