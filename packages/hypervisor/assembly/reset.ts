import { dropMaintenance } from './decode-cache';
import { updateDerived } from './exceptions';
import { gicCpuReset } from './gic';
import {
  CPU_ATTENTION, CPU_DAIF, CPU_EL, CPU_INDEX, CPU_INSTRUCTIONS, CPU_SLICE, CPU_SPSEL, CPU_X, MMIO_COUNT,
  MMIO_CURSOR, MMIO_OPEN, SYS_MPIDR, SYS_SCTLR, VCPU_BASE, VCPU_STRIDE,
} from './layout';
import { setNZCV } from './state';
import { resetBanks } from './tlb';

const SCTLR_RESET: u64 = 0x30d00800;
/** RES1, not part of a cluster of threads; Aff0 is the index. */
const MPIDR_RES1: u64 = 0x80000000;

/** Architectural reset state, MMU off, EL1h, all interrupts masked, PC 0. Keeps power state and instruction count. */
export function resetVcpu(cpu: usize): void {
  const index = (<u32>cpu - VCPU_BASE) / VCPU_STRIDE;
  memory.fill(cpu + CPU_X, 0, CPU_INSTRUCTIONS);
  memory.fill(cpu + CPU_SLICE, 0, CPU_ATTENTION - CPU_SLICE);
  store<u32>(cpu, index, CPU_INDEX);
  store<u64>(cpu, SCTLR_RESET, SYS_SCTLR);
  store<u64>(cpu, MPIDR_RES1 | index, SYS_MPIDR);
  store<u32>(cpu, 1, CPU_EL);
  store<u32>(cpu, 1, CPU_SPSEL);
  store<u32>(cpu, 0x3c0, CPU_DAIF);
  setNZCV(cpu, 0);
  store<u32>(cpu, 0, MMIO_COUNT);
  store<u32>(cpu, 0, MMIO_CURSOR);
  store<u32>(cpu, 0, MMIO_OPEN);
  dropMaintenance(cpu);
  resetBanks(cpu);
  updateDerived(cpu);
  gicCpuReset(cpu);
}
