/** Stable codes of {@link ArchError}. */
export type ArchErrorCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_A_KERNEL'
  | 'BAD_KERNEL'
  | 'WRONG_ARCHITECTURE'
  | 'UNSUPPORTED_KERNEL'
  | 'UNSUPPORTED_COMPRESSION'
  | 'BAD_COMPRESSION'
  | 'TRUNCATED'
  | 'KERNEL_TOO_LARGE'
  | 'MEMORY_TOO_SMALL'
  | 'INITRD_TOO_LARGE'
  | 'DEVICE_TREE_TOO_LARGE'
  | 'BAD_COMMAND_LINE'
  | 'COMMAND_LINE_TOO_LONG';

/** A machine that cannot be laid out, or a kernel that cannot be loaded. */
export class ArchError extends Error {
  override readonly name = 'ArchError';
  readonly code: ArchErrorCode;

  constructor(code: ArchErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
