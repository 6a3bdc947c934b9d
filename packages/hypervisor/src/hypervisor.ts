import type { Vcpu } from './vcpu.ts';
import type { Vm, VmConfig } from './vm.ts';

/** Whether a backend can run stock guests here, and if not, why. */
export type ProbeResult =
  | { readonly available: true; readonly details: Readonly<Record<string, string>> }
  | { readonly available: false; readonly reason: string; readonly remedy: string };

/** A way of running virtual machines. */
export interface Hypervisor<V extends Vcpu = Vcpu, M extends Vm<V> = Vm<V>> {
  readonly name: 'wasm' | 'kvm';
  readonly arch: 'aarch64' | 'x86_64';
  readonly maxVcpus: number;
  /** Largest total of guest memory, in bytes. */
  readonly maxMemory: number;
  probe(): Promise<ProbeResult>;
  /** @throws HypervisorUnavailableError when the backend cannot run here. */
  createVm(config: VmConfig): Promise<M>;
}
