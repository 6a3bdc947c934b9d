import type { Aarch64Hypervisor } from '../../aarch64.ts';
import { dirtyLogTests } from '../dirty-log.ts';
import { exitTests } from '../exits.ts';
import { onMachines } from '../guest-test.ts';
import { interruptTests } from '../interrupts.ts';
import { lifecycleTests } from '../lifecycle.ts';
import { memoryFileTests } from '../memory-file.ts';
import { memoryTests } from '../memory.ts';
import { notificationTests } from '../notifications.ts';
import { smpTests } from '../smp.ts';
import { stateTests } from '../state.ts';
import type { ComplianceSuite } from '../suite.ts';
import { threadTests } from '../threads.ts';
import { exitTests as aarch64ExitTests } from './exits.ts';
import { interruptTests as aarch64InterruptTests } from './interrupts.ts';
import { Aarch64Machine } from './machine.ts';
import { registerTests } from './registers.ts';
import { smpTests as aarch64SmpTests } from './smp.ts';
import { stateTests as aarch64StateTests } from './state.ts';

const create = Aarch64Machine.create.bind(Aarch64Machine);

/** Every test for an AArch64 backend, by topic. */
export const aarch64Compliance: ComplianceSuite<Aarch64Hypervisor> = {
  registers: registerTests,
  memory: onMachines(create, [...memoryTests, ...memoryFileTests]),
  'dirty log': onMachines(create, dirtyLogTests),
  exits: [...onMachines(create, exitTests), ...aarch64ExitTests],
  notifications: onMachines(create, notificationTests),
  interrupts: [...onMachines(create, interruptTests), ...aarch64InterruptTests],
  threads: onMachines(create, threadTests),
  state: [...onMachines(create, stateTests), ...aarch64StateTests],
  lifecycle: onMachines(create, lifecycleTests),
  smp: [...onMachines(create, smpTests), ...aarch64SmpTests],
};
