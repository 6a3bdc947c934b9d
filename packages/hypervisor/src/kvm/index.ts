import { HypervisorUnavailableError } from '../errors.ts';
import { Aarch64KvmHypervisor } from './aarch64/hypervisor.ts';
import type { KvmHypervisorOptions } from './hypervisor.ts';
import { hostArch } from './hypervisor.ts';
import { X86KvmHypervisor } from './x86/hypervisor.ts';

export { diagnoseKvm, EMULATED_NANOSECONDS } from './diagnose.ts';
export type { KvmCheck, KvmDiagnosis, KvmDiagnosisOptions, KvmFinding } from './diagnose.ts';
export type { KvmHypervisorOptions } from './hypervisor.ts';
export type { KvmCapability } from './uapi.ts';
export type { NativeKvm } from './native.ts';
export { Aarch64KvmHypervisor } from './aarch64/hypervisor.ts';
export type { Aarch64KvmVm } from './aarch64/vm.ts';
export type { Aarch64KvmVcpu } from './aarch64/vcpu.ts';
export { X86KvmHypervisor } from './x86/hypervisor.ts';
export type { X86KvmVm } from './x86/vm.ts';
export type { X86KvmVcpu } from './x86/vcpu.ts';

/** KVM for x86-64 guests. Opens nothing before it is used. */
export function createKvmX86Hypervisor(options: KvmHypervisorOptions = {}): X86KvmHypervisor {
  return new X86KvmHypervisor(options);
}

/** KVM for AArch64 guests. Opens nothing before it is used. */
export function createKvmAarch64Hypervisor(options: KvmHypervisorOptions = {}): Aarch64KvmHypervisor {
  return new Aarch64KvmHypervisor(options);
}

/**
 * KVM for guests of the host's architecture.
 *
 * @throws HypervisorUnavailableError on a processor whose KVM this package does not know
 */
export function createKvmHypervisor(
  options: KvmHypervisorOptions = {},
): X86KvmHypervisor | Aarch64KvmHypervisor {
  switch (hostArch()) {
    case 'x86_64':
      return createKvmX86Hypervisor(options);
    case 'aarch64':
      return createKvmAarch64Hypervisor(options);
    default:
      throw new HypervisorUnavailableError(`there is no KVM for ${process.arch} here`);
  }
}
