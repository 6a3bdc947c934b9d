import type { VmmOperation, VmmState } from './lifecycle.ts';

/** Stable codes of {@link VmmError}. */
export const VMM_ERROR_CODES = [
  'INVALID_CONFIG',
  'FILE_NOT_FOUND',
  'FILE_UNREADABLE',
  'NO_APT',
  'APT_FAILED',
  'GUEST_INCOMPLETE',
  'NAME_TAKEN',
  'RUNTIME_DIRECTORY',
  'WRONG_STATE',
  'HYPERVISOR_UNAVAILABLE',
  'NO_SUCH_VM',
  'NOT_SUPPORTED',
  'INVALID_REQUEST',
  'CONTROL_FAILED',
  'SNAPSHOT_FAILED',
  'INVALID_SNAPSHOT',
  'SNAPSHOT_MISMATCH',
  'TIMED_OUT',
  'ENDED',
  'NO_VSOCK',
  'BAD_RESPONSE',
  'NO_AGENT',
  'AGENT_LOST',
  'GUEST_ERROR',
] as const;

export type VmmErrorCode = (typeof VMM_ERROR_CODES)[number];

export interface VmmErrorOptions extends ErrorOptions {
  readonly operation?: VmmOperation | undefined;
  readonly from?: VmmState | undefined;
}

/** Something that the VMM could not do; the message says what was attempted and what to do about it. */
export class VmmError extends Error {
  override readonly name = 'VmmError';
  readonly code: VmmErrorCode;
  /** Of `WRONG_STATE`: what was asked of the VM. */
  readonly operation: VmmOperation | undefined;
  /** Of `WRONG_STATE`: the state that does not allow it. */
  readonly from: VmmState | undefined;

  constructor(code: VmmErrorCode, message: string, options: VmmErrorOptions = {}) {
    super(message, options);
    this.code = code;
    this.operation = options.operation;
    this.from = options.from;
  }
}

/** What went wrong, of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether a system call failed with this error code, e.g. `ENOENT`. */
export function isErrno(error: unknown, code: string): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && error.code === code;
}
