import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from './errors.ts';

/** Something that reads itself into place, e.g. a file straight into guest memory. */
export interface BlobReader {
  /** Length in bytes. */
  readonly size: number;
  /**
   * Fills `into` from `offset` on; fewer bytes than asked for are allowed, 0 means that there is no more.
   *
   * @returns bytes read
   */
  read(offset: number, into: Uint8Array): number | Promise<number>;
}

/** A kernel or an initial RAM disk: in memory, or read on demand. */
export type BlobSource = Uint8Array | BlobReader;

export function sourceSize(source: BlobSource): number {
  const size = source instanceof Uint8Array ? source.length : source.size;
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new ArchError('INVALID_ARGUMENT', `a source has the size ${size}`);
  }
  return size;
}

/**
 * Fills `into` with the source's bytes from `offset` on.
 *
 * @throws ArchError `TRUNCATED` when the source ends before
 */
export async function readFully(source: BlobSource, offset: number, into: Uint8Array): Promise<void> {
  if (source instanceof Uint8Array) {
    if (offset + into.length > source.length) throw truncated(offset + into.length, source.length);
    into.set(source.subarray(offset, offset + into.length));
    return;
  }
  let done = 0;
  while (done < into.length) {
    const count = await source.read(offset + done, into.subarray(done));
    if (!Number.isInteger(count) || count < 0 || count > into.length - done) {
      throw new ArchError('INVALID_ARGUMENT', `a source's read() answered ${count} bytes`);
    }
    if (count === 0) throw truncated(offset + into.length, offset + done);
    done += count;
  }
}

/**
 * Reads `length` bytes of a source, from `offset` on, straight into guest memory.
 *
 * @throws ArchError as {@link readFully}; VmMemoryError when the range is not inside one region
 */
export async function readInto(
  memory: GuestMemory,
  address: number,
  length: number,
  source: BlobSource,
  offset: number,
): Promise<void> {
  await readFully(source, offset, memory.slice(address, length));
  memory.markDirty(address, length);
}

function truncated(needed: number, available: number): ArchError {
  return new ArchError('TRUNCATED', `the source ends after ${available} bytes, ${needed} are needed`);
}
