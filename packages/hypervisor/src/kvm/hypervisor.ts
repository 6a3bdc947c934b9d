import { HypervisorError, HypervisorUnavailableError } from '../errors.ts';
import type { Hypervisor, ProbeResult } from '../hypervisor.ts';
import type { VmConfig } from '../vm.ts';
import { checkVmConfig } from '../vm-config.ts';
import type { KvmHost } from './host.ts';
import { nodeKvmHost } from './host.ts';
import type { NativeKvm } from './native.ts';
import { KVM_DEVICE, KvmSystem } from './system.ts';
import type { KvmCapability } from './uapi.ts';
import type { KvmVcpu } from './vcpu.ts';
import type { KvmVm, KvmVmContext } from './vm.ts';

/** vCPUs that a VM may have; KVM may allow fewer. */
const MAX_VCPUS = 64;

/** Memory that a VM may have: 1 TiB. */
const MAX_MEMORY: number = 2 ** 40;

/** Capabilities without which no VM works; architectures need more. */
export const COMMON_CAPABILITIES: readonly KvmCapability[] = [
  'USER_MEMORY',
  'IRQFD',
  'IOEVENTFD',
  'COALESCED_MMIO',
  'MP_STATE',
  'IMMEDIATE_EXIT',
];

/** Choices of the functions that create a KVM hypervisor. */
export interface KvmHypervisorOptions {
  /** Device node. Default `/dev/kvm`. */
  readonly device?: string;
  /** For tests: the addon, or what stands for it. Default: that of this package, loaded when it is needed. */
  readonly native?: NativeKvm;
}

/** What the backends of the architectures share. Nothing is opened or loaded before it is used. */
export abstract class KvmHypervisor<V extends KvmVcpu, M extends KvmVm<V>> implements Hypervisor<V, M> {
  readonly name = 'kvm';
  abstract readonly arch: 'aarch64' | 'x86_64';
  readonly maxVcpus: number = MAX_VCPUS;
  readonly maxMemory: number = MAX_MEMORY;
  readonly #options: KvmHypervisorOptions;
  #opened: Promise<{ readonly host: KvmHost; readonly system: KvmSystem }> | undefined;

  constructor(options: KvmHypervisorOptions) {
    this.#options = options;
  }

  /** Capabilities without which {@link createVm} refuses. */
  protected abstract readonly needed: readonly KvmCapability[];

  protected abstract makeVm(context: KvmVmContext): M;

  /** Argument of KVM_CREATE_VM. */
  protected abstract vmType(system: KvmSystem): number;

  /** Whether a VM can be made here. How fast it is: `diagnoseKvm()`. */
  async probe(): Promise<ProbeResult> {
    const { probeKvm } = await import('./diagnose.ts');
    return probeKvm(this.arch, this.#options);
  }

  async createVm(config: VmConfig): Promise<M> {
    checkVmConfig(config, this);
    if (config.clock === 'instructions') {
      throw new HypervisorError('UNSUPPORTED', "clock 'instructions' needs the software hypervisor");
    }
    const { host, system } = await this.open();
    const most = system.capability('MAX_VCPUS') || system.capability('NR_VCPUS');
    if (config.vcpus > most && most > 0) {
      throw new HypervisorError('INVALID_ARGUMENT', `${config.vcpus} vCPUs: this KVM allows ${most}`);
    }
    return this.makeVm({ host, system, config: { ...config }, type: this.vmType(system) });
  }

  /** @throws HypervisorUnavailableError */
  protected async open(): Promise<{ readonly host: KvmHost; readonly system: KvmSystem }> {
    this.#opened ??= openKvm(this.arch, this.#options, this.needed);
    try {
      return await this.#opened;
    } catch (error) {
      // What is missing may be there the next time.
      this.#opened = undefined;
      throw error;
    }
  }
}

async function openKvm(
  arch: KvmHypervisor<KvmVcpu, KvmVm<KvmVcpu>>['arch'],
  options: KvmHypervisorOptions,
  needed: readonly KvmCapability[],
): Promise<{ readonly host: KvmHost; readonly system: KvmSystem }> {
  const native = options.native ?? (await loadFor(arch));
  const host = nodeKvmHost(native, options.device ?? KVM_DEVICE);
  return { host, system: KvmSystem.open(native, host.device, needed) };
}

/**
 * The addon, on a host that runs guests of this architecture.
 *
 * @throws HypervisorUnavailableError
 */
export async function loadFor(arch: 'aarch64' | 'x86_64'): Promise<NativeKvm> {
  const found = hostArch();
  if (process.platform !== 'linux') {
    throw new HypervisorUnavailableError(`KVM is part of Linux, and this is ${process.platform}`);
  }
  if (found !== arch) {
    throw new HypervisorUnavailableError(
      `KVM runs guests of the host's architecture, which is ${found ?? process.arch}, and not ${arch}`,
    );
  }
  const { loadNativeKvm } = await import('./load.ts');
  return loadNativeKvm();
}

/** Architecture of the guests that this machine's KVM runs, if it is one that this package knows. */
export function hostArch(): 'aarch64' | 'x86_64' | undefined {
  if (process.arch === 'x64') return 'x86_64';
  return process.arch === 'arm64' ? 'aarch64' : undefined;
}
