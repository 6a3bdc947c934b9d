import type { Aarch64CoreRegister } from './aarch64.ts';
import { sysreg } from './aarch64.ts';
import { HypervisorError } from './errors.ts';

/** Names of all core registers. */
export const CORE_REGISTERS: readonly Aarch64CoreRegister[] = [
  ...Array.from({ length: 31 }, (_, n): Aarch64CoreRegister => `x${n}`),
  'sp_el0',
  'sp_el1',
  'pc',
  'pstate',
  'fpcr',
  'fpsr',
  ...Array.from({ length: 32 }, (_, n): Aarch64CoreRegister => `v${n}`),
];

/**
 * Checks a value of PSTATE in SPSR layout (Arm ARM C5.2.18): AArch64 state at EL0t, EL1t or EL1h.
 *
 * @throws HypervisorError `INVALID_ARGUMENT`
 */
export function checkPstate(value: bigint): void {
  const mode = value & 0x1fn;
  if (mode !== 0x0n && mode !== 0x4n && mode !== 0x5n) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `pstate 0x${value.toString(16)}: mode 0x${mode.toString(16)} is none of EL0t (0), EL1t (4), EL1h (5)`,
    );
  }
}

function debugRegisters(): [string, number][] {
  return Array.from({ length: 16 }, (_, n): [string, number][] => [
    [`dbgbvr${n}_el1`, sysreg(2, 0, 0, n, 4)],
    [`dbgbcr${n}_el1`, sysreg(2, 0, 0, n, 5)],
    [`dbgwvr${n}_el1`, sysreg(2, 0, 0, n, 6)],
    [`dbgwcr${n}_el1`, sysreg(2, 0, 0, n, 7)],
  ]).flat();
}

/**
 * System registers that make up the state of a vCPU (Arm ARM D23.2 to D23.8). Identification registers are not
 * among them, as they belong to the engine; nor are ICC_*_EL1, which belong to the interrupt controller, as in KVM.
 */
export const STATE_SYSTEM_REGISTERS: ReadonlyMap<string, number> = new Map([
  ['sctlr_el1', sysreg(3, 0, 1, 0, 0)],
  ['actlr_el1', sysreg(3, 0, 1, 0, 1)],
  ['cpacr_el1', sysreg(3, 0, 1, 0, 2)],
  ['ttbr0_el1', sysreg(3, 0, 2, 0, 0)],
  ['ttbr1_el1', sysreg(3, 0, 2, 0, 1)],
  ['tcr_el1', sysreg(3, 0, 2, 0, 2)],
  ['spsr_el1', sysreg(3, 0, 4, 0, 0)],
  ['elr_el1', sysreg(3, 0, 4, 0, 1)],
  ['afsr0_el1', sysreg(3, 0, 5, 1, 0)],
  ['afsr1_el1', sysreg(3, 0, 5, 1, 1)],
  ['esr_el1', sysreg(3, 0, 5, 2, 0)],
  ['far_el1', sysreg(3, 0, 6, 0, 0)],
  ['par_el1', sysreg(3, 0, 7, 4, 0)],
  ['mair_el1', sysreg(3, 0, 10, 2, 0)],
  ['amair_el1', sysreg(3, 0, 10, 3, 0)],
  ['vbar_el1', sysreg(3, 0, 12, 0, 0)],
  ['contextidr_el1', sysreg(3, 0, 13, 0, 1)],
  ['tpidr_el1', sysreg(3, 0, 13, 0, 4)],
  ['tpidr_el0', sysreg(3, 3, 13, 0, 2)],
  ['tpidrro_el0', sysreg(3, 3, 13, 0, 3)],
  ['csselr_el1', sysreg(3, 2, 0, 0, 0)],
  ['cntkctl_el1', sysreg(3, 0, 14, 1, 0)],
  ['cntp_ctl_el0', sysreg(3, 3, 14, 2, 1)],
  ['cntp_cval_el0', sysreg(3, 3, 14, 2, 2)],
  ['cntv_ctl_el0', sysreg(3, 3, 14, 3, 1)],
  ['cntv_cval_el0', sysreg(3, 3, 14, 3, 2)],
  ['mdscr_el1', sysreg(2, 0, 0, 2, 2)],
  ['mdccint_el1', sysreg(2, 0, 0, 2, 0)],
  ['osdlr_el1', sysreg(2, 0, 1, 3, 4)],
  ['osdtrrx_el1', sysreg(2, 0, 0, 0, 2)],
  ['oseccr_el1', sysreg(2, 0, 0, 6, 2)],
  ...debugRegisters(),
]);
