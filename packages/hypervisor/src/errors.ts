/** Stable codes of {@link HypervisorError}. */
export type HypervisorErrorCode =
  | 'UNAVAILABLE'
  | 'INVALID_ARGUMENT'
  | 'OUT_OF_MEMORY'
  | 'OVERLAP'
  | 'WRONG_STATE'
  | 'UNSUPPORTED'
  | 'ENGINE_FAULT'
  | 'SYSTEM'
  | 'DISPOSED';

/** An operation on a hypervisor, VM or vCPU that could not be carried out. */
export class HypervisorError extends Error {
  override readonly name: string = 'HypervisorError';
  readonly code: HypervisorErrorCode;

  constructor(code: HypervisorErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The backend cannot run here; `cause` carries the reason. */
export class HypervisorUnavailableError extends HypervisorError {
  override readonly name = 'HypervisorUnavailableError';

  constructor(message: string, options?: ErrorOptions) {
    super('UNAVAILABLE', message, options);
  }
}
