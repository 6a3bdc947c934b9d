import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { GuestMemory } from '@vmm/vm-memory';
import { VmmError } from '../errors.ts';
import { type Manifest, encodeManifest } from './manifest.ts';
import { type FileIdentity, digestMemory, identityOf, regionsOf, writeMemory } from './memory-image.ts';
import { MANIFEST_FILE, MEMORY_FILE, replaceDirectory } from './snapshot-directory.ts';

/** A VM that a snapshot is made of. */
export interface SnapshotSubject {
  readonly memory: GuestMemory;
  /** Makes everything stand still. */
  freeze(): Promise<void>;
  /** All but the memory. Called in between. */
  save(): Omit<Manifest, 'memory' | 'created'>;
  /** Lets it go on, if it did before. Called once if and only if `freeze` did not throw. */
  thaw(): void;
}

/**
 * Writes a snapshot. The VM stands still while its memory is written, and no longer.
 *
 * @throws VmmError `SNAPSHOT_FAILED`: an older snapshot is still there then; and what `freeze` and `save` throw
 */
export async function writeSnapshot(
  path: string,
  subject: SnapshotSubject,
  signal: AbortSignal,
): Promise<void> {
  try {
    await replaceDirectory(path, (directory) => fill(directory, subject, signal));
  } catch (cause) {
    if (cause instanceof VmmError || signal.aborted) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VmmError('SNAPSHOT_FAILED', `the snapshot ${path} cannot be written: ${reason}`, { cause });
  }
}

async function fill(directory: string, subject: SnapshotSubject, signal: AbortSignal): Promise<void> {
  const memory = await open(join(directory, MEMORY_FILE), 'wx+', 0o600);
  try {
    const { state, present } = await capture(memory, subject, signal);
    const regions = regionsOf(subject.memory);
    const digests = await digestMemory(memory, regions, present, signal);
    await memory.sync();
    const file: FileIdentity = await identityOf(memory);
    const created = new Date().toISOString();
    const text = encodeManifest({ ...state, created, memory: { regions, digests, file } });
    signal.throwIfAborted();
    await writeManifest(join(directory, MANIFEST_FILE), text);
  } finally {
    await memory.close();
  }
}

async function capture(
  file: FileHandle,
  subject: SnapshotSubject,
  signal: AbortSignal,
): Promise<{ readonly state: Omit<Manifest, 'memory' | 'created'>; readonly present: boolean[] }> {
  signal.throwIfAborted();
  await subject.freeze();
  try {
    const state = subject.save();
    return { state, present: await writeMemory(file, subject.memory, signal) };
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
