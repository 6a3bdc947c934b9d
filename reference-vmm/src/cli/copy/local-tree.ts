import { constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { TreeSource } from '../../agent/transfers.ts';
import { VmmError } from '../../errors.ts';

const CHUNK = 64 * 1024;

/**
 * A file, directory or link of this machine, and what is below it; directories come before what they hold. Owners are root: who
 * has a number here need not be who has it there.
 *
 * @param name its path in the tree; '' leaves the directory itself out
 * @param leftOut is told of sockets, pipes and devices
 * @throws Error of the file system
 */
export async function* localTree(
  path: string,
  name: string,
  leftOut: (path: string) => void,
): AsyncGenerator<TreeSource, void, undefined> {
  const found = await lstat(path);
  const entry = {
    path: name,
    mode: found.mode & 0o7777,
    uid: 0,
    gid: 0,
    mtime: found.mtimeMs,
    size: 0,
  };
  if (found.isSymbolicLink()) {
    yield { ...entry, type: 'symlink', target: await readlink(path) };
  } else if (found.isDirectory()) {
    if (name !== '') yield { ...entry, type: 'directory' };
    for (const child of (await readdir(path)).sort())
      yield* localTree(join(path, child), name === '' ? child : `${name}/${child}`, leftOut);
  } else if (found.isFile()) {
    yield { ...entry, type: 'file', size: found.size, content: contentOf(path, found.size) };
  } else {
    leftOut(path);
  }
}

/** So many bytes of a file, which may grow or shrink meanwhile. */
async function* contentOf(path: string, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    for (let left = size; left > 0;) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(Math.min(CHUNK, left)), 0);
      if (bytesRead === 0)
        throw new VmmError('FILE_UNREADABLE', `${path} became shorter while it was copied`);
      left -= bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
