import { constants } from 'node:fs';
import {
  type FileHandle,
  chmod,
  lstat,
  lutimes,
  mkdir,
  open,
  symlink,
  unlink,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import { type TreeEntry, isTreePath } from '../../agent/messages.ts';
import type { TreeItem } from '../../agent/transfers.ts';
import { VmmError, isErrno } from '../../errors.ts';

/** No set-user-ID, set-group-ID or sticky bit: who runs such a file here is not the guest's to say. */
const MODES = 0o777;
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/**
 * Writes a tree that is not to be trusted below a directory. Nothing escapes it: paths have no `..`, no symbolic link below it is
 * followed, whoever made it, and files that are there are replaced, never written to. Everything belongs to this process's user.
 */
export class TreeWriter {
  readonly #root: string;
  /** Directories below the root that are no links; they stay what they are, since nothing replaces a directory. */
  readonly #checked = new Set<string>(['']);
  /** What directories are to have in the end: a time changes with what is put into them, and not all modes allow that. */
  readonly #directories: TreeEntry[] = [];

  /** @param root exists */
  constructor(root: string) {
    this.#root = root;
  }

  /** @throws VmmError `INVALID_REQUEST` for what would escape; Error of the file system */
  async write(item: TreeItem): Promise<void> {
    if (!isTreePath(item.path) || item.path.includes('\0'))
      throw new VmmError('INVALID_REQUEST', `${JSON.stringify(item.path)} is no path below a directory`);
    await this.#makeParents(item.path);
    const path = join(this.#root, item.path);
    if (item.type === 'directory') {
      await this.#makeDirectory(item.path);
      this.#directories.push(item);
      return;
    }
    await unlink(path).catch((error: unknown) => {
      if (!isErrno(error, 'ENOENT')) throw replaced(path, error);
    });
    if (item.type === 'symlink') {
      await symlink(item.target ?? '', path);
      await lutimes(path, item.mtime / 1000, item.mtime / 1000);
    } else {
      await writeFile(path, item);
    }
  }

  /** Call it when everything is written. */
  async finish(): Promise<void> {
    for (const { path, mode, mtime } of this.#directories.toReversed()) {
      const place = join(this.#root, path);
      await utimes(place, mtime / 1000, mtime / 1000);
      await chmod(place, mode & MODES);
    }
  }

  async #makeParents(path: string): Promise<void> {
    const parts = path.split('/').slice(0, -1);
    for (let count = 1; count <= parts.length; count++)
      await this.#makeDirectory(parts.slice(0, count).join('/'));
  }

  async #makeDirectory(path: string): Promise<void> {
    if (this.#checked.has(path)) return;
    const place = join(this.#root, path);
    await mkdir(place, 0o700).catch(async (error: unknown) => {
      if (!isErrno(error, 'EEXIST')) throw error;
      const there = await lstat(place);
      if (!there.isDirectory())
        throw new VmmError(
          'INVALID_REQUEST',
          `${place} is ${there.isSymbolicLink() ? 'a link' : 'no directory'}`,
          {
            cause: error,
          },
        );
    });
    this.#checked.add(path);
  }
}

async function writeFile(path: string, { mode, mtime, content }: TreeItem): Promise<void> {
  const file: FileHandle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    for await (const chunk of content) await file.writeFile(chunk);
    await file.chmod(mode & MODES);
    await file.utimes(mtime / 1000, mtime / 1000);
  } catch (error) {
    // Half a file would look like a whole one.
    await unlink(path).catch(() => undefined);
    throw error;
  } finally {
    await file.close();
  }
}

function replaced(path: string, error: unknown): unknown {
  return isErrno(error, 'EISDIR') || isErrno(error, 'EPERM')
    ? new VmmError('INVALID_REQUEST', `${path} is a directory, and would have to be replaced`, {
        cause: error,
      })
    : error;
}
