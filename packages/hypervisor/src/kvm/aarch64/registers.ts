import type { Aarch64CoreRegister } from '../../aarch64.ts';
import { sysreg } from '../../aarch64.ts';
import { CORE_REGISTERS, STATE_SYSTEM_REGISTERS } from '../../aarch64-registers.ts';
import { HypervisorError } from '../../errors.ts';
import { hex } from '../../validate.ts';
import {
  CORE_REG,
  KVM_REG_ARM64_SYSREG,
  KVM_REG_ARM64_U128,
  KVM_REG_ARM64_U32,
  KVM_REG_ARM64_U64,
  KVM_REG_ARM_CORE,
  REG_SIZE_MASK,
  REG_SIZE_SHIFT,
} from './uapi.ts';

/** Id of a register for KVM_GET_ONE_REG, in halves. */
export interface RegisterId {
  readonly low: number;
  readonly high: number;
}

const ELR_EL1 = sysreg(3, 0, 4, 0, 1);
const SPSR_EL1 = sysreg(3, 0, 4, 0, 0);
const CNTVCT_EL0 = sysreg(3, 3, 14, 0, 2);
const CNTV_CVAL_EL0 = sysreg(3, 3, 14, 3, 2);

const SPECIAL: ReadonlyMap<string, RegisterId> = new Map([
  ['sp_el0', core(CORE_REG.SP)],
  ['sp_el1', core(CORE_REG.SP_EL1)],
  ['pc', core(CORE_REG.PC)],
  ['pstate', core(CORE_REG.PSTATE)],
  ['fpsr', core(CORE_REG.FPSR, KVM_REG_ARM64_U32)],
  ['fpcr', core(CORE_REG.FPCR, KVM_REG_ARM64_U32)],
]);

const CORE: ReadonlyMap<string, RegisterId> = new Map(
  CORE_REGISTERS.map((name): [string, RegisterId] => {
    const special = SPECIAL.get(name);
    if (special !== undefined) return [name, special];
    const number = Number(name.slice(1));
    return name.startsWith('x')
      ? [name, core(CORE_REG.X0 + 2 * number)]
      : [name, core(CORE_REG.V0 + 4 * number, KVM_REG_ARM64_U128)];
  }),
);

function core(offset: number, high = KVM_REG_ARM64_U64): RegisterId {
  return { low: KVM_REG_ARM_CORE | offset, high };
}

/** @throws HypervisorError `INVALID_ARGUMENT` for a name that is not a core register. */
export function coreRegisterId(name: Aarch64CoreRegister): RegisterId {
  const id = CORE.get(name);
  if (id === undefined) {
    throw new HypervisorError('INVALID_ARGUMENT', `'${name}' is not an AArch64 core register`);
  }
  return id;
}

/**
 * @param encoding as `sysreg` makes it
 * @throws HypervisorError `INVALID_ARGUMENT` for what is no encoding
 */
export function systemRegisterId(encoding: number): RegisterId {
  if (!Number.isInteger(encoding) || encoding < 0 || encoding > 0xffff) {
    throw new HypervisorError(
      'INVALID_ARGUMENT',
      `${hex(encoding)} is not the encoding of a system register`,
    );
  }
  // KVM has these two among the core registers.
  if (encoding === ELR_EL1) return core(CORE_REG.ELR_EL1);
  if (encoding === SPSR_EL1) return core(CORE_REG.SPSR_EL1);
  return { low: KVM_REG_ARM64_SYSREG | kvmEncoding(encoding), high: KVM_REG_ARM64_U64 };
}

/** KVM_REG_ARM_TIMER_CVAL and KVM_REG_ARM_TIMER_CNT have each other's encoding (asm/kvm.h). */
function kvmEncoding(encoding: number): number {
  if (encoding === CNTVCT_EL0) return CNTV_CVAL_EL0;
  return encoding === CNTV_CVAL_EL0 ? CNTVCT_EL0 : encoding;
}

/** Bytes of a register's value. */
export function registerSize({ high }: RegisterId): number {
  return 1 << ((high & REG_SIZE_MASK) >>> REG_SIZE_SHIFT);
}

/** Registers that a saved state names: core registers, and system registers that not every KVM has. */
export const NAMED_REGISTERS: ReadonlyMap<string, RegisterId> = new Map([
  ...CORE,
  ...[...STATE_SYSTEM_REGISTERS].map(([name, encoding]): [string, RegisterId] => [
    name,
    systemRegisterId(encoding),
  ]),
]);

/** A key for maps. */
export function registerKey({ low, high }: RegisterId): string {
  return `${high.toString(16)}:${low.toString(16)}`;
}
