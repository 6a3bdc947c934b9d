/** An answer that is an error of Linux; handlers may throw it. */
export class FuseError extends Error {
  override readonly name: string = 'FuseError';
  /** Positive. */
  readonly errno: number;

  constructor(errno: number, message?: string) {
    super(message ?? `errno ${errno}`);
    this.errno = errno;
  }
}
