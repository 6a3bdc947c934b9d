import type { X86Hypervisor, CpuidEntry } from '../../x86.ts';
import { COMMON_CAPABILITIES, KvmHypervisor } from '../hypervisor.ts';
import { system } from '../system-error.ts';
import type { KvmCapability } from '../uapi.ts';
import type { KvmVmContext } from '../vm.ts';
import { decodeCpuid, emptyCpuid } from './cpuid.ts';
import { KVM_GET_SUPPORTED_CPUID } from './uapi.ts';
import type { X86KvmVcpu } from './vcpu.ts';
import { X86KvmVm } from './vm.ts';

/** Capabilities without which {@link X86KvmHypervisor.createVm} refuses. */
export const X86_CAPABILITIES: readonly KvmCapability[] = [
  ...COMMON_CAPABILITIES,
  'IRQCHIP',
  'IRQ_ROUTING',
  'SIGNAL_MSI',
  'SET_TSS_ADDR',
  'SET_IDENTITY_MAP_ADDR',
  'EXT_CPUID',
  'ADJUST_CLOCK',
  'VCPU_EVENTS',
  'DEBUGREGS',
  'XSAVE',
  'XCRS',
];

/** Intel SDM Vol. 2, CPUID.01H:ECX.TSC_Deadline[24]. */
const CPUID_1_ECX_TSC_DEADLINE: number = 1 << 24;

/** KVM on x86-64. */
export class X86KvmHypervisor extends KvmHypervisor<X86KvmVcpu, X86KvmVm> implements X86Hypervisor {
  readonly arch = 'x86_64';
  protected override readonly needed: readonly KvmCapability[] = X86_CAPABILITIES;

  protected override makeVm(context: KvmVmContext): X86KvmVm {
    return new X86KvmVm(context);
  }

  protected override vmType(): number {
    return 0;
  }

  async supportedCpuid(): Promise<readonly CpuidEntry[]> {
    const { system: kvm } = await this.open();
    const bytes = emptyCpuid();
    system('KVM_GET_SUPPORTED_CPUID', () => kvm.native.ioctl(KVM_GET_SUPPORTED_CPUID, bytes));
    const entries = decodeCpuid(bytes);
    // KVM leaves it to whoever knows that there are local APICs in the kernel (api.rst 4.46).
    if (kvm.capability('TSC_DEADLINE_TIMER') === 0) return entries;
    return entries.map((entry) =>
      entry.function === 1 ? { ...entry, ecx: (entry.ecx | CPUID_1_ECX_TSC_DEADLINE) >>> 0 } : entry,
    );
  }
}
