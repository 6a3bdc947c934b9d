import { exitTests } from './exits.ts';
import { interruptTests } from './interrupts.ts';
import { lifecycleTests } from './lifecycle.ts';
import { memoryTests } from './memory.ts';
import { notificationTests } from './notifications.ts';
import { registerTests } from './registers.ts';
import { smpTests } from './smp.ts';
import { stateTests } from './state.ts';
import type { ComplianceFeature, ComplianceTest } from './suite.ts';
import { threadTests } from './threads.ts';

export { Assembler, CONDITION, XZR } from './assembler.ts';
export type { Condition } from './assembler.ts';
export type { Assertions, ComplianceContext, ComplianceFeature, ComplianceTest } from './suite.ts';

/** Every test for an AArch64 backend, by topic. */
export const aarch64Compliance: Readonly<Record<string, readonly ComplianceTest[]>> = {
  registers: registerTests,
  memory: memoryTests,
  exits: exitTests,
  notifications: notificationTests,
  interrupts: interruptTests,
  threads: threadTests,
  state: stateTests,
  lifecycle: lifecycleTests,
  smp: smpTests,
};

/** Whether a backend with these features is to pass the test. */
export function applies(test: ComplianceTest, features: readonly ComplianceFeature[]): boolean {
  return test.requires.every((feature) => features.includes(feature));
}
