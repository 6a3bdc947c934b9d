import { aarch64 } from '@vmm/arch';
import type { Aarch64Vcpu, ExitHandler, Vm } from '@vmm/hypervisor';

/** Creates the vCPUs, brings them into boot state, and runs them on their threads. */
export class VcpuManager {
  readonly vcpus: readonly Aarch64Vcpu[];

  constructor(vm: Vm<Aarch64Vcpu>, count: number, boot: aarch64.BootState) {
    this.vcpus = Array.from({ length: count }, (_, id) => {
      const vcpu = vm.createVcpu(id);
      return id === 0 ? aarch64.configureBootCpu(vcpu, boot) : aarch64.configureSecondaryCpu(vcpu);
    });
  }

  /** Resolves when every thread has ended; rejects with what made one fail. */
  async run(handler: ExitHandler): Promise<void> {
    await Promise.all(this.vcpus.map((vcpu) => vcpu.start(handler)));
  }

  /** Instructions executed so far, by the vCPUs whose hypervisor counts them. */
  instructionCount(): number {
    return this.vcpus.reduce(
      (sum, vcpu) => sum + (countsInstructions(vcpu) ? vcpu.instructionCount() : 0),
      0,
    );
  }

  async pause(): Promise<void> {
    await Promise.all(this.vcpus.map((vcpu) => vcpu.pause()));
  }

  resume(): void {
    for (const vcpu of this.vcpus) vcpu.resume();
  }

  async stop(): Promise<void> {
    await Promise.all(this.vcpus.map((vcpu) => vcpu.stop()));
  }
}

function countsInstructions(vcpu: Aarch64Vcpu): vcpu is Aarch64Vcpu & { instructionCount(): number } {
  return 'instructionCount' in vcpu;
}
