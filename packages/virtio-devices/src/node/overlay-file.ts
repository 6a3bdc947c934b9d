import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { BlockBatch } from '../block/batch.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from '../block/constants.ts';
import type { OverlayStore } from '../block/overlay-store.ts';
import { BITMAP_PAGE_BYTES, type BitmapPage } from '../block/sector-bitmap.ts';
import { messageOf, VirtioDeviceError } from '../errors.ts';
import { isUnsupported, type FileIo } from './file-io.ts';
import { type FileBlockIo, openFileIo } from './open-file-io.ts';
import { openImage } from './open-image.ts';

const MAGIC = 'VMM OVL\n';
const VERSION = 1;
const HEADER_BYTES = 4096;
/** Of where the data begins, so that it lies well on whatever is below. */
const DATA_ALIGNMENT = 1024 * 1024;

export interface OverlayFileOptions {
  /** Of the disk: a multiple of 512. */
  readonly sizeBytes: number;
  /** As of a FileBlockBackend. Default `auto`. */
  readonly io?: FileBlockIo;
}

/**
 * Keeps what was written to an {@link OverlayBlockBackend} in a sparse file. All numbers are little-endian:
 *
 * | offset      | bytes |                                                              |
 * | ----------- | ----- | ------------------------------------------------------------ |
 * | 0           | 8     | `VMM OVL\n`                                                  |
 * | 8           | 4     | version, 1                                                   |
 * | 12          | 4     | bytes of a sector, 512                                       |
 * | 16          | 8     | bytes of the disk                                            |
 * | 24          | 8     | offset of the bitmap, 4096                                   |
 * | 32          | 8     | offset of the data: after the bitmap, a multiple of 1 MiB    |
 * | bitmap      |       | bit `n % 8` of byte `n / 8`: sector `n` is in the data       |
 * | data        |       | each sector at its place on the disk; the rest is a hole     |
 *
 * A flush stores the data first and then the bits. What was not flushed may be lost with the process.
 */
export class OverlayFile implements OverlayStore {
  readonly sizeBytes: number;
  readonly description: string;
  readonly dataOffset: number;
  readonly writeZeroes?: (offset: number, length: number) => Promise<void>;
  readonly #io: FileIo;
  readonly #fd: number;
  #closed = false;

  /**
   * Opens an overlay, or makes an empty one if there is no such file.
   *
   * @throws VirtioDeviceError `NOT_AN_OVERLAY`, `INVALID_SIZE`, and those of FileBlockBackend
   */
  static open(path: string, options: OverlayFileOptions): OverlayFile {
    const { sizeBytes } = options;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % VIRTIO_BLK_SECTOR_SIZE !== 0) {
      throw new VirtioDeviceError(
        'INVALID_SIZE',
        `a disk of ${sizeBytes} bytes: it must be a multiple of 512 above 0`,
      );
    }
    create(path, sizeBytes);
    return new OverlayFile(path, sizeBytes, options.io ?? 'auto');
  }

  private constructor(path: string, sizeBytes: number, kind: FileBlockIo) {
    this.description = path;
    this.sizeBytes = sizeBytes;
    // Data and bitmap by a descriptor each, because the data's is its FileIo's own.
    const { fd } = openImage(path, false);
    try {
      this.dataOffset = readHeader(fd, path, sizeBytes);
      this.#io = openFileIo(path, { readOnly: false, io: kind }).io;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    this.#fd = fd;
    if (this.#io.zero !== undefined && this.#io.punch !== undefined) {
      this.writeZeroes = (offset, length) => this.#punch(this.dataOffset + offset, length);
    }
  }

  *load(): Generator<BitmapPage> {
    const pages = Math.ceil(this.sizeBytes / VIRTIO_BLK_SECTOR_SIZE / 8 / BITMAP_PAGE_BYTES);
    const bytes = new Uint8Array(BITMAP_PAGE_BYTES);
    for (let index = 0; index < pages; index++) {
      const read = readSync(this.#fd, bytes, 0, bytes.length, HEADER_BYTES + index * BITMAP_PAGE_BYTES);
      if (read !== bytes.length) {
        throw new VirtioDeviceError('NOT_AN_OVERLAY', `${this.description} ends within its bitmap`);
      }
      if (bytes.some((byte) => byte !== 0)) yield { index, bytes };
    }
  }

  submit(batch: BlockBatch): void | Promise<void> {
    return this.#io.submit(batch);
  }

  async persist(pages: readonly BitmapPage[]): Promise<void> {
    await this.#io.sync();
    if (pages.length === 0) return;
    for (const page of pages) await this.#write(page);
    await this.#io.sync();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#io.drain();
    this.#io.close();
    closeSync(this.#fd);
  }

  #write(page: BitmapPage): Promise<void> {
    const { bytes } = page;
    const position = HEADER_BYTES + page.index * BITMAP_PAGE_BYTES;
    return new Promise((resolve, reject) => {
      write(this.#fd, bytes, 0, bytes.length, position, (error, written) => {
        if (error !== null) reject(error);
        else if (written !== bytes.length)
          reject(new Error(`${this.description}: a page of the bitmap was cut`));
        else resolve();
      });
    });
  }

  async #punch(position: number, length: number): Promise<void> {
    try {
      await this.#io.punch?.(position, length);
    } catch (error) {
      if (!isUnsupported(error)) throw error;
      await this.#io.zero?.(position, length);
    }
  }
}

function dataOffsetOf(sizeBytes: number): number {
  const bitmap = Math.ceil(sizeBytes / VIRTIO_BLK_SECTOR_SIZE / 8 / BITMAP_PAGE_BYTES) * BITMAP_PAGE_BYTES;
  return Math.ceil((HEADER_BYTES + bitmap) / DATA_ALIGNMENT) * DATA_ALIGNMENT;
}

/** Makes an empty overlay unless the file is there. Its header comes last, so that half a file is none. */
function create(path: string, sizeBytes: number): void {
  let fd: number;
  try {
    fd = openSync(path, 'wx');
  } catch (cause) {
    if (typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'EEXIST') return;
    throw new VirtioDeviceError('IO_ERROR', `overlay ${path} cannot be made: ${messageOf(cause)}`, { cause });
  }
  try {
    const dataOffset = dataOffsetOf(sizeBytes);
    ftruncateSync(fd, dataOffset + sizeBytes);
    const header = new Uint8Array(HEADER_BYTES);
    const view = new DataView(header.buffer);
    for (let i = 0; i < MAGIC.length; i++) header[i] = MAGIC.charCodeAt(i);
    view.setUint32(8, VERSION, true);
    view.setUint32(12, VIRTIO_BLK_SECTOR_SIZE, true);
    view.setBigUint64(16, BigInt(sizeBytes), true);
    view.setBigUint64(24, BigInt(HEADER_BYTES), true);
    view.setBigUint64(32, BigInt(dataOffset), true);
    fdatasyncSync(fd);
    writeSync(fd, header, 0, header.length, 0);
    fdatasyncSync(fd);
    const directory = openSync(dirname(path), 'r');
    fsyncSync(directory);
    closeSync(directory);
  } catch (cause) {
    unlinkSync(path);
    throw new VirtioDeviceError('IO_ERROR', `overlay ${path} cannot be made: ${messageOf(cause)}`, { cause });
  } finally {
    closeSync(fd);
  }
}

/** Checks the header and answers the offset of the data. */
function readHeader(fd: number, path: string, sizeBytes: number): number {
  const header = new Uint8Array(HEADER_BYTES);
  readSync(fd, header, 0, header.length, 0);
  const view = new DataView(header.buffer);
  const magic = String.fromCharCode(...header.subarray(0, MAGIC.length));
  const refuse = (why: string): VirtioDeviceError =>
    new VirtioDeviceError('NOT_AN_OVERLAY', `${path} is no overlay that this release can use: ${why}`);
  if (magic !== MAGIC) throw refuse('it does not begin as one');
  if (view.getUint32(8, true) !== VERSION) throw refuse(`version ${view.getUint32(8, true)}`);
  const stored = Number(view.getBigUint64(16, true));
  if (stored !== sizeBytes) {
    throw new VirtioDeviceError(
      'INVALID_SIZE',
      `the overlay ${path} is for a disk of ${stored} bytes, and this one has ${sizeBytes}`,
    );
  }
  const dataOffset = Number(view.getBigUint64(32, true));
  if (
    view.getUint32(12, true) !== VIRTIO_BLK_SECTOR_SIZE ||
    Number(view.getBigUint64(24, true)) !== HEADER_BYTES ||
    dataOffset !== dataOffsetOf(sizeBytes)
  ) {
    throw refuse('its header is damaged');
  }
  return dataOffset;
}
