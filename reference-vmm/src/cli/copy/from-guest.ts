import { mkdir, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { TreeItem } from '../../agent/transfers.ts';
import type { ControlClient } from '../../control/client.ts';
import { VmmError, isErrno } from '../../errors.ts';
import { usageError } from '../output.ts';
import { splitContents } from './operands.ts';
import type { Progress } from './progress.ts';
import { TreeWriter } from './tree-writer.ts';

/** Where a tree goes: below what, and under which name; '' for its contents. */
interface Place {
  readonly root: string;
  readonly name: string;
}

/**
 * Copies a file or a tree of the guest's to this machine.
 *
 * @throws VmmError `GUEST_ERROR` …, `INVALID_REQUEST` for what would escape the destination; Error of the file system
 */
export async function copyFromGuest(
  client: ControlClient,
  remote: string,
  local: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { path, contents } = splitContents(remote);
  const all = contents || path === '/';
  const items = progress.count(client.get(path, { signal }));
  const first = await items.next();
  const isDirectory = all || (first.done !== true && first.value.type === 'directory');
  const { root, name } = await placeOf(path, local, all, isDirectory);
  const writer = new TreeWriter(root);
  const top = path === '/' ? undefined : basename(path);
  for (let next = first; next.done !== true; next = await items.next()) {
    const item = next.value;
    const renamed = rename(item, top, name);
    if (all && renamed === '' && item.type !== 'directory')
      throw usageError(`${remote} is no directory in the guest`);
    if (renamed !== '') await writer.write({ ...item, path: renamed });
  }
  await writer.finish();
}

/** @param top the only name that the guest may send at the top */
function rename({ path }: TreeItem, top: string | undefined, name: string): string {
  if (top === undefined) return path;
  if (path !== top && !path.startsWith(`${top}/`))
    throw new VmmError('INVALID_REQUEST', `the guest sent ${JSON.stringify(path)}, which is not in ${top}`);
  const rest = path.slice(top.length + 1);
  return name === '' || rest === '' ? name || rest : `${name}/${rest}`;
}

async function placeOf(path: string, local: string, all: boolean, isDirectory: boolean): Promise<Place> {
  const there = await kindOf(local);
  if (there === 'directory') return { root: local, name: all ? '' : basename(path) };
  if (there === 'other' && isDirectory) throw usageError(`${local} is no directory`);
  if (all) {
    await mkdir(local);
    return { root: local, name: '' };
  }
  if (there === undefined && local.endsWith('/') && !isDirectory)
    throw usageError(`there is no directory ${local}`);
  const root = dirname(local);
  if ((await kindOf(root)) !== 'directory') throw usageError(`there is no directory ${root}`);
  return { root, name: basename(local) };
}

async function kindOf(path: string): Promise<'directory' | 'other' | undefined> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'other';
  } catch (error) {
    // A link to nowhere is replaced as a file is.
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
