import { jest } from '@jest/globals';
import { createFile } from '../../test/compliance-file.ts';
import type { Assertions, ComplianceFeature } from '../compliance/index.ts';
import { aarch64Compliance, applies } from '../compliance/index.ts';
import { createWasmHypervisor } from './index.ts';

// Threads get little time on a machine that runs all tests at once.
jest.setTimeout(120_000);

const hypervisor = createWasmHypervisor();
const features: readonly ComplianceFeature[] = [
  'haltExits',
  'instructionClock',
  'levelInterrupts',
  'files',
  ...(hypervisor.maxVcpus > 1 ? (['smp'] as const) : []),
];

const assert: Assertions = {
  ok: (value, message) => expect({ [message]: value }).toEqual({ [message]: true }),
  equal: (actual, expected, message) => expect({ [message]: actual }).toEqual({ [message]: expected }),
};

for (const [topic, tests] of Object.entries(aarch64Compliance)) {
  const applicable = tests.filter((test) => applies(test, features));
  if (applicable.length === 0) continue;
  describe(`wasm backend compliance: ${topic}`, () => {
    for (const test of applicable) {
      it(test.name, async () => {
        await test.run({ hypervisor, assert, report: () => undefined, createFile });
      });
    }
  });
}
