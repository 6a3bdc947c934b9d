import { fstatSync, readSync } from 'node:fs';
import type { MapFileBytes } from '../../memory-file.ts';

/** Largest read; Linux has a limit below 2 GiB. */
const CHUNK = 1 << 30;

/** Reads a file where it cannot be mapped, with `NativeKvm.mapFile`'s result: nothing is a mapping. */
export const readMemoryFile: MapFileBytes = (bytes, fd, offset) => {
  if (!fstatSync(fd).isFile()) throw new Error('it is not a regular file');
  let done = 0;
  while (done < bytes.length) {
    const length = Math.min(CHUNK, bytes.length - done);
    const count = readSync(fd, bytes, done, length, offset + done);
    if (count === 0) break;
    done += count;
  }
  return 0;
};
