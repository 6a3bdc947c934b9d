import type { X86Hypervisor } from '../../x86.ts';
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
import { exitTests as x86ExitTests } from './exits.ts';
import { interruptTests as x86InterruptTests } from './interrupts.ts';
import { X86Machine } from './machine.ts';
import { portTests } from './ports.ts';
import { registerTests } from './registers.ts';
import { smpTests as x86SmpTests } from './smp.ts';
import { stateTests as x86StateTests } from './state.ts';

const create = X86Machine.create.bind(X86Machine);

/** Every test for an x86-64 backend, by topic. */
export const x86Compliance: ComplianceSuite<X86Hypervisor> = {
  registers: registerTests,
  memory: onMachines(create, [...memoryTests, ...memoryFileTests]),
  'dirty log': onMachines(create, dirtyLogTests),
  exits: [...onMachines(create, exitTests), ...x86ExitTests],
  notifications: [...onMachines(create, notificationTests), ...portTests],
  interrupts: [...onMachines(create, interruptTests), ...x86InterruptTests],
  threads: onMachines(create, threadTests),
  state: [...onMachines(create, stateTests), ...x86StateTests],
  lifecycle: onMachines(create, lifecycleTests),
  smp: [...onMachines(create, smpTests), ...x86SmpTests],
};
