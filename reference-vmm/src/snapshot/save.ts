import { type FileHandle, open, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import type { GuestMemory } from '@vmm/vm-memory';
import { VmmError, messageOf } from '../errors.ts';
import { type Difference, type Manifest, encodeManifest, partsOf } from './manifest.ts';
import { digestMemory, identityOf, imageSize, regionsOf, writeMemory, writePages } from './memory-image.ts';
import { MAX_CHAIN, openSnapshot } from './open.ts';
import type { PageLog } from './page-log.ts';
import { DIFFERENCE_FILE, MANIFEST_FILE, MEMORY_FILE, replaceDirectory } from './snapshot-directory.ts';

/** A VM that a snapshot is made of. */
export interface SnapshotSubject {
  readonly memory: GuestMemory;
  readonly log: PageLog;
  /** Makes everything stand still. */
  freeze(): Promise<void>;
  /** All but the memory. Called in between. */
  save(): Omit<Manifest, 'memory' | 'created'>;
  /** Lets it go on, if it did before. Called once if and only if `freeze` did not throw. */
  thaw(): void;
}

/** How a snapshot is made. */
export interface WriteOptions {
  /** Directory of a snapshot that is tracked: only what changed since is written. */
  readonly base?: string | undefined;
  /** Others are to be based on this one. */
  readonly track: boolean;
  readonly signal: AbortSignal;
  /** Bytes of memory that are written, and how many will be. */
  readonly onProgress?: ((written: number, total: number) => void) | undefined;
}

/** A snapshot that was made. */
export interface SnapshotInfo {
  /** Absolute. */
  readonly directory: string;
  readonly kind: 'full' | 'differential';
  /** Of the guest's memory, what is in the file: all of it, or pages that were stored to since the base. Holes count. */
  readonly memoryBytes: number;
  /** Milliseconds for which the guest stood still. */
  readonly pause: number;
}

/** What a snapshot is based on. */
interface Base {
  readonly path: string;
  readonly sha256: string;
}

/**
 * Writes a snapshot. The VM stands still while its memory is written, and no longer.
 *
 * @throws VmmError `SNAPSHOT_FAILED`: an older snapshot is still there then; `SNAPSHOT_MISMATCH` for a base that is none,
 *   what opening it throws; and what `freeze` and `save` throw
 */
export async function writeSnapshot(
  path: string,
  subject: SnapshotSubject,
  options: WriteOptions,
): Promise<SnapshotInfo> {
  try {
    const base = options.base === undefined ? undefined : await baseFor(path, options.base, subject.log);
    return await replaceDirectory(path, (directory) =>
      fill({ directory, target: resolve(path) }, subject, base, options),
    );
  } catch (cause) {
    if (cause instanceof VmmError || options.signal.aborted) throw cause;
    const reason = messageOf(cause);
    throw new VmmError('SNAPSHOT_FAILED', `the snapshot ${path} cannot be written: ${reason}`, { cause });
  }
}

/** A base must stay: whoever replaces it makes what is based on it useless. */
async function baseFor(path: string, given: string, log: PageLog): Promise<Base> {
  await using snapshot = await openSnapshot(given);
  const { layers, sha256 } = snapshot;
  if (!log.knows(sha256))
    throw new VmmError(
      'SNAPSHOT_MISMATCH',
      `what changed since ${given} is not known: a base is a snapshot of this VM that was made with "track" or on another base, or restored with "track", and since which it was not reset`,
    );
  if (layers.length === MAX_CHAIN)
    throw new VmmError(
      'SNAPSHOT_MISMATCH',
      `${given} is the last of a chain of ${MAX_CHAIN} snapshots, which is as long as chains are: make a full one`,
    );
  const target = await realpath(path).catch(() => resolve(path));
  for (const layer of layers) {
    if ((await realpath(layer.path)) === target)
      throw new VmmError(
        'SNAPSHOT_FAILED',
        `${path} cannot take the place of a snapshot that it is based on`,
      );
  }
  return { path: await realpath(given), sha256 };
}

async function fill(
  { directory, target }: { readonly directory: string; readonly target: string },
  subject: SnapshotSubject,
  base: Base | undefined,
  options: WriteOptions,
): Promise<SnapshotInfo> {
  const { signal } = options;
  const name = base === undefined ? MEMORY_FILE : DIFFERENCE_FILE;
  const file = await open(join(directory, name), 'wx+', 0o600);
  try {
    const place = join(dirname(await realpath(directory)), basename(target));
    const { state, difference, present, mark, pause } = await capture(file, place, subject, base, options);
    try {
      const regions = regionsOf(subject.memory);
      const parts = partsOf({ regions, ...difference });
      const digests = await digestMemory(file, parts, present, signal);
      await file.sync();
      const memory = { regions, digests, file: await identityOf(file), ...difference };
      const created = new Date().toISOString();
      const { text, sha256 } = encodeManifest({ ...state, created, memory });
      signal.throwIfAborted();
      await writeManifest(join(directory, MANIFEST_FILE), text);
      mark?.commit(sha256);
      const kind = base === undefined ? 'full' : 'differential';
      return { directory: target, kind, memoryBytes: imageSize(parts), pause };
    } finally {
      mark?.drop();
    }
  } finally {
    await file.close();
  }
}

interface Captured {
  readonly state: Omit<Manifest, 'memory' | 'created'>;
  readonly difference: { readonly difference?: Difference };
  readonly present: boolean[];
  readonly mark: ReturnType<PageLog['mark']> | undefined;
  readonly pause: number;
}

async function capture(
  file: FileHandle,
  place: string,
  subject: SnapshotSubject,
  base: Base | undefined,
  { signal, track, onProgress }: WriteOptions,
): Promise<Captured> {
  const { memory, log } = subject;
  signal.throwIfAborted();
  await subject.freeze();
  const frozen = performance.now();
  let mark: Captured['mark'];
  try {
    const state = subject.save();
    const pages = base === undefined ? undefined : log.changedSince(base.sha256);
    mark = track || base !== undefined ? log.mark() : undefined;
    const difference =
      base === undefined || pages === undefined
        ? {}
        : { difference: { base: { path: relative(place, base.path), sha256: base.sha256 }, pages } };
    const total = imageSize(partsOf({ regions: regionsOf(memory), ...difference }));
    let written = 0;
    const onBytes = (bytes: number): void => onProgress?.((written += bytes), total);
    onProgress?.(0, total);
    const work = { signal, onBytes };
    const present = await (pages === undefined
      ? writeMemory(file, memory, work)
      : writePages(file, memory, pages, work));
    return { state, difference, present, mark, pause: performance.now() - frozen };
  } catch (error) {
    mark?.drop();
    throw error;
  } finally {
    subject.thaw();
  }
}

async function writeManifest(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}
