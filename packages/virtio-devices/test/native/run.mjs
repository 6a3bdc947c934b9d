// Runs the addon's cases and endings under bare Node, for a sanitizer: node run.mjs [ADDON]. A line for each.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { blockCases } from './block-cases.mjs';
import { fsCases } from './fs-cases.mjs';
import { ptyCases } from './pty-cases.mjs';
import { runTapChild } from './tap-child.mjs';

export const ENDINGS = [
  'exit',
  'uncaught',
  'exit-in-callback',
  'uncaught-in-callback',
  'collected',
  'end-of-loop',
  'worker-terminate',
  'worker-terminate-in-exceptions',
  'worker-ends',
];

/** Runs one; `status` is null after two minutes, which only a hang takes. */
export function runEnding(addon, name) {
  const child = fileURLToPath(new URL('block-child.mjs', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'native-ending-'));
  try {
    return spawnSync(process.execPath, ['--expose-gc', child, addon, name], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '', TMPDIR: folder },
      killSignal: 'SIGKILL',
      timeout: 120_000,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const addon =
    process.argv[2] ??
    fileURLToPath(
      new URL(`../../prebuilds/linux-${process.arch}/@vmm+virtio-devices.glibc.node`, import.meta.url),
    );
  const native = createRequire(import.meta.url)(addon);
  const cases = [...blockCases(native), ...fsCases(native, addon), ...ptyCases(native)];
  const expectStatus = (expected, { status, stderr }) => {
    if (status !== expected) throw new Error(`exit code ${status}\n${stderr}`);
  };
  cases.push(['taps', () => expectStatus(0, runTapChild(addon))]);
  for (const name of ENDINGS) cases.push([`ending: ${name}`, () => expectStatus(7, runEnding(addon, name))]);
  for (const [name, run] of cases) {
    try {
      await run();
      console.log(`ok ${name}`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`not ok ${name}\n${error.stack}`);
    }
  }
}
