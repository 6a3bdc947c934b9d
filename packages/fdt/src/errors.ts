/** Stable codes of {@link FdtError}. */
export type FdtErrorCode =
  | 'BAD_NAME'
  | 'BAD_VALUE'
  | 'BAD_PHANDLE'
  | 'DUPLICATE_NAME'
  | 'WRONG_STATE'
  | 'TOO_LARGE'
  | 'TOO_DEEP'
  | 'BAD_MAGIC'
  | 'UNSUPPORTED_VERSION'
  | 'TRUNCATED'
  | 'BAD_LAYOUT'
  | 'BAD_STRUCTURE'
  | 'NOT_FOUND';

/** A device tree that could not be written, read or queried. */
export class FdtError extends Error {
  override readonly name = 'FdtError';
  readonly code: FdtErrorCode;

  constructor(code: FdtErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
