import type { HypervisorErrorCode } from '../errors.ts';
import { HypervisorError } from '../errors.ts';
import type { Hypervisor } from '../hypervisor.ts';

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
 * - `smp`: VMs of two vCPUs;
 * - `resample`: `createInterrupt` with `onResample`;
 * - `levelInterrupts`: a level-triggered interrupt whose line is low by its end does not come again. A KVM whose local
 *   APICs are not those of hardware or of Linux may lack it;
 * - `tscWrites`: the x86 time stamp counter can be set;
 * - `files`: `mapMemory` with a file, for which the context has {@link ComplianceContext.createFile}.
 */
export type ComplianceFeature =
  'haltExits' | 'instructionClock' | 'smp' | 'resample' | 'levelInterrupts' | 'tscWrites' | 'files';

/** A regular file of its own, which disappears when it is disposed of. */
export interface ComplianceFile extends Disposable {
  readonly fd: number;
  /** Closes {@link fd}; once is enough. */
  close(): void;
  /** What the file holds. */
  read(): Uint8Array;
}

/** What a test is given. */
export interface ComplianceContext<H extends Hypervisor = Hypervisor> {
  readonly hypervisor: H;
  readonly assert: Assertions;
  /** Takes a measured value; nothing depends on it. */
  readonly report: (name: string, value: number, unit: string) => void;
  /** Makes a file; for the feature `files`. */
  readonly createFile?: (contents: Uint8Array) => ComplianceFile;
}

/** A test; it fails by rejecting. */
export interface ComplianceTest<H extends Hypervisor = Hypervisor> {
  readonly name: string;
  readonly requires: readonly ComplianceFeature[];
  readonly run: (context: ComplianceContext<H>) => Promise<void>;
}

/** Tests by topic. */
export type ComplianceSuite<H extends Hypervisor = Hypervisor> = Readonly<
  Record<string, readonly ComplianceTest<H>[]>
>;

/** Whether a backend with these features is to pass the test. */
export function applies(
  test: { readonly requires: readonly ComplianceFeature[] },
  features: readonly ComplianceFeature[],
): boolean {
  return test.requires.every((feature) => features.includes(feature));
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
