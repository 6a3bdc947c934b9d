import { lstatSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';

/** In the directory of a VM. */
export const LEFTOVERS_FILE = 'leftovers.json';

/** A file elsewhere that goes with a VM. Inodes are used again, inodes with a time of change are not. */
export interface Leftover {
  readonly path: string;
  readonly device: string;
  readonly inode: string;
  /** Nanoseconds. */
  readonly changed: string;
}

const leftoversSchema: v.GenericSchema<unknown, Leftover[]> = v.array(
  v.object({ path: v.string(), device: v.string(), inode: v.string(), changed: v.string() }),
);

/** The file that a path leads to now; undefined when there is none. */
export function leftoverAt(path: string): Leftover | undefined {
  try {
    const { dev, ino, ctimeNs } = lstatSync(path, { bigint: true });
    return { path, device: String(dev), inode: String(ino), changed: String(ctimeNs) };
  } catch {
    return undefined;
  }
}

/** Removes what the VM of a directory left elsewhere; what others have put in the place since stays. Never throws. */
export function removeLeftovers(directory: string): void {
  let leftovers: readonly Leftover[];
  try {
    leftovers = v.parse(leftoversSchema, JSON.parse(readFileSync(join(directory, LEFTOVERS_FILE), 'utf8')));
  } catch {
    return;
  }
  for (const { path, device, inode, changed } of leftovers) {
    const found = leftoverAt(path);
    if (found?.device !== device || found.inode !== inode || found.changed !== changed) continue;
    try {
      unlinkSync(path);
    } catch {
      // Somebody else was quicker, or it is not ours to remove any more.
    }
  }
}
