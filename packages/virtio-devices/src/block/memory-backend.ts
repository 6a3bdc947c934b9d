import { VirtioDeviceError } from '../errors.ts';
import type { BlockBackend } from './backend.ts';
import type { BlockBatch } from './batch.ts';
import { VIRTIO_BLK_SECTOR_SIZE } from './constants.ts';

export interface MemoryBlockBackendOptions {
  /** Default false. */
  readonly readOnly?: boolean;
}

/** A disk in host memory: for tests and for guests that need a scratch disk. */
export class MemoryBlockBackend implements BlockBackend {
  readonly readOnly: boolean;
  readonly sizeBytes: number;
  readonly description: string = 'memory';
  /** The disk's contents. */
  readonly bytes: Uint8Array;

  /**
   * @param contents the disk itself, not a copy, or the size in bytes of an empty one; a multiple of 512
   * @throws VirtioDeviceError `INVALID_SIZE`
   */
  constructor(contents: Uint8Array | number, options: MemoryBlockBackendOptions = {}) {
    const size = typeof contents === 'number' ? contents : contents.length;
    if (!Number.isSafeInteger(size) || size <= 0 || size % VIRTIO_BLK_SECTOR_SIZE !== 0) {
      throw new VirtioDeviceError(
        'INVALID_SIZE',
        `a disk of ${size} bytes: it must be a multiple of 512 above 0`,
      );
    }
    this.bytes = typeof contents === 'number' ? new Uint8Array(size) : contents;
    this.sizeBytes = size;
    this.readOnly = options.readOnly ?? false;
  }

  submit(batch: BlockBatch): void {
    for (let transfer = 0; transfer < batch.count; transfer++) {
      let position = batch.position(transfer);
      const end = batch.endSegment(transfer);
      for (let segment = batch.firstSegment(transfer); segment < end; segment++) {
        const guest = batch.segmentBytes(segment);
        const offset = batch.segmentOffset(segment);
        const size = batch.segmentSize(segment);
        if (batch.isWrite(transfer)) this.bytes.set(guest.subarray(offset, offset + size), position);
        else guest.set(this.bytes.subarray(position, position + size), offset);
        position += size;
      }
    }
  }

  flush(): void {
    // Memory is as durable as it gets.
  }

  discard(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
  }

  writeZeroes(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
  }

  close(): void {
    // Nothing is held.
  }
}
