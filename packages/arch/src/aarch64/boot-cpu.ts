import type { Aarch64Vcpu } from '@vmm/hypervisor';

/** SPSR layout: EL1 with SP_EL1 (EL1h), D, A, I and F masked (Arm ARM C5.2.19; booting.rst §4). */
const PSTATE_EL1H_DAIF = 0x3c5n;

/** Where the boot CPU starts. */
export interface BootState {
  /** Guest physical address of the kernel's first instruction. */
  readonly entry: number;
  /** Guest physical address of the device tree. */
  readonly deviceTree: number;
}

/**
 * Brings a vCPU that is in its reset state (MMU and caches off) to where Linux wants the boot CPU (Linux
 * Documentation/arch/arm64/booting.rst §4): device tree address in x0, x1…x3 zero, EL1, exceptions masked.
 *
 * @returns the vCPU
 * @throws HypervisorError from the vCPU
 */
export function configureBootCpu<V extends Aarch64Vcpu>(vcpu: V, boot: BootState): V {
  vcpu.setRegister('x0', BigInt(boot.deviceTree));
  vcpu.setRegister('x1', 0n);
  vcpu.setRegister('x2', 0n);
  vcpu.setRegister('x3', 0n);
  vcpu.setRegister('pc', BigInt(boot.entry));
  vcpu.setRegister('pstate', PSTATE_EL1H_DAIF);
  vcpu.poweredOff = false;
  return vcpu;
}

/** Leaves a vCPU waiting for PSCI CPU_ON, as all but the boot CPU start, and returns it. */
export function configureSecondaryCpu<V extends Aarch64Vcpu>(vcpu: V): V {
  vcpu.poweredOff = true;
  return vcpu;
}
