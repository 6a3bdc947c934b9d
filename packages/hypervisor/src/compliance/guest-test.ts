import type { Hypervisor } from '../hypervisor.ts';
import type { Machine, MachineOptions } from './machine.ts';
import type { GuestProgram } from './program.ts';
import type { ComplianceContext, ComplianceFeature, ComplianceTest } from './suite.ts';

/** What a test is given that holds for every architecture. */
export interface GuestContext extends ComplianceContext {
  createMachine(options?: MachineOptions): Promise<Machine>;
  /** A machine whose vCPU 0 is about to run the program. */
  running(write: (program: GuestProgram) => void, options?: MachineOptions): Promise<Machine>;
}

/** A test that holds for every architecture. */
export interface GuestTest {
  readonly name: string;
  readonly requires: readonly ComplianceFeature[];
  readonly run: (context: GuestContext) => Promise<void>;
}

/** Makes a test of a function that needs no particular feature. */
export function guestTest(
  name: string,
  run: GuestTest['run'],
  requires: readonly ComplianceFeature[] = [],
): GuestTest {
  return { name, requires, run };
}

/** How an architecture makes its machines. */
export type MachineFactory<H extends Hypervisor> = (
  context: ComplianceContext<H>,
  options: MachineOptions,
) => Promise<Machine>;

/** The tests on machines of one architecture. */
export function onMachines<H extends Hypervisor>(
  create: MachineFactory<H>,
  tests: readonly GuestTest[],
): readonly ComplianceTest<H>[] {
  return tests.map(({ name, requires, run }) => ({
    name,
    requires,
    run: async (context) => {
      const createMachine = async (options: MachineOptions = {}): Promise<Machine> =>
        create(context, options);
      await run({
        ...context,
        createMachine,
        running: async (write, options) => {
          const machine = await createMachine(options);
          machine.load(write);
          return machine;
        },
      });
    },
  }));
}
