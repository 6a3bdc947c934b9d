import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { BlobReader } from '@vmm/arch';
import { VmmError, isErrno } from './errors.ts';

/** A host file that reads itself straight into guest memory. */
export class FileSource implements BlobReader, Disposable {
  readonly size: number;
  readonly #fd: number;

  /**
   * @param what names the file's role in messages, e.g. `kernel`
   * @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`
   */
  constructor(path: string, what: string) {
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      if (isErrno(error, 'ENOENT'))
        throw new VmmError('FILE_NOT_FOUND', `${what}: there is no file ${path}`, { cause: error });
      throw new VmmError('FILE_UNREADABLE', `${what}: cannot open ${path}: ${String(error)}`, {
        cause: error,
      });
    }
    const stat = fstatSync(this.#fd);
    if (!stat.isFile()) {
      closeSync(this.#fd);
      const kind = stat.isDirectory() ? 'a directory' : 'not a regular file';
      throw new VmmError('FILE_UNREADABLE', `${what}: ${path} is ${kind}`);
    }
    this.size = stat.size;
  }

  read(offset: number, into: Uint8Array): number {
    return readSync(this.#fd, into, 0, into.length, offset);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Several sources one behind the other. */
export class Concatenation implements BlobReader {
  readonly size: number;
  readonly #parts: readonly { readonly start: number; readonly source: BlobReader | Uint8Array }[];

  constructor(sources: readonly (BlobReader | Uint8Array)[]) {
    let start = 0;
    this.#parts = sources.map((source) => {
      const part = { start, source };
      start += source instanceof Uint8Array ? source.length : source.size;
      return part;
    });
    this.size = start;
  }

  read(offset: number, into: Uint8Array): number | Promise<number> {
    const part = this.#parts.findLast(({ start }) => start <= offset);
    if (part === undefined || offset >= this.size) return 0;
    const { source } = part;
    const inside = offset - part.start;
    if (!(source instanceof Uint8Array))
      return source.read(inside, into.subarray(0, Math.min(into.length, source.size - inside)));
    const bytes = source.subarray(inside, inside + into.length);
    into.set(bytes);
    return bytes.length;
  }
}
