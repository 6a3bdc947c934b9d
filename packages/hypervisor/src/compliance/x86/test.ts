import type { X86Hypervisor } from '../../x86.ts';
import type { ComplianceFeature, ComplianceTest } from '../suite.ts';

export type X86Test = ComplianceTest<X86Hypervisor>;

/** Makes a test of a function that needs no particular feature. */
export function test(
  name: string,
  run: X86Test['run'],
  requires: readonly ComplianceFeature[] = [],
): X86Test {
  return { name, requires, run };
}
