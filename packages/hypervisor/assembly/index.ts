// What the module exports (ENGINE.md, "Exports").
import { gicReset, gicRestored } from './gic';
import { fillTables } from './tables';

export * from './layout';
export { GIC_STATE_SIZE } from './gic-layout';
export { gicReset, gicRestored };
export { run, vcpuReset, memoryChanged } from './run';
export {
  advanceClock, getRegister, getSystemRegister, hasSystemRegister, instructionCount, setRegister, setSystemRegister,
  timerDelay,
} from './access';

/** Fills constant tables; once per memory, before anything else. */
export function engineInit(): void {
  fillTables();
}
