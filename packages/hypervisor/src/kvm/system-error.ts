import { HypervisorError } from '../errors.ts';

/** asm-generic/errno-base.h and errno.h: values that KVM_RUN fails with. */
export const ERRNO = { EPERM: 1, EINTR: 4, EAGAIN: 11, ECANCELED: 125 } as const;

/** What the addon throws for a failed system call. */
export interface SystemError {
  /** 'EPERM' */
  readonly code: string;
  readonly message: string;
}

/** By its shape: an addon's errors may come from another realm than this module, as in a test runner. */
export function isSystemError(error: unknown): error is SystemError {
  if (typeof error !== 'object' || error === null || !('code' in error)) return false;
  return typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code);
}

/**
 * Runs something that makes a system call.
 *
 * @param what what was attempted, for the message
 * @throws HypervisorError `OUT_OF_MEMORY` for ENOMEM, `DISPOSED` for a closed handle, `SYSTEM` for other failures of
 *   the system, with the system's error as `cause`
 */
export function system<T>(what: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw systemError(what, error);
  }
}

/** The same with a code of the caller's for some errno; `codes` maps 'EINVAL' to a {@link HypervisorError}'s code. */
export function systemError(
  what: string,
  error: unknown,
  codes: Readonly<Partial<Record<string, HypervisorError['code']>>> = {},
): unknown {
  if (!isSystemError(error)) return error;
  const code = codes[error.code] ?? DEFAULT_CODES[error.code] ?? 'SYSTEM';
  return new HypervisorError(code, `${what}: ${error.code} (${error.message})`, { cause: error });
}

const DEFAULT_CODES: Readonly<Record<string, HypervisorError['code']>> = {
  ENOMEM: 'OUT_OF_MEMORY',
  EBADF: 'DISPOSED',
};
