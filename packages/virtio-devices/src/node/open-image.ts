import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { VIRTIO_BLK_SECTOR_SIZE } from '../block/constants.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';

/** What a disk image was opened as. */
export interface OpenImage {
  readonly fd: number;
  readonly isBlockDevice: boolean;
}

/**
 * Opens an image, without waiting.
 *
 * @throws VirtioDeviceError `NOT_FOUND`, `ACCESS_DENIED`, `NOT_A_FILE`, `IO_ERROR`
 */
export function openImage(path: string, readOnly: boolean): OpenImage {
  let fd: number;
  try {
    // Before opening: to open a FIFO would wait for its other end.
    checkKind(path, statSync(path));
    fd = openSync(path, readOnly ? 'r' : 'r+');
  } catch (cause) {
    throw openError(path, readOnly, cause);
  }
  try {
    const stats = fstatSync(fd);
    checkKind(path, stats);
    return { fd, isBlockDevice: stats.isBlockDevice() };
  } catch (cause) {
    closeSync(fd);
    throw openError(path, readOnly, cause);
  }
}

function checkKind(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  const kind = stats.isDirectory() ? 'a directory' : 'no regular file';
  throw new VirtioDeviceError(
    'NOT_A_FILE',
    `disk image ${path} is ${kind}; give a raw image file or a block device`,
  );
}

/** @throws VirtioDeviceError `INVALID_SIZE` unless the size is of whole sectors */
export function checkSize(path: string, size: number): void {
  if (size === 0) {
    throw new VirtioDeviceError(
      'INVALID_SIZE',
      `disk image ${path} is empty; make it larger, e.g. with truncate`,
    );
  }
  if (size % VIRTIO_BLK_SECTOR_SIZE !== 0) {
    throw new VirtioDeviceError(
      'INVALID_SIZE',
      `disk image ${path} has ${size} bytes, which is no multiple of 512; is it a raw image?`,
    );
  }
}

function openError(path: string, readOnly: boolean, cause: unknown): VirtioDeviceError {
  if (cause instanceof VirtioDeviceError) return cause;
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new VirtioDeviceError('NOT_FOUND', `disk image ${path} does not exist`, { cause });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const advice = readOnly ? '' : '; open it read-only if that is enough';
    return new VirtioDeviceError('ACCESS_DENIED', `disk image ${path} may not be opened${advice}`, { cause });
  }
  return new VirtioDeviceError('IO_ERROR', `disk image ${path} cannot be opened: ${messageOf(cause)}`, {
    cause,
  });
}
