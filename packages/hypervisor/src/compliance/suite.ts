import type { HypervisorErrorCode } from '../errors.ts';
import { HypervisorError } from '../errors.ts';
import type { Aarch64Hypervisor } from '../aarch64.ts';

/** What the tests need of an assertion library. */
export interface Assertions {
  ok(value: boolean, message: string): void;
  /** Strict equality, for plain data by structure. */
  equal(actual: unknown, expected: unknown, message: string): void;
}

/**
 * What a backend may have beyond the rest:
 * - `haltExits`: `run()` returns `halt` for a WFI, rather than to wait in the host's kernel;
 * - `instructionClock`: `VmConfig.clock` may be `instructions`;
 * - `smp`: VMs of two vCPUs.
 */
export type ComplianceFeature = 'haltExits' | 'instructionClock' | 'smp';

/** What a test is given. */
export interface ComplianceContext {
  readonly hypervisor: Aarch64Hypervisor;
  readonly assert: Assertions;
  /** Takes a measured value; nothing depends on it. */
  readonly report: (name: string, value: number, unit: string) => void;
}

/** A test; it fails by rejecting. */
export interface ComplianceTest {
  readonly name: string;
  readonly requires: readonly ComplianceFeature[];
  readonly run: (context: ComplianceContext) => Promise<void>;
}

/** Makes a test of a function that needs no particular feature. */
export function test(
  name: string,
  run: ComplianceTest['run'],
  requires: readonly ComplianceFeature[] = [],
): ComplianceTest {
  return { name, requires, run };
}

/** Asserts that `action` throws, or rejects with, a `HypervisorError` of that code. */
export async function expectCode(
  assert: Assertions,
  code: HypervisorErrorCode,
  what: string,
  action: () => unknown,
): Promise<void> {
  let error: unknown;
  try {
    await action();
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error instanceof HypervisorError, `${what}: a HypervisorError, not ${String(error)}`);
  assert.equal((error as HypervisorError).code, code, what);
}

/** Resolves when `condition` holds, giving the event loop its turn meanwhile. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

/** Resolves after the event loop has had a turn. */
export async function nextTurn(): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, 1));
}
