import { lstat } from 'node:fs/promises';
import { basename, posix, resolve } from 'node:path';
import type { ControlClient } from '../../control/client.ts';
import { VmmError, isErrno } from '../../errors.ts';
import { say } from '../messages.ts';
import { usageError } from '../output.ts';
import { localTree } from './local-tree.ts';
import { splitContents } from './operands.ts';
import type { Progress } from './progress.ts';

/**
 * Copies a file or a tree of this machine's to the guest, where it belongs to root.
 *
 * @throws VmmError `GUEST_ERROR` …; Error of the file system
 */
export async function copyToGuest(
  client: ControlClient,
  local: string,
  remote: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { path, contents } = splitContents(local);
  // "." and ".." have names of their own.
  const full = resolve(path);
  const found = await lstat(local);
  if (contents && !found.isDirectory()) throw usageError(`${local} is no directory`);
  let directory = remote;
  let name = contents || full === '/' ? '' : basename(full);
  if (!(await isDirectory(client, remote, signal))) {
    if (remote.endsWith('/') && !found.isDirectory())
      throw usageError(`there is no directory ${remote} in the guest`);
    const target = splitContents(remote).path;
    directory = posix.dirname(target);
    name = posix.basename(target);
  }
  const leftOut = (each: string): void => say(`${each} is neither file, directory nor link: left out`);
  await client.put(directory, progress.count(localTree(found.isDirectory() ? full : path, name, leftOut)), {
    signal,
  });
}

/** Whether a path of the guest is a directory: whether nothing can be put there. */
async function isDirectory(client: ControlClient, path: string, signal: AbortSignal): Promise<boolean> {
  try {
    await client.put(path, [], { signal });
    return true;
  } catch (error) {
    const { cause } = error instanceof VmmError ? error : {};
    if (isErrno(cause, 'ENOENT') || isErrno(cause, 'ENOTDIR')) return false;
    throw error;
  }
}
