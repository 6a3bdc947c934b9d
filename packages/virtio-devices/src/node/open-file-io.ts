import { closeSync, fstatSync } from 'node:fs';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import type { FileIo } from './file-io.ts';
import { loadHost, requireHost } from './load.ts';
import { NATIVE_ENGINE_ONLY } from './native-block.ts';
import { NativeFileIo } from './native-file-io.ts';
import type { NativeHost } from './native.ts';
import { checkSize, openImage } from './open-image.ts';
import { PortableFileIo } from './portable-file-io.ts';

/** How a file is read and written; see FileBlockBackendOptions. */
export type FileBlockIo = 'auto' | 'io_uring' | 'threads' | 'portable';

const IO: readonly string[] = ['auto', 'io_uring', 'threads', 'portable'];

export interface OpenFileIoOptions {
  readonly readOnly: boolean;
  /** Default `auto`. */
  readonly io?: FileBlockIo;
  /** Default true. */
  readonly lock?: boolean;
}

/**
 * Opens a disk image or something like it.
 *
 * @throws VirtioDeviceError `NOT_FOUND`, `ACCESS_DENIED`, `NOT_A_FILE`, `INVALID_SIZE`, `LOCKED`, `NO_ADDON`,
 *   `INVALID_OPTION`, `IO_ERROR`
 */
export function openFileIo(
  path: string,
  options: OpenFileIoOptions,
): { readonly io: FileIo; readonly sizeBytes: number } {
  const kind = options.io ?? 'auto';
  if (!IO.includes(kind)) {
    throw new VirtioDeviceError(
      'INVALID_OPTION',
      `io must be one of ${IO.join(', ')}, not ${kind as string}`,
    );
  }
  const { fd, isBlockDevice } = openImage(path, options.readOnly);
  let io: FileIo | undefined;
  try {
    let sizeBytes: number;
    const host = hostFor(kind, isBlockDevice, path);
    if (host === undefined) {
      sizeBytes = fstatSync(fd).size;
      io = new PortableFileIo(fd);
    } else {
      const native = openNative(host, fd, kind, path);
      io = native;
      closeSync(fd);
      if (options.lock !== false) lock(native, path, options.readOnly);
      sizeBytes = native.file.size;
    }
    checkSize(path, sizeBytes);
    return { io, sizeBytes };
  } catch (error) {
    if (io === undefined) closeSync(fd);
    else io.close();
    throw error;
  }
}

/** The addon, if it is to be used. */
function hostFor(kind: FileBlockIo, isBlockDevice: boolean, path: string): NativeHost | undefined {
  if (kind === 'io_uring' || kind === 'threads') return requireHost(`disk image ${path} with io ${kind}`);
  // Node has no call for the size of a block device.
  if (isBlockDevice) return requireHost(`the block device ${path}`);
  return kind === 'auto' ? loadHost() : undefined;
}

function openNative(host: NativeHost, fd: number, kind: FileBlockIo, path: string): NativeFileIo {
  try {
    return new NativeFileIo(host, fd, kind, kind === 'auto' ? 0 : NATIVE_ENGINE_ONLY);
  } catch (cause) {
    throw new VirtioDeviceError('IO_ERROR', `disk image ${path} with io ${kind}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function lock(io: NativeFileIo, path: string, readOnly: boolean): void {
  if (io.file.lock(!readOnly)) return;
  throw new VirtioDeviceError(
    'LOCKED',
    readOnly
      ? `disk image ${path} is being written by another virtual machine`
      : `disk image ${path} is in use by another virtual machine; open it read-only in both, or give each an overlay`,
  );
}
