import { jest } from '@jest/globals';
import { createFile } from '../../test/compliance-file.ts';
import { kvmHere } from '../../test/native/support.ts';
import type { Assertions, ComplianceFeature, ComplianceSuite } from '../compliance/index.ts';
import { aarch64Compliance, applies, x86Compliance } from '../compliance/index.ts';
import type { Aarch64Hypervisor } from '../aarch64.ts';
import type { Hypervisor } from '../hypervisor.ts';
import type { X86Hypervisor } from '../x86.ts';
import { createKvmAarch64Hypervisor, createKvmX86Hypervisor, diagnoseKvm } from './index.ts';

// A test needs far less, unless the machine is busy with others.
jest.setTimeout(120_000);

const assert: Assertions = {
  ok: (value, message) => expect({ [message]: value }).toEqual({ [message]: true }),
  equal: (actual, expected, message) => expect({ [message]: actual }).toEqual({ [message]: expected }),
};

function register<H extends Hypervisor>(
  hypervisor: H,
  suite: ComplianceSuite<H>,
  features: readonly ComplianceFeature[],
): void {
  for (const [topic, tests] of Object.entries(suite)) {
    const applicable = tests.filter((test) => applies(test, features));
    describe(`KVM backend compliance: ${topic}`, () => {
      for (const test of applicable) {
        it(test.name, async () => {
          await test.run({ hypervisor, assert, report: () => undefined, createFile });
        });
      }
    });
  }
}

if (kvmHere()) {
  // What KVM lacks where it emulates guest kernels; the emulated machine of `npm run rig` runs all tests.
  const { hardwareBacked } = await diagnoseKvm();
  const features: readonly ComplianceFeature[] = [
    'smp',
    'resample',
    'files',
    ...(hardwareBacked ? (['levelInterrupts', 'tscWrites'] as const) : []),
  ];
  if (process.arch === 'x64') register<X86Hypervisor>(createKvmX86Hypervisor(), x86Compliance, features);
  else register<Aarch64Hypervisor>(createKvmAarch64Hypervisor(), aarch64Compliance, features);
}
