import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ComplianceFile } from '../src/compliance/index.ts';

/** `createFile` of the compliance suite, in a directory of its own. */
export function createFile(contents: Uint8Array): ComplianceFile {
  const directory = mkdtempSync(join(tmpdir(), 'vmm-memory-'));
  const path = join(directory, 'memory');
  writeFileSync(path, contents);
  const fd = openSync(path, 'r');
  let open = true;
  const close = (): void => {
    if (open) closeSync(fd);
    open = false;
  };
  return {
    fd,
    close,
    read: () => readFileSync(path),
    [Symbol.dispose]: () => {
      close();
      rmSync(directory, { recursive: true });
    },
  };
}
