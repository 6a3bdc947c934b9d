import { hostNanoseconds } from './host';
import { CPU_LEFT, CPU_SLICE, HEADER, HEADER_CLOCK, HEADER_CLOCK_MODE } from './layout';

/** CNTFRQ_EL0: 62.5 MHz, one tick is 16 ns. */
export const COUNTER_FREQUENCY: u64 = 62500000;
const TICK_LOG2: u64 = 4;
/** Virtual nanoseconds of an instruction. */
export const INSTRUCTION_NANOSECONDS: u64 = 8;

// @ts-ignore: decorator
@inline
export function instructionClock(): bool {
  return load<u32>(HEADER, HEADER_CLOCK_MODE) != 0;
}

/** Virtual time in nanoseconds. */
export function clockNanoseconds(cpu: usize): u64 {
  const clock = load<u64>(HEADER, HEADER_CLOCK);
  if (!instructionClock()) return <u64>hostNanoseconds() - clock;
  return clock + <u64>(load<u32>(cpu, CPU_SLICE) - load<u32>(cpu, CPU_LEFT)) * INSTRUCTION_NANOSECONDS;
}

/** CNTVCT_EL0 and CNTPCT_EL0. */
export function counter(cpu: usize): u64 {
  return clockNanoseconds(cpu) >> TICK_LOG2;
}

/** Makes `counter` go on from `value`. */
export function setCounter(cpu: usize, value: u64): void {
  const delta = (value << TICK_LOG2) - clockNanoseconds(cpu);
  const clock = load<u64>(HEADER, HEADER_CLOCK);
  store<u64>(HEADER, instructionClock() ? clock + delta : clock - delta, HEADER_CLOCK);
}

/** Nanoseconds from now until the counter reaches `value`; 0 when it has. */
export function nanosecondsUntil(cpu: usize, value: u64): u64 {
  const now = clockNanoseconds(cpu);
  if (now >> TICK_LOG2 >= value) return 0;
  const ticks = value - (now >> TICK_LOG2);
  if (ticks >> 58) return ~<u64>0;
  return (ticks << TICK_LOG2) - (now & 15);
}

/** Instruction clock: accounts for instructions that have run. */
export function advanceInstructions(count: u64): void {
  if (instructionClock()) atomic.add<u64>(HEADER + HEADER_CLOCK, count * INSTRUCTION_NANOSECONDS);
}
