/** What an aborted operation rejects with. */
export function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return isError(reason) ? reason : new Error(`aborted: ${String(reason)}`, { cause: reason });
}

/** By its tag as well: an error may come from another realm, where instanceof fails. */
function isError(value: unknown): value is Error {
  return (
    value instanceof Error || /^\[object (Error|DOMException)\]$/.test(Object.prototype.toString.call(value))
  );
}

/**
 * What `making` gives, unless the signal comes first: then its reason at once, and what is made all the same is disposed
 * of when it is there.
 *
 * @throws (rejects with) the signal's reason, and what `making` rejects with
 */
export async function unlessAborted<T extends AsyncDisposable>(
  signal: AbortSignal | undefined,
  making: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return await making();
  if (signal.aborted) throw reasonOf(signal);
  const made = making();
  try {
    return await unlessLeft(signal, made);
  } catch (error) {
    void made.then(
      (each) => each[Symbol.asyncDispose](),
      () => undefined,
    );
    throw error;
  }
}

/** What `work` gives, unless the signal comes first: the work goes on then. @throws the signal's reason */
export async function unlessLeft<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  work.catch(() => undefined);
  if (signal.aborted) throw reasonOf(signal);
  let aborted: () => void = () => undefined;
  try {
    return await Promise.race([
      work,
      new Promise<never>((_, reject) => {
        aborted = () => reject(reasonOf(signal));
        signal.addEventListener('abort', aborted, { once: true });
      }),
    ]);
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}
