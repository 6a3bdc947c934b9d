import { INSTRUCTION_NANOSECONDS, counter, nanosecondsUntil } from './clock';
import { gicPpi, gicSetPpi } from './gic';
import { CPU_TIMER_LEVELS, HEADER, HEADER_VCPU_COUNT, SYS_CNTP_CTL, SYS_CNTP_CVAL, SYS_CNTV_CTL, SYS_CNTV_CVAL } from './layout';
import { vcpuBlock } from './state';

// Generic timer, Arm ARM D11. CNTVOFF is 0, so that the virtual and the physical counter are the same.

/** Private peripheral interrupts of the timers (Arm Base System Architecture). */
const VIRTUAL_TIMER_INTID: u32 = 27;
const PHYSICAL_TIMER_INTID: u32 = 30;

const CTL_ENABLE: u64 = 1;
const CTL_IMASK: u64 = 2;
const CTL_ISTATUS: u64 = 4;

/** CNTx_CTL as read: with ISTATUS. */
export function timerControl(cpu: usize, ctl: u64, cval: u64): u64 {
  return (ctl & CTL_ENABLE) != 0 && counter(cpu) >= cval ? ctl | CTL_ISTATUS : ctl;
}

/** CNTx_TVAL as read. */
export function timerValue(cpu: usize, cval: u64): u64 {
  return (cval - counter(cpu)) & 0xffffffff;
}

/** CNTx_CVAL that a store to CNTx_TVAL makes. */
export function timerCompare(cpu: usize, tval: u64): u64 {
  return counter(cpu) + <u64><i64><i32>tval;
}

function fires(cpu: usize, ctl: u64, cval: u64): bool {
  return (ctl & (CTL_ENABLE | CTL_IMASK)) == CTL_ENABLE && counter(cpu) >= cval;
}

/** Brings the interrupt lines of both timers up to date. */
export function timerUpdate(cpu: usize): void {
  const virtual = fires(cpu, load<u64>(cpu, SYS_CNTV_CTL), load<u64>(cpu, SYS_CNTV_CVAL));
  const physical = fires(cpu, load<u64>(cpu, SYS_CNTP_CTL), load<u64>(cpu, SYS_CNTP_CVAL));
  const levels = u32(virtual) | (u32(physical) << 1);
  const changed = levels ^ load<u32>(cpu, CPU_TIMER_LEVELS);
  if (changed == 0) return;
  store<u32>(cpu, levels, CPU_TIMER_LEVELS);
  if (changed & 1) gicSetPpi(cpu, VIRTUAL_TIMER_INTID, virtual);
  if (changed & 2) gicSetPpi(cpu, PHYSICAL_TIMER_INTID, physical);
}

/** The state of the GIC was replaced while no vCPU ran: the lines are as that has them, until `timerUpdate`. */
export function timersRestored(): void {
  const count = load<u32>(HEADER, HEADER_VCPU_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const cpu = vcpuBlock(i);
    const levels = u32(gicPpi(cpu, VIRTUAL_TIMER_INTID)) | (u32(gicPpi(cpu, PHYSICAL_TIMER_INTID)) << 1);
    store<u32>(cpu, levels, CPU_TIMER_LEVELS);
  }
}

function untilFires(cpu: usize, ctl: u64, cval: u64): u64 {
  return (ctl & (CTL_ENABLE | CTL_IMASK)) == CTL_ENABLE ? nanosecondsUntil(cpu, cval) : ~<u64>0;
}

function untilRaised(cpu: usize, raised: u32, ctl: u64, cval: u64): u64 {
  const delay = untilFires(cpu, ctl, cval);
  return delay == 0 && raised != 0 ? ~<u64>0 : delay;
}

/**
 * Nanoseconds until a timer of the vCPU raises its line, 0 when one is about to, all ones when none will. A line
 * that is up already, and did not end the WFI, never will: the interrupt is disabled.
 */
export function timerNanoseconds(cpu: usize): u64 {
  const levels = load<u32>(cpu, CPU_TIMER_LEVELS);
  return min(
    untilRaised(cpu, levels & 1, load<u64>(cpu, SYS_CNTV_CTL), load<u64>(cpu, SYS_CNTV_CVAL)),
    untilRaised(cpu, levels & 2, load<u64>(cpu, SYS_CNTP_CTL), load<u64>(cpu, SYS_CNTP_CVAL)),
  );
}

/** Instruction clock: instructions until a timer that has not fired does, at most `limit`. */
export function instructionsUntilTimer(cpu: usize, limit: u32): u32 {
  const virtual = untilFires(cpu, load<u64>(cpu, SYS_CNTV_CTL), load<u64>(cpu, SYS_CNTV_CVAL));
  const physical = untilFires(cpu, load<u64>(cpu, SYS_CNTP_CTL), load<u64>(cpu, SYS_CNTP_CVAL));
  let delay = ~<u64>0;
  if (virtual != 0) delay = virtual;
  if (physical != 0 && physical < delay) delay = physical;
  const count = (delay - 1) / INSTRUCTION_NANOSECONDS + 1;
  return count < <u64>limit ? <u32>count : limit;
}

