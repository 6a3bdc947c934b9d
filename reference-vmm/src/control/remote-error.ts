import { VMM_ERROR_CODES, VmmError, type VmmErrorCode } from '../errors.ts';
import type { ControlError } from './schema.ts';

/** What a VM in another process said, as the error that it was there. */
export function remoteError({ code, message, errno }: ControlError): VmmError {
  const cause = errno === undefined ? undefined : Object.assign(new Error(message), { code: errno });
  const options = cause === undefined ? {} : { cause };
  return isVmmErrorCode(code)
    ? new VmmError(code, message, options)
    : new VmmError('CONTROL_FAILED', `${message} [${code}]`, options);
}

function isVmmErrorCode(code: string): code is VmmErrorCode {
  return (VMM_ERROR_CODES as readonly string[]).includes(code);
}
