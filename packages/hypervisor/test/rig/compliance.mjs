// Runs the compliance suite of this machine's architecture against KVM, and prints a line for each test.
//
// node test/rig/compliance.mjs [PATTERN]: only tests whose topic and name match. Needs the built package.
import assert from 'node:assert/strict';
import { aarch64Compliance, applies, x86Compliance } from '../../dist/compliance/index.js';
import { createKvmHypervisor, diagnoseKvm } from '../../dist/kvm/index.js';

const pattern = new RegExp(process.argv[2] ?? '');
const hypervisor = createKvmHypervisor();
const suite = hypervisor.arch === 'aarch64' ? aarch64Compliance : x86Compliance;
const { hardwareBacked } = await diagnoseKvm();
// A KVM that emulates guest kernels has other local APICs and time stamp counters.
const features = ['smp', 'resample', ...(hardwareBacked ? ['levelInterrupts', 'tscWrites'] : [])];
console.log(`# ${hypervisor.arch}, ${hardwareBacked ? 'hardware-backed' : 'emulated'} KVM`);

const assertions = {
  ok: (value, message) => assert.ok(value, message),
  equal: (actual, expected, message) => {
    try {
      assert.deepStrictEqual(actual, expected);
    } catch (cause) {
      throw new Error(`${message}: ${cause.message}`, { cause });
    }
  },
};

let passed = 0;
let failed = 0;
for (const [topic, tests] of Object.entries(suite)) {
  for (const test of tests.filter((each) => applies(each, features))) {
    const name = `${topic}: ${test.name}`;
    if (!pattern.test(name)) continue;
    const report = (what, value, unit) => console.log(`# ${what}: ${value.toFixed(1)} ${unit}`);
    try {
      await test.run({ hypervisor, assert: assertions, report });
      passed++;
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}: ${String(error?.message ?? error).replaceAll(/\s*\n\s*/g, ' | ')}`);
    }
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
