import type { Entry, Extract, Headers } from 'tar-stream';
import type { TreeEntry } from '../agent/messages.ts';
import type { TreeItem, TreeSource } from '../agent/transfers.ts';
import { VmmError, messageOf } from '../errors.ts';
import { BLOCK, padding, tarHeader } from './tar-header.ts';

/** A tar stream ends with two blocks of zeros. */
const END = new Uint8Array(2 * BLOCK);

/**
 * A tree as a tar stream, made as it is read.
 *
 * @throws VmmError `INVALID_REQUEST` for a file whose content has another size than it should, and what `entries` throws
 */
export async function* tarOf(
  entries: AsyncIterable<TreeSource> | Iterable<TreeSource>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const entry of entries) {
    yield tarHeader(entry);
    if (entry.type !== 'file') continue;
    let left = entry.size;
    for await (const chunk of entry.content ?? []) {
      left -= chunk.length;
      if (left < 0) break;
      yield chunk;
    }
    if (left !== 0)
      throw new VmmError(
        'INVALID_REQUEST',
        `${entry.path}: its content has not the ${entry.size} bytes it should`,
      );
    if (padding(entry.size) > 0) yield new Uint8Array(padding(entry.size));
  }
  yield END;
}

/**
 * The tree of a tar stream, entry by entry; what is left of a content is skipped when the next is asked for. Whoever leaves it
 * half-way ends `source` too.
 *
 * @throws VmmError `INVALID_REQUEST` for what is no tar, and for what is neither file, directory nor symbolic link; what
 *   `source` throws
 */
export async function* untar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TreeItem, void, undefined> {
  // Loaded when there is something to read: commands that copy nothing do not wait for it.
  const { extract } = await import('tar-stream');
  const archive = extract();
  let failure: Error | undefined;
  void feed(source, archive).catch((error: unknown) => {
    failure = error instanceof Error ? error : new Error(String(error));
    archive.destroy(failure);
  });
  try {
    for await (const entry of archive) {
      const found = entryOf(entry.header);
      if (found !== undefined) yield { ...found, content: contentOf(entry) };
      entry.resume();
    }
  } catch (error) {
    if (failure !== undefined) throw failure;
    if (error instanceof VmmError) throw error;
    const reason = messageOf(error);
    throw new VmmError('INVALID_REQUEST', `no tar stream: ${reason}`, { cause: error });
  } finally {
    archive.destroy();
  }
}

async function* contentOf(entry: Entry): AsyncGenerator<Uint8Array, void, undefined> {
  if (entry.header.size === 0) return;
  yield* entry;
}

/** At the pace of the reader of the entries. */
async function feed(source: AsyncIterable<Uint8Array>, archive: Extract): Promise<void> {
  for await (const chunk of source) {
    if (archive.destroyed) return;
    if (!archive.write(chunk)) await drained(archive);
  }
  archive.end();
}

function drained(archive: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      archive.off('drain', done).off('close', done);
      resolve();
    };
    archive.on('drain', done).on('close', done);
  });
}

const TYPES: Readonly<Partial<Record<string, TreeEntry['type']>>> = {
  file: 'file',
  'contiguous-file': 'file',
  directory: 'directory',
  symlink: 'symlink',
};

/** Undefined for the directory that everything is below. */
function entryOf(
  header: Headers & { readonly pax?: Readonly<Record<string, string>> | null },
): TreeEntry | undefined {
  const { name, type: kind, mode = 0, uid = 0, gid = 0, size = 0, linkname } = header;
  // Without extended headers it is null.
  const pax = header.pax ?? {};
  const path = name.replace(/^(?:\.\/+)+/, '').replace(/\/+$/, '');
  const type = TYPES[kind ?? 'file'];
  if (type === 'directory' && (path === '.' || path === '')) return undefined;
  if (type === undefined)
    throw new VmmError(
      'INVALID_REQUEST',
      `${JSON.stringify(name)} is a ${kind ?? 'thing'}: only files, directories and symbolic links are copied`,
    );
  const mtime = Number(pax['mtime'] ?? Number.NaN) * 1000;
  return {
    type,
    path,
    mode: mode & 0o7777,
    uid: owner(pax['uid'], uid),
    gid: owner(pax['gid'], gid),
    mtime: Number.isFinite(mtime) ? mtime : (header.mtime?.getTime() ?? 0),
    size: type === 'file' ? size : 0,
    ...(type === 'symlink' ? { target: linkname ?? '' } : {}),
  };
}

function owner(text: string | undefined, otherwise: number): number {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : otherwise;
}
