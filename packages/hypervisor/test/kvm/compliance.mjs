// Runs the compliance suite on this machine's KVM and prints a line for each test: for machines without jest.
// node compliance.mjs [TOPIC…]
import { isDeepStrictEqual } from 'node:util';
import { createKvmHypervisor } from '../../dist/kvm/index.js';
import { aarch64Compliance, applies, x86Compliance } from '../../dist/compliance/index.js';

const LIMIT = 120_000;

const hypervisor = createKvmHypervisor();
const suite = hypervisor.arch === 'x86_64' ? x86Compliance : aarch64Compliance;
const features = ['smp', 'resample'];
const topics = process.argv.slice(2);

const assert = {
  ok(value, message) {
    if (!value) throw new Error(message);
  },
  equal(actual, expected, message) {
    if (!isDeepStrictEqual(actual, expected)) {
      throw new Error(`${message}: ${show(actual)} instead of ${show(expected)}`);
    }
  },
};

function show(value) {
  const text = JSON.stringify(value, (_, item) =>
    typeof item === 'bigint' ? `0x${item.toString(16)}` : item,
  );
  return text === undefined ? String(value) : text.slice(0, 500);
}

async function limited(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${LIMIT} ms`)), LIMIT);
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

let failed = 0;
let passed = 0;
for (const [topic, tests] of Object.entries(suite)) {
  if (topics.length > 0 && !topics.includes(topic)) continue;
  for (const test of tests.filter((test) => applies(test, features))) {
    const before = performance.now();
    try {
      await limited(
        test.run({
          hypervisor,
          assert,
          report: (name, value, unit) => console.log(`# ${name}: ${value.toFixed(1)} ${unit}`),
        }),
      );
      passed++;
      console.log(`ok ${topic}: ${test.name} (${(performance.now() - before).toFixed(0)} ms)`);
    } catch (error) {
      failed++;
      console.log(`not ok ${topic}: ${test.name}\n  ${error instanceof Error ? error.stack : error}`);
    }
  }
}
console.log(`# ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
