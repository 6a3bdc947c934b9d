import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { jest } from '@jest/globals';
import { BOOT_TIMEOUT, Scratch } from './support.ts';

jest.setTimeout(BOOT_TIMEOUT);

const SCRIPT = fileURLToPath(new URL('rig/snapshot-faults.mjs', import.meta.url));
const run = (...args: readonly string[]): Promise<{ readonly stdout: string }> =>
  promisify(execFile)(process.execPath, [SCRIPT, ...args], { timeout: BOOT_TIMEOUT });

it('a process that is killed in the middle of a snapshot leaves the one before, and the next one cleans up', async () => {
  using scratch = new Scratch();
  const snapshot = join(scratch.path, 'saved');
  await expect(run('killed', snapshot)).rejects.toMatchObject({ signal: 'SIGKILL' });
  expect(readdirSync(scratch.path)).toHaveLength(2);
  const { stdout } = await run('next', snapshot, `next-${process.pid}`);
  expect(JSON.parse(stdout)).toEqual({ left: 2, names: ['saved'] });
});
