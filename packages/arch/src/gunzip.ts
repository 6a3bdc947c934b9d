import { ArchError } from './errors.ts';
import { readFully } from './source.ts';
import type { BlobSource } from './source.ts';

// The Compression Streams standard's global, declared here because the package is compiled with neither DOM
// nor Node.js types.
declare const DecompressionStream: new (format: 'gzip') => {
  readonly writable: {
    getWriter(): {
      write(chunk: Uint8Array): Promise<void>;
      close(): Promise<void>;
      abort(reason: unknown): Promise<void>;
    };
  };
  readonly readable: {
    getReader(): {
      read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array }>;
      cancel(): Promise<void>;
    };
  };
};

const INPUT_CHUNK = 256 * 1024;

/**
 * Decompresses a gzip stream (RFC 1952) that is `length` bytes of `source` from `offset` on. `onChunk` takes
 * the output piece by piece and answers whether it wants more, so that the caller bounds the output.
 *
 * @throws ArchError `BAD_COMPRESSION`; whatever the source or `onChunk` throws
 */
export async function gunzip(
  source: BlobSource,
  offset: number,
  length: number,
  onChunk: (chunk: Uint8Array) => boolean,
): Promise<void> {
  const stream = new DecompressionStream('gzip');
  const writer = stream.writable.getWriter();
  const reader = stream.readable.getReader();
  let stopped = false;
  let sourceFailure: { readonly error: unknown } | undefined;
  const feed = async (): Promise<void> => {
    for (let at = 0; at < length && !stopped; at += INPUT_CHUNK) {
      // A fresh buffer each time: the stream may keep the one it was given.
      const chunk = new Uint8Array(Math.min(INPUT_CHUNK, length - at));
      try {
        await readFully(source, offset + at, chunk);
      } catch (error) {
        sourceFailure = { error };
        await writer.abort(error);
        return;
      }
      await writer.write(chunk);
    }
    if (!stopped) await writer.close();
  };
  // What goes wrong in the stream reaches the reader as well, where it is reported.
  const feeding = feed().catch(() => undefined);
  try {
    for (;;) {
      let result;
      try {
        result = await reader.read();
      } catch (cause) {
        if (sourceFailure !== undefined) throw sourceFailure.error;
        throw new ArchError('BAD_COMPRESSION', `the gzip data is damaged${reason(cause)}`, { cause });
      }
      if (result.done) return;
      if (result.value !== undefined && !onChunk(result.value)) return;
    }
  } finally {
    stopped = true;
    await reader.cancel().catch(() => undefined);
    await feeding;
  }
}

/** What the platform says is wrong, if it does: some wrap the decompressor's error in one without a message. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return '';
  return error.message === '' ? reason(error.cause) : `: ${error.message}`;
}
