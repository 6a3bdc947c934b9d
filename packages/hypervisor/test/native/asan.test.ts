import { beforeAll, expect, test } from '@jest/globals';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kvmHere, loadEndings, script } from './support.ts';

const CACHE = fileURLToPath(new URL('../../../../node_modules/.cache/vmm/asan', import.meta.url));
const SANITIZED = join(CACHE, `prebuilds/linux-${process.arch}/@vmm+hypervisor.glibc.node`);
const REPORTED = 99;
/** Milliseconds for what compiles or runs long under a sanitizer on a busy machine. */
const HANG = 600_000;

if (kvmHere()) {
  const env: Record<string, string> = {
    // Node's own memory is not freed at its end.
    ASAN_OPTIONS: `detect_leaks=0:exitcode=${REPORTED}`,
  };

  beforeAll(() => {
    const build = fileURLToPath(new URL('../../scripts/build-native.mjs', import.meta.url));
    execFileSync(process.execPath, [build, '--sanitize', 'address', '--out', CACHE]);
    env['LD_PRELOAD'] = execFileSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' }).trim();
  }, HANG);

  test('the addon is instrumented', () => {
    expect(readFileSync(SANITIZED).includes('__asan_report_load')).toBe(true);
  });

  test(
    'every case of the contract passes under AddressSanitizer',
    () => {
      const child = spawnSync(process.execPath, [script('run.mjs'), SANITIZED, '--cases'], {
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '', ...env },
      });
      expect(child.stderr).toBe('');
      expect(child.stdout).not.toMatch(/^not ok/m);
      expect(child.status).toBe(0);
    },
    HANG,
  );

  const { ENDINGS, runEnding } = await loadEndings();
  for (const [name, code] of Object.entries(ENDINGS)) {
    test(`AddressSanitizer has nothing to report: ${name}`, () => {
      const ending = runEnding(SANITIZED, name, env);
      expect(ending.output).not.toContain('AddressSanitizer');
      expect(ending.code).toBe(code);
    });
  }

  test(
    'nor after 100 VMs with memory, vCPU, thread and doorbell',
    () => {
      const child = spawnSync(process.execPath, ['--expose-gc', script('cycles.mjs'), SANITIZED, '100'], {
        encoding: 'utf8',
        env: { ...process.env, NODE_OPTIONS: '', ...env },
      });
      expect(child.stderr).toBe('');
      expect(child.status).toBe(0);
    },
    HANG,
  );
}
