import { isAbsolute } from 'node:path';
import * as v from 'valibot';
import type { SnapshotInfo } from '../snapshot/save.ts';

/** Body of `POST /v1/snapshot`. */
export interface SnapshotRequest {
  /** Absolute: it is the VM's process that writes. Does not exist, is empty, or a snapshot, which is replaced. */
  readonly directory: string;
  /** Absolute. The snapshot that this one is to be based on. */
  readonly base?: string | undefined;
  /** Others are to be based on this one. Default false. */
  readonly track?: boolean | undefined;
}

/** How far a snapshot has come, in bytes of memory. */
export interface SnapshotProgress {
  readonly written: number;
  readonly total: number;
}

const path = v.pipe(
  v.string(),
  v.maxLength(4096),
  v.check((text) => isAbsolute(text) && !text.includes('\0'), 'not an absolute path'),
);

export const snapshotRequestSchema: v.GenericSchema<unknown, SnapshotRequest> = v.strictObject({
  directory: path,
  base: v.optional(path),
  track: v.optional(v.boolean()),
});

const bytes = v.pipe(v.number(), v.minValue(0));

export const snapshotProgressSchema: v.GenericSchema<unknown, SnapshotProgress> = v.object({
  written: bytes,
  total: bytes,
});

/** What `POST /v1/snapshot` answers. */
export const snapshotInfoSchema: v.GenericSchema<unknown, SnapshotInfo> = v.object({
  directory: v.string(),
  kind: v.picklist(['full', 'differential']),
  memoryBytes: bytes,
  pause: v.number(),
});
