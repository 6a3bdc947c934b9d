import type { Hypervisor } from './hypervisor.ts';
import type { Vcpu } from './vcpu.ts';
import type { Vm } from './vm.ts';

/**
 * Names of AArch64 core registers for {@link Aarch64Vcpu}: `x0`…`x30`, `sp_el0`, `sp_el1`, `pc`,
 * `pstate` (SPSR layout), `v0`…`v31` (128 bits), `fpcr`, `fpsr`.
 */
export type Aarch64CoreRegister =
  `x${number}` | `v${number}` | 'sp_el0' | 'sp_el1' | 'pc' | 'pstate' | 'fpcr' | 'fpsr';

/** An AArch64 virtual CPU (EL0 and EL1). */
export interface Aarch64Vcpu extends Vcpu {
  /** @throws HypervisorError `INVALID_ARGUMENT` for an unknown name. */
  getRegister(name: Aarch64CoreRegister): bigint;
  setRegister(name: Aarch64CoreRegister, value: bigint): void;

  /**
   * System register by its MRS/MSR encoding, op0:op1:CRn:CRm:op2 in bits 15:0 (Arm ARM C5.3), as
   * KVM_ARM64_SYS_REG numbers them. See {@link sysreg}.
   *
   * @throws HypervisorError `INVALID_ARGUMENT` for a register that the vCPU does not have.
   */
  getSystemRegister(encoding: number): bigint;
  setSystemRegister(encoding: number, value: bigint): void;

  /** True for a vCPU that waits for PSCI CPU_ON (KVM_MP_STATE_STOPPED). At first it is false. */
  poweredOff: boolean;
}

/** Encoding of a system register for {@link Aarch64Vcpu.getSystemRegister}. */
export function sysreg(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

/** Where a GICv3 sits in guest physical memory. */
export interface GicV3Config {
  /** GICD base; 64 KiB. */
  readonly distributor: number;
  /** Base of the redistributors; 128 KiB for each vCPU. */
  readonly redistributor: number;
  /** Interrupt identifiers, 64…992 in steps of 32, or 1020 (not with KVM): SPIs are 32…irqs-1. */
  readonly irqs: number;
}

/** Where a GICv2 sits in guest physical memory. */
export interface GicV2Config {
  /** GICD base; 4 KiB. */
  readonly distributor: number;
  /** GICC base; 8 KiB. */
  readonly cpuInterface: number;
  /** Interrupt identifiers, 64…992 in steps of 32, or 1020 (not with KVM): SPIs are 32…irqs-1. */
  readonly irqs: number;
}

/**
 * An interrupt controller that lives beside the vCPUs (in the kernel, or in the engine). With KVM no vCPU can be created
 * once it is used or a vCPU has run.
 */
export interface HypervisorGic {
  readonly version: 2 | 3;
  /** Sets the level of a shared peripheral interrupt, by INTID (32…). Callable at any time on the owner thread. */
  setSpi(intid: number, level: boolean): void;
  /** A rising edge: latches the interrupt when it is configured as edge-triggered. */
  pulseSpi(intid: number): void;
  /** Only while all vCPUs stand still. */
  save(): GicState;
  /**
   * Only while all vCPUs stand still. Comes after the states of the vCPUs, since restoring one resets its part of the
   * interrupt controller.
   *
   * @throws HypervisorError `INVALID_ARGUMENT` when the state is not one that `save()` made of such a controller
   */
  restore(state: GicState): void;
}

/** Plain, versioned state of a hypervisor's interrupt controller. */
export interface GicState {
  readonly version: number;
  readonly model: string;
  readonly opaque: Uint8Array;
}

/** A VM of {@link Aarch64Vcpu}s. */
export interface Aarch64Vm<V extends Aarch64Vcpu = Aarch64Vcpu> extends Vm<V> {
  /** GIC versions that {@link createGicV2} and {@link createGicV3} can make here. */
  readonly gicVersions: readonly (2 | 3)[];

  /**
   * Once for each VM, before its vCPUs run.
   *
   * @throws HypervisorError `INVALID_ARGUMENT`, `WRONG_STATE`, `UNSUPPORTED`
   */
  createGicV3(config: GicV3Config): HypervisorGic;

  /** As {@link createGicV3}; at most 8 vCPUs. */
  createGicV2(config: GicV2Config): HypervisorGic;
}

export type Aarch64Hypervisor = Hypervisor<Aarch64Vcpu, Aarch64Vm>;
