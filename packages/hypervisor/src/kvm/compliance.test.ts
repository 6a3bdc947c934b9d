import { jest } from '@jest/globals';
import type { Assertions, ComplianceFeature } from '../compliance/index.ts';
import { applies, x86Compliance } from '../compliance/index.ts';
import { createKvmX86Hypervisor, diagnoseKvm } from './index.ts';

// A test needs far less, unless the machine is busy with others.
jest.setTimeout(120_000);

const hypervisor = createKvmX86Hypervisor();
const { hardwareBacked } = await diagnoseKvm();
const features: readonly ComplianceFeature[] = [
  'smp',
  'resample',
  // A KVM that emulates guest kernels has other local APICs and time stamp counters. The rig has all of it.
  ...(hardwareBacked ? (['levelInterrupts', 'tscWrites'] as const) : []),
];

const assert: Assertions = {
  ok: (value, message) => expect({ [message]: value }).toEqual({ [message]: true }),
  equal: (actual, expected, message) => expect({ [message]: actual }).toEqual({ [message]: expected }),
};

for (const [topic, tests] of Object.entries(x86Compliance)) {
  const applicable = tests.filter((test) => applies(test, features));
  describe(`KVM backend compliance: ${topic}`, () => {
    for (const test of applicable) {
      it(test.name, async () => {
        await test.run({ hypervisor, assert, report: () => undefined });
      });
    }
  });
}
