// Runs the compliance suite of this machine's architecture against KVM, and prints a line for each test.
//
// node test/rig/compliance.mjs [--complete] [PATTERN]: only tests whose topic and name match. `--complete`: this KVM is known
// to be one of hardware, or as good, and has to pass everything. Needs the built package.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { aarch64Compliance, applies, x86Compliance } from '../../dist/compliance/index.js';
import { createKvmHypervisor, diagnoseKvm } from '../../dist/kvm/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { complete: { type: 'boolean', default: false } },
});
const pattern = new RegExp(positionals[0] ?? '');
const hypervisor = createKvmHypervisor();
const suite = hypervisor.arch === 'aarch64' ? aarch64Compliance : x86Compliance;
const complete = values.complete || (await diagnoseKvm()).hardwareBacked;
// A KVM that emulates guest kernels has other local APICs and time stamp counters.
const features = ['smp', 'resample', 'files', ...(complete ? ['levelInterrupts', 'tscWrites'] : [])];
console.log(`# ${hypervisor.arch}, ${complete ? 'all tests' : 'tests for an emulating KVM'}`);

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

function createFile(contents) {
  const directory = mkdtempSync(join(tmpdir(), 'vmm-memory-'));
  const path = join(directory, 'memory');
  writeFileSync(path, contents);
  const fd = openSync(path, 'r');
  let open = true;
  const close = () => {
    if (open) closeSync(fd);
    open = false;
  };
  return {
    fd,
    close,
    read: () => readFileSync(path),
    [Symbol.dispose]: () => {
      close();
      rmSync(directory, { recursive: true });
    },
  };
}

let passed = 0;
let failed = 0;
for (const [topic, tests] of Object.entries(suite)) {
  for (const test of tests.filter((each) => applies(each, features))) {
    const name = `${topic}: ${test.name}`;
    if (!pattern.test(name)) continue;
    const report = (what, value, unit) => console.log(`# ${what}: ${value.toFixed(1)} ${unit}`);
    try {
      await test.run({ hypervisor, assert: assertions, report, createFile });
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
