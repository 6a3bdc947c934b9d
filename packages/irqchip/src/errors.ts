/** Stable codes of {@link IrqChipError}. */
export type IrqChipErrorCode = 'INVALID_ARGUMENT' | 'IN_USE' | 'EXHAUSTED' | 'INVALID_STATE';

/** An interrupt controller could not be made, asked for a line, or restored. Guest accesses never throw. */
export class IrqChipError extends Error {
  override readonly name = 'IrqChipError';
  readonly code: IrqChipErrorCode;

  constructor(code: IrqChipErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
