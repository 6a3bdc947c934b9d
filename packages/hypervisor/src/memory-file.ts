import { HypervisorError } from './errors.ts';
import type { MemoryFile } from './vm.ts';

const GUEST_PAGE = 4096;

/**
 * Makes `bytes` a copy-on-write view of a file from its offset on, or reads it. What lies beyond the file's end stays.
 *
 * @returns how many of `bytes`, from the first on, are a mapping of the file
 */
export type MapFileBytes = (bytes: Uint8Array, fd: number, offset: number) => number;

/** @throws HypervisorError `INVALID_ARGUMENT` */
export function checkMemoryFile({ fd, offset }: MemoryFile): void {
  if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fff_ffff)
    throw new HypervisorError('INVALID_ARGUMENT', `${String(fd)} is no file descriptor`);
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % GUEST_PAGE !== 0) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `offset ${String(offset)} in the file of guest memory is not a multiple of ${GUEST_PAGE}`,
    );
  }
}
