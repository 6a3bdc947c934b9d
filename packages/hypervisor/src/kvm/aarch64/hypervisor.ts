import type { Aarch64Hypervisor } from '../../aarch64.ts';
import { COMMON_CAPABILITIES, KvmHypervisor } from '../hypervisor.ts';
import type { KvmSystem } from '../system.ts';
import { system } from '../system-error.ts';
import type { KvmCapability } from '../uapi.ts';
import type { KvmVmContext } from '../vm.ts';
import type { Aarch64KvmVcpu } from './vcpu.ts';
import { Aarch64KvmVm, GIC_DEVICES } from './vm.ts';

/** Capabilities without which {@link Aarch64KvmHypervisor.createVm} refuses. */
export const AARCH64_CAPABILITIES: readonly KvmCapability[] = [
  ...COMMON_CAPABILITIES,
  'ONE_REG',
  'DEVICE_CTRL',
  'ARM_PSCI_0_2',
  'VCPU_EVENTS',
];

/** Bits of guest physical address that stage 2 translates with as many levels as it does 40 (Arm ARM D8.2). */
const WANTED_IPA_BITS = 43;

/** KVM on arm64. */
export class Aarch64KvmHypervisor
  extends KvmHypervisor<Aarch64KvmVcpu, Aarch64KvmVm>
  implements Aarch64Hypervisor
{
  readonly arch = 'aarch64';
  protected override readonly needed: readonly KvmCapability[] = AARCH64_CAPABILITIES;
  #gicVersions: readonly (2 | 3)[] | undefined;

  protected override makeVm(context: KvmVmContext): Aarch64KvmVm {
    this.#gicVersions ??= gicVersions(context);
    return new Aarch64KvmVm(context, this.#gicVersions);
  }

  /** 0 stands for 40 bits, where the kernel does not tell. */
  protected override vmType(kvm: KvmSystem): number {
    return aarch64VmType(kvm);
  }
}

/** Argument of KVM_CREATE_VM. */
export function aarch64VmType(kvm: KvmSystem): number {
  return Math.min(kvm.capability('ARM_VM_IPA_SIZE'), WANTED_IPA_BITS);
}

/** A VM has one GIC for ever, so that each version is tried with a VM of its own. */
function gicVersions({ system: kvm, type }: KvmVmContext): readonly (2 | 3)[] {
  return ([2, 3] as const).filter((version) => {
    const vm = system('creating a VM', () => kvm.native.createVm(type, () => undefined));
    try {
      vm.createDevice(GIC_DEVICES[version]);
      return true;
    } catch {
      return false;
    } finally {
      vm.close();
    }
  });
}
