import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { AnyHypervisor } from '../hypervisors.ts';
import { VmmError, isErrno } from '../errors.ts';
import { type Manifest, MAX_MANIFEST_BYTES, decodeManifest } from './manifest.ts';
import { identityOf, imageSize } from './memory-image.ts';
import { MANIFEST_FILE, MEMORY_FILE, recover } from './snapshot-directory.ts';

/** A snapshot whose manifest has been checked, and whose memory is open. */
export interface OpenSnapshot extends AsyncDisposable {
  readonly path: string;
  readonly manifest: Manifest;
  readonly memory: FileHandle;
  /** Nobody has touched the file of the memory since the snapshot was made. */
  readonly untouched: boolean;
}

/**
 * Opens a snapshot, of which nothing is trusted.
 *
 * @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `INVALID_SNAPSHOT`, `SNAPSHOT_MISMATCH`
 */
export async function openSnapshot(path: string): Promise<OpenSnapshot> {
  await recover(path);
  const manifest = decodeManifest(await readManifest(path));
  const memory = await openFile(path, MEMORY_FILE);
  try {
    const { size } = await memory.stat();
    const expected = imageSize(manifest.memory.regions);
    if (size !== expected)
      throw new VmmError(
        'INVALID_SNAPSHOT',
        `${path}/${MEMORY_FILE} has ${size} bytes, and the memory of the guest ${expected}: it was cut, or is another's`,
      );
    const saved = manifest.memory.file;
    const found = await identityOf(memory);
    return {
      path,
      manifest,
      memory,
      untouched:
        found.device === saved.device && found.inode === saved.inode && found.changed === saved.changed,
      [Symbol.asyncDispose]: () => memory.close(),
    };
  } catch (error) {
    await memory.close();
    throw error;
  }
}

/** @throws VmmError `SNAPSHOT_MISMATCH` */
export function checkHypervisor(
  manifest: Manifest,
  { name, arch }: Pick<AnyHypervisor, 'name' | 'arch'>,
): void {
  if (name === manifest.hypervisor && arch === manifest.arch) return;
  throw new VmmError(
    'SNAPSHOT_MISMATCH',
    `the snapshot is of a guest for ${manifest.arch} on ${manifest.hypervisor}, and cannot go on for ${arch} on ${name}`,
  );
}

async function readManifest(path: string): Promise<string> {
  const file = await openFile(path, MANIFEST_FILE);
  try {
    const { size } = await file.stat();
    if (size > MAX_MANIFEST_BYTES)
      throw new VmmError('INVALID_SNAPSHOT', `${path}/${MANIFEST_FILE} is larger than any manifest`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function openFile(path: string, name: string): Promise<FileHandle> {
  try {
    const file = await open(join(path, name), 'r');
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (cause) {
    const missing = isErrno(cause, 'ENOENT') || isErrno(cause, 'ENOTDIR');
    throw missing
      ? new VmmError('FILE_NOT_FOUND', `${path} is no snapshot: there is no ${name} in it`, { cause })
      : new VmmError('FILE_UNREADABLE', `${path}/${name} cannot be read: ${String(cause)}`, { cause });
  }
  throw new VmmError('INVALID_SNAPSHOT', `${path}/${name} is no regular file`);
}
