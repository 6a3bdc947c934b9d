import type { DirectorySink } from '../fs/directory-sink.ts';
import type { FuseEntry } from '../fs/handler.ts';
import { bytesToString } from '../fs/names.ts';
import type { OpenFile } from './fs-files.ts';
import { foldInode } from './fs-stat.ts';
import type { NativeFileSystem } from './native-fs.ts';

const BUFFER_SIZE = 32 * 1024;
/** Bytes of `struct linux_dirent64` before the name. */
const NAME_AT = 19;

/**
 * Answers READDIR and READDIRPLUS from an open directory.
 *
 * @param lookup what the driver is told of a name with `plus`, or a negative error
 * @returns 0 or a negative error
 */
export function fillDirectory(
  native: NativeFileSystem,
  directory: OpenFile,
  offsetLow: number,
  offsetHigh: number,
  sink: DirectorySink,
  lookup: (name: string) => FuseEntry | number,
): number {
  if (offsetLow !== directory.nextLow || offsetHigh !== directory.nextHigh) {
    const error = native.seekdir(directory.fd, offsetLow, offsetHigh);
    if (error < 0) return error;
    directory.entriesLength = directory.entriesAt = 0;
    directory.nextLow = offsetLow;
    directory.nextHigh = offsetHigh;
  }
  const bytes = (directory.entries ??= new Uint8Array(BUFFER_SIZE));
  const view = new DataView(bytes.buffer);
  for (;;) {
    if (directory.entriesAt >= directory.entriesLength) {
      const length = native.readdir(directory.fd, bytes);
      if (length < 0 && sink.count === 0) return length;
      if (length <= 0) return 0;
      directory.entriesLength = length;
      directory.entriesAt = 0;
    }
    const at = directory.entriesAt;
    const end = bytes.indexOf(0, at + NAME_AT);
    const name = bytesToString(bytes, at + NAME_AT, end);
    if (!sink.fits(name.length)) return 0;
    const offsetLowNext = view.getUint32(at + 8, true);
    const offsetHighNext = view.getUint32(at + 12, true);
    const found = sink.plus && name !== '.' && name !== '..' ? lookup(name) : undefined;
    const entry = typeof found === 'object' ? found : undefined;
    sink.add(
      {
        name,
        ino: entry?.attr.ino ?? foldInode(view.getUint32(at, true), view.getUint32(at + 4, true), 0),
        type: bytes[at + 18]!,
        offsetLow: offsetLowNext,
        offsetHigh: offsetHighNext,
      },
      entry,
    );
    directory.entriesAt = at + view.getUint16(at + 16, true);
    directory.nextLow = offsetLowNext;
    directory.nextHigh = offsetHighNext;
  }
}
