import type { VcpuExit } from './exit.ts';

/** `resume` lets a vCPU thread go on; `stop` ends it. */
export type ExitAction = 'resume' | 'stop';

/** Called on the thread that owns the VM, once per exit of a vCPU thread. */
export type ExitHandler = (exit: VcpuExit) => ExitAction;

/** Architecture-neutral part of a virtual CPU. */
export interface Vcpu extends Disposable {
  /** Index in the VM, from 0. */
  readonly id: number;

  /**
   * Runs the guest on the calling thread until something has to be done for it, as KVM_RUN does. The
   * previous exit, if it was a read, is completed with the value stored into it.
   *
   * @throws HypervisorError `WRONG_STATE` while a vCPU thread runs.
   */
  run(): VcpuExit;

  /** Brings a running `run()` or vCPU thread back with `interrupted`. Callable from any place of the owner. */
  kick(): void;

  /**
   * Runs the vCPU on a thread of its own. Every exit but `halt` and `interrupted` reaches `handler` on the
   * owner's event loop while the vCPU waits; `systemEvent` and `internalError` end the thread whatever the
   * handler answers. The promise settles when the thread has ended.
   */
  start(handler: ExitHandler): Promise<void>;

  /** Stops a vCPU thread between two instructions; resolves when it stands still. */
  pause(): Promise<void>;

  /** Lets a paused vCPU thread go on. */
  resume(): void;

  /** Ends a vCPU thread; resolves when it has ended. Harmless when there is none. */
  stop(): Promise<void>;

  /** Everything needed to go on elsewhere: plain, versioned data. Only while the vCPU stands still. */
  save(): VcpuState;

  /** @throws HypervisorError `INVALID_ARGUMENT` when the state is not one that `save()` made. */
  restore(state: VcpuState): void;
}

/** Plain data: structured-cloneable, versioned. */
export interface VcpuState {
  readonly version: number;
  readonly arch: 'aarch64' | 'x86_64';
  /** Register names to values; names are those of the architecture manual, lower case. */
  readonly registers: Readonly<Record<string, bigint>>;
  /** Backend-private remainder (pending exceptions, timers). */
  readonly opaque: Uint8Array;
}

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

  /** True for a vCPU that waits for PSCI CPU_ON (KVM_ARM_VCPU_POWER_OFF). */
  poweredOff: boolean;
}

/** Encoding of a system register for {@link Aarch64Vcpu.getSystemRegister}. */
export function sysreg(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}
