// Runs the addon's cases under bare Node, for machines without jest: node run.mjs [ADDON]. One line for each case.
import { createRequire } from 'node:module';
import { loadCases } from './cases/index.mjs';

const require = createRequire(import.meta.url);
const addon = process.argv[2];
const native = addon ? require(addon) : (await import('../../dist/kvm/load.js')).loadNativeKvm();
let failed = 0;
for (const [name, run] of await loadCases(native)) {
  if (process.env.ONLY && !name.includes(process.env.ONLY)) continue;
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${name}\n${error.stack}`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
