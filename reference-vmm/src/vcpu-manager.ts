import type { ExitHandler, Vcpu } from '@vmm/hypervisor';

/** Runs the vCPUs on their threads. */
export class VcpuManager {
  readonly #vcpus: readonly Vcpu[];

  constructor(vcpus: readonly Vcpu[]) {
    this.#vcpus = vcpus;
  }

  /** Resolves when every thread has ended; rejects with what made one fail. */
  async run(handler: ExitHandler): Promise<void> {
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.start(handler)));
  }

  /** Instructions executed so far, by the vCPUs whose hypervisor counts them. */
  instructionCount(): number {
    return this.#vcpus.reduce(
      (sum, vcpu) => sum + (countsInstructions(vcpu) ? vcpu.instructionCount() : 0),
      0,
    );
  }

  async pause(): Promise<void> {
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.pause()));
  }

  resume(): void {
    for (const vcpu of this.#vcpus) vcpu.resume();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.stop()));
  }
}

function countsInstructions(vcpu: Vcpu): vcpu is Vcpu & { instructionCount(): number } {
  return 'instructionCount' in vcpu;
}
