/** Stable codes of {@link VmSuperioError}. */
export type VmSuperioErrorCode = 'INVALID_ARGUMENT' | 'INVALID_STATE';

/** A device could not be made or restored. Guest accesses never throw. */
export class VmSuperioError extends Error {
  override readonly name = 'VmSuperioError';
  readonly code: VmSuperioErrorCode;

  constructor(code: VmSuperioErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
