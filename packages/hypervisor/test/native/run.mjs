// Runs the addon's cases and endings under bare Node, for machines without jest: node run.mjs [ADDON [--cases]].
// A line for each.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { loadCases } from './cases/index.mjs';
import { ENDINGS, runEnding } from './endings.mjs';

const addon =
  process.argv[2] ??
  fileURLToPath(new URL(`../../prebuilds/linux-${process.arch}/@vmm+hypervisor.glibc.node`, import.meta.url));
const cases = loadCases(createRequire(import.meta.url)(addon));
for (const [name, code] of process.argv.includes('--cases') ? [] : Object.entries(ENDINGS)) {
  cases.push([
    `ending: ${name}`,
    () => {
      const ending = runEnding(addon, name);
      assert.equal(ending.code, code, ending.output);
    },
  ]);
}
let failed = 0;
for (const [name, run] of cases) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${name}\n${error.stack}`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
