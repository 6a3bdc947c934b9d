import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { ADDON, kvmHere, loadEndings, script } from './support.ts';

if (kvmHere()) {
  const { ENDINGS, runEnding } = await loadEndings();

  for (const [name, code] of Object.entries(ENDINGS)) {
    test(`a process or worker ends while vCPU threads run: ${name}`, () => {
      expect(runEnding(ADDON, name)).toMatchObject({ code });
    });
  }

  test('after 1000 VMs with memory, vCPU, thread and doorbell the process holds what it held before', () => {
    const child = spawnSync(process.execPath, ['--expose-gc', script('cycles.mjs'), ADDON, '1000'], {
      encoding: 'utf8',
    });
    expect(child.stderr).toBe('');
    const growth = JSON.parse(child.stdout) as Record<string, number>;
    expect(growth).toMatchObject({ descriptors: 0, threads: 0, mappings: 0 });
    // Each VM touched 112 KiB.
    expect(growth['kibibytes']).toBeLessThan(16 * 1024);
  }, 600_000);
}
