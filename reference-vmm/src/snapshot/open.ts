import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { AnyHypervisor } from '../hypervisors.ts';
import { VmmError, isErrno } from '../errors.ts';
import {
  type Manifest,
  MAX_MANIFEST_BYTES,
  type SavedMemory,
  type SealedManifest,
  decodeManifest,
  partsOf,
} from './manifest.ts';
import { type ImageRegion, type MemoryImage, identityOf, imageSize } from './memory-image.ts';
import { DIFFERENCE_FILE, MANIFEST_FILE, MEMORY_FILE, recover } from './snapshot-directory.ts';

/** How many snapshots a chain has at most, the one that is whole among them. */
export const MAX_CHAIN = 64;

/** A snapshot of a chain, with its file open. */
export interface Layer {
  readonly path: string;
  readonly sha256: string;
  readonly memory: SavedMemory;
  readonly file: FileHandle;
  readonly image: MemoryImage;
  /** Nobody has touched the file since the snapshot was made. */
  readonly untouched: boolean;
}

/** A snapshot whose manifest has been checked, and whose memory is open. */
export interface OpenSnapshot extends AsyncDisposable {
  readonly manifest: Manifest;
  readonly sha256: string;
  /** The last one has all of the memory, each before it what changed since the next one. */
  readonly layers: readonly Layer[];
}

/**
 * Opens a snapshot and those that it is based on, of which nothing is trusted.
 *
 * @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `INVALID_SNAPSHOT`, `SNAPSHOT_MISMATCH`
 */
export async function openSnapshot(path: string): Promise<OpenSnapshot> {
  const layers: Layer[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(layers.map(({ file }) => file.close()));
  };
  try {
    let at = resolve(path);
    const top = await readSealed(at);
    let sealed = top;
    for (;;) {
      layers.push(await openLayer(at, sealed));
      const { difference, regions } = sealed.manifest.memory;
      if (difference === undefined) break;
      if (layers.length === MAX_CHAIN)
        throw invalid(`${path} is based on more than ${MAX_CHAIN - 1} other snapshots`);
      const above = at;
      at = resolve(await realpath(above), difference.base.path);
      sealed = await readBase(at, above);
      if (sealed.sha256 !== difference.base.sha256)
        throw invalid(`${above} is based on another snapshot than the one that is in ${at} now`);
      if (!sameRegions(sealed.manifest.memory.regions, regions))
        throw invalid(`the memory of ${above} is laid out in another way than that of ${at}`);
    }
    return { ...top, layers, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

export function sameRegions(some: readonly ImageRegion[], others: readonly ImageRegion[]): boolean {
  return (
    some.length === others.length &&
    some.every(
      ({ guestAddress, size }, index) =>
        others[index]!.guestAddress === guestAddress && others[index]!.size === size,
    )
  );
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

async function readSealed(path: string): Promise<SealedManifest> {
  await recover(path);
  return decodeManifest(await readManifest(path));
}

async function readBase(path: string, above: string): Promise<SealedManifest> {
  try {
    return await readSealed(path);
  } catch (error) {
    if (!(error instanceof VmmError)) throw error;
    throw new VmmError(error.code, `the snapshot that ${above} is based on: ${error.message}`, {
      cause: error,
    });
  }
}

async function openLayer(path: string, { manifest: { memory }, sha256 }: SealedManifest): Promise<Layer> {
  const name = memory.difference === undefined ? MEMORY_FILE : DIFFERENCE_FILE;
  const file = await openFile(path, name);
  try {
    const { size } = await file.stat();
    const image = { parts: partsOf(memory), digests: memory.digests };
    const expected = imageSize(image.parts);
    if (size !== expected)
      throw invalid(
        `${path}/${name} has ${size} bytes, and should have ${expected}: it was cut, or is another's`,
      );
    const saved = memory.file;
    const found = await identityOf(file);
    const untouched =
      found.device === saved.device && found.inode === saved.inode && found.changed === saved.changed;
    return { path, sha256, memory, file, image, untouched };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readManifest(path: string): Promise<string> {
  const file = await openFile(path, MANIFEST_FILE);
  try {
    const { size } = await file.stat();
    if (size > MAX_MANIFEST_BYTES) throw invalid(`${path}/${MANIFEST_FILE} is larger than any manifest`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

async function openFile(path: string, name: string): Promise<FileHandle> {
  try {
    // A pipe in place of a file is not waited for.
    const file = await open(join(path, name), constants.O_RDONLY | constants.O_NONBLOCK);
    if ((await file.stat()).isFile()) return file;
    await file.close();
  } catch (cause) {
    const missing = isErrno(cause, 'ENOENT') || isErrno(cause, 'ENOTDIR');
    throw missing
      ? new VmmError('FILE_NOT_FOUND', `${path} is no snapshot: there is no ${name} in it`, { cause })
      : new VmmError('FILE_UNREADABLE', `${path}/${name} cannot be read: ${String(cause)}`, { cause });
  }
  throw invalid(`${path}/${name} is no regular file`);
}

function invalid(message: string): VmmError {
  return new VmmError('INVALID_SNAPSHOT', message);
}
