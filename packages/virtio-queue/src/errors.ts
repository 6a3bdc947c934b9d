/** Stable codes of {@link VirtioQueueError}. */
export type VirtioQueueErrorCode =
  // What the driver configured; thrown at activation.
  /** The queue size is not from 1 to 32768, or a split ring's no power of 2 (§2.7, §2.8.10.1). */
  | 'INVALID_SIZE'
  /** An area does not have its alignment (§2.7, §2.8.10.1). */
  | 'AREA_MISALIGNED'
  /** An area is not inside one region of guest memory. */
  | 'AREA_OUT_OF_RANGE'
  /** The Device Area, or a packed ring itself, lies in read-only memory. */
  | 'AREA_READ_ONLY'
  /** A saved state is not one that `save()` gives. */
  | 'INVALID_STATE'
  // What the driver did; thrown by pop() and sticky.
  /** The available index is more than the queue size ahead (§2.7.6, §2.7.13). */
  | 'AVAIL_INDEX_TOO_FAR'
  /** An available ring entry names no descriptor. */
  | 'HEAD_OUT_OF_RANGE'
  /** A chain was made available again before it was used. */
  | 'HEAD_IN_USE'
  /** Packed: the driver made descriptors available whose place belongs to chains that are out (§2.8.17). */
  | 'RING_OVERRUN'
  /** Packed: a list goes on in a descriptor that is not available (§2.8.17). */
  | 'CHAIN_TAIL_UNAVAILABLE'
  /** Packed: a Buffer ID is not below the queue size (§2.8.22). */
  | 'BUFFER_ID_OUT_OF_RANGE'
  /** Packed: the Buffer ID is that of a chain that is not used yet. */
  | 'BUFFER_ID_IN_USE'
  /** `next` names no descriptor of the table. */
  | 'NEXT_OUT_OF_RANGE'
  /** More descriptors than the queue size, or a loop (§2.7.5.2, §2.7.5.3.1, §2.8.17). */
  | 'CHAIN_TOO_LONG'
  /** More than 2^32 bytes (§2.7.5.2). */
  | 'CHAIN_TOO_LARGE'
  /** A device-readable descriptor after a device-writable one (§2.7.4.2, §2.8.17). */
  | 'READABLE_AFTER_WRITABLE'
  /** A buffer is not inside guest memory. */
  | 'BUFFER_OUT_OF_RANGE'
  /** A device-writable buffer lies in read-only memory. */
  | 'BUFFER_READ_ONLY'
  /** VIRTQ_DESC_F_INDIRECT without VIRTIO_F_INDIRECT_DESC (§2.7.5.3.1, §2.8.19). */
  | 'INDIRECT_NOT_NEGOTIATED'
  /** VIRTQ_DESC_F_INDIRECT together with VIRTQ_DESC_F_NEXT (§2.7.5.3.1), or in a list of several (§2.8.19). */
  | 'INDIRECT_WITH_NEXT'
  /** VIRTQ_DESC_F_INDIRECT inside an indirect table (§2.7.5.3.1); a packed ring ignores it (§2.8.7). */
  | 'INDIRECT_NESTED'
  /** An indirect table is empty, no multiple of 16 bytes, or not inside one region of guest memory. */
  | 'INDIRECT_TABLE_INVALID'
  // What the device asked of a chain or queue.
  /** Fewer bytes are left in the chain's readable or writable part than the device asked for. */
  | 'CHAIN_TOO_SHORT'
  /** The output array has no room for another iovec. */
  | 'IOVECS_FULL'
  /** A 64-bit value beyond 2^53 - 1 was read as a number. */
  | 'VALUE_TOO_LARGE'
  /** The chain is not out: it was used or undone already, or is another queue's. */
  | 'CHAIN_NOT_OUT'
  /** Chains are out, so that the state is not one between two chains. */
  | 'CHAINS_OUT'
  /** An argument is not an integer of the documented range. */
  | 'INVALID_ARGUMENT';

/** A virtqueue, or a chain on it, that does not follow the standard, or a call that does not follow the interface. */
export class VirtioQueueError extends Error {
  override readonly name = 'VirtioQueueError';
  readonly code: VirtioQueueErrorCode;

  constructor(code: VirtioQueueErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
