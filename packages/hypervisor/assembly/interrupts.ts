import { PSTATE_F, PSTATE_I, takeFiq, takeIrq } from './exceptions';
import { gicFiqPending, gicIrqPending } from './gic';
import { CPU_DAIF } from './layout';

/** Interrupts that the GIC signals to this vCPU, masked or not, as bits of PSTATE.DAIF. */
export function pendingInterrupts(cpu: usize): u32 {
  return gicIrqPending(cpu) ? PSTATE_I : gicFiqPending(cpu) ? PSTATE_F : 0;
}

/** Takes the interrupt that is signalled, unless it is masked. */
export function takeInterrupt(cpu: usize): void {
  const taken = pendingInterrupts(cpu) & ~load<u32>(cpu, CPU_DAIF);
  if (taken & PSTATE_I) takeIrq(cpu);
  else if (taken & PSTATE_F) takeFiq(cpu);
}
