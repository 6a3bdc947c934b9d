/** Stable codes of {@link VmMemoryError}. */
export type VmMemoryErrorCode =
  /** A region is empty, not a multiple of 8 where it must be, or ends beyond 2^53 - 1. */
  | 'INVALID_REGION'
  /** Two regions share guest addresses. */
  | 'OVERLAP'
  /** Some byte of the range is not in any region (or, for views, not in one region). */
  | 'OUT_OF_RANGE'
  /** An address, length or value is not an integer of the documented range. */
  | 'INVALID_ARGUMENT'
  /** The address is not a multiple of the access size where that is required. */
  | 'MISALIGNED'
  /** A write to a read-only region. */
  | 'READ_ONLY'
  /** A 64-bit value beyond 2^53 - 1 was read as a number. */
  | 'VALUE_TOO_LARGE'
  /** The output array has no room for another iovec. */
  | 'IOVECS_FULL'
  /** Dirty pages were asked for and dirty tracking is off. */
  | 'DIRTY_TRACKING_OFF'
  /** The host is big-endian. */
  | 'UNSUPPORTED_HOST';

/** An access to guest memory that could not be carried out. Nothing was read or written. */
export class VmMemoryError extends Error {
  override readonly name = 'VmMemoryError';
  readonly code: VmMemoryErrorCode;

  constructor(code: VmMemoryErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
