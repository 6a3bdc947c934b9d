import type { BlockBatch } from './batch.ts';

/**
 * What a block device keeps its sectors in. All offsets and lengths are in bytes, multiples of 512, and
 * checked against `sizeBytes` by the caller.
 *
 * An answer that is no promise means: done. A backend that works synchronously costs no turn of the event
 * loop.
 */
export interface BlockBackend {
  /** Writes are refused by the device. */
  readonly readOnly: boolean;
  /** A multiple of 512, fixed. */
  readonly sizeBytes: number;
  /** Where it is, for messages. */
  readonly description: string;

  /**
   * Carries out all transfers of a batch, in any order, straight from and to guest memory. A transfer that
   * fails is marked with `batch.fail()`; throwing or rejecting fails all of them. The batch is the caller's
   * again when the answer settles.
   *
   * A backend that answers later must look at `batch.cancelled` before it touches guest memory after each
   * wait: the driver has taken the memory back then. It may answer single transfers early by
   * `batch.complete()`.
   */
  submit(batch: BlockBatch): void | Promise<void>;

  /** Every write that was done before this call survives a crash of the host when this is done. */
  flush(): void | Promise<void>;

  /** The contents of the range may become anything; present: VIRTIO_BLK_F_DISCARD is offered. */
  discard?(offset: number, length: number): void | Promise<void>;

  /**
   * The range reads as zeroes afterwards; present: VIRTIO_BLK_F_WRITE_ZEROES is offered.
   *
   * @param unmap the storage behind it may be given back
   */
  writeZeroes?(offset: number, length: number, unmap: boolean): void | Promise<void>;

  /** Releases what the backend holds; further calls fail. More than once is harmless. */
  close(): void | Promise<void>;
}
