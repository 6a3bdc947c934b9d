import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Architecture, type CpioEntry, debianFiles } from '@vmm/reference-vmm';
import { ROOT } from './support.ts';

const CACHE = join(ROOT, 'node_modules/.cache/vmm/guest-programs');
const COMPILERS: Readonly<Record<Architecture, string>> = {
  aarch64: 'aarch64-linux-gnu-gcc',
  x86_64: process.arch === 'x64' ? 'gcc' : 'x86_64-linux-gnu-gcc',
};
const FLAGS = ['-static', '-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-pthread', '-s'];

/** A C program as a static executable for the guest, kept by its source: an entry for `guestFiles`. */
export function guestProgram(path: string, source: string, arch: Architecture = 'aarch64'): CpioEntry {
  const key = createHash('sha256')
    .update([arch, ...FLAGS, source].join('\0'))
    .digest('hex')
    .slice(0, 16);
  const program = join(CACHE, `${key}-${arch}`);
  if (!existsSync(program)) {
    mkdirSync(CACHE, { recursive: true });
    const fresh = `${program}.${process.pid}`;
    writeFileSync(`${fresh}.c`, source);
    execFileSync(COMPILERS[arch], [...FLAGS, '-o', fresh, `${fresh}.c`], { stdio: ['ignore', 2, 2] });
    renameSync(fresh, program);
  }
  return { type: 'file', path, data: readFileSync(program), mode: 0o755 };
}

/** The files of Debian packages with their dependencies, for `guestFiles`. */
export function debianTree(
  packages: readonly string[],
  arch: Architecture = 'aarch64',
): Promise<CpioEntry[]> {
  return debianFiles(packages, arch, (message) => process.stderr.write(`${message}\n`));
}
