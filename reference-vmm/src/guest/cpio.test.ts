import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildCpio } from './cpio.ts';

describe('buildCpio', () => {
  it('makes archives that cpio unpacks to the same tree', () => {
    const directory = mkdtempSync(join(tmpdir(), 'vmm-cpio-'));
    try {
      const data = Uint8Array.from({ length: 1001 }, (_, index) => index & 0xff);
      const archive = buildCpio([
        { type: 'directory', path: '/d', mode: 0o750 },
        { type: 'file', path: 'd/odd', data, mode: 0o755 },
        { type: 'file', path: 'd/empty', data: new Uint8Array(0) },
        { type: 'symlink', path: 'd/link', target: 'odd' },
      ]);
      execFileSync('cpio', ['-i', '--quiet'], { cwd: directory, input: archive });
      expect(new Uint8Array(readFileSync(join(directory, 'd/odd')))).toEqual(data);
      expect(statSync(join(directory, 'd/odd')).mode & 0o777).toBe(0o755);
      expect(statSync(join(directory, 'd')).mode & 0o777).toBe(0o750);
      expect(statSync(join(directory, 'd/empty')).size).toBe(0);
      expect(readlinkSync(join(directory, 'd/link'))).toBe('odd');
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('can be followed by another archive: its length is a multiple of 4', () => {
    for (let length = 0; length < 8; length++) {
      const archive = buildCpio([{ type: 'file', path: 'x', data: new Uint8Array(length) }]);
      expect(archive.length % 4).toBe(0);
    }
  });
});
