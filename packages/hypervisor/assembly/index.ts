// What the module exports (ENGINE.md, "Exports").
import { gicReset, gicRestored as restored } from './gic';
import { DECODE_SLOT_COUNT, HEADER, HEADER_DECODE_LIMIT } from './layout';
import { fillTables } from './tables';
import { timersRestored } from './timer';

export * from './layout';
export { GIC_STATE_SIZE } from './gic-layout';
export { gicReset };
export { revokeWrites, writesRevoked } from './dirty-log';
export { run, vcpuReset, memoryChanged } from './run';
export {
  advanceClock, getRegister, getSystemRegister, hasSystemRegister, instructionCount, setRegister, setSystemRegister,
  timerDelay,
} from './access';

/** Fills constant tables and the header's limit; once per memory, before anything else. */
export function engineInit(): void {
  store<u32>(HEADER, DECODE_SLOT_COUNT, HEADER_DECODE_LIMIT);
  fillTables();
}

/** See `gicRestored` in gic.ts. */
export function gicRestored(): void {
  restored();
  timersRestored();
}
