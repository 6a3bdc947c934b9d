import type { Aarch64Hypervisor } from '../../aarch64.ts';
import type { ComplianceFeature, ComplianceTest } from '../suite.ts';

export type Aarch64Test = ComplianceTest<Aarch64Hypervisor>;

/** Makes a test of a function that needs no particular feature. */
export function test(
  name: string,
  run: Aarch64Test['run'],
  requires: readonly ComplianceFeature[] = [],
): Aarch64Test {
  return { name, requires, run };
}
