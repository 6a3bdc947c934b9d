import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ADDON } from './support.ts';

// Maps the file of its first argument, truncates it, and uses the memory.
const PROGRAM = `
  const { openSync, truncateSync } = require('node:fs');
  const [addon, path] = process.argv.slice(1);
  const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const bytes = new Uint8Array(buffer);
  require(addon).mapFile(bytes, openSync(path, 'r'), 0);
  process.stdout.write(bytes[0] + ' ');
  truncateSync(path, 4096);
  process.stdout.write(bytes[1] + ' ');
  process.stdout.write(String(bytes[4096]));
`;

test('the end of a process whose memory was a file that has been truncated says so, and names the file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vmm-truncated-'));
  try {
    const path = join(directory, 'memory of a guest.bin');
    writeFileSync(path, new Uint8Array(8192).fill(5));
    const child = spawnSync(process.execPath, ['--eval', PROGRAM, ADDON, path], { encoding: 'utf8' });
    expect(child).toMatchObject({ signal: 'SIGBUS', stdout: '5 5 ' });
    expect(child.stderr).toContain(`${path} cannot be read where it is mapped as guest memory`);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
