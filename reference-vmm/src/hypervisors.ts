import type { Aarch64Hypervisor, ProbeResult, X86Hypervisor } from '@vmm/hypervisor';
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { type ConfigLimits, MAX_CPUS, type VmmConfig } from './config.ts';
import { VmmError } from './errors.ts';
import { kernelArchitecture } from './kernel-architecture.ts';
import type { Architecture } from './machine/machine.ts';

/** A hypervisor for the guests of one architecture, which `arch` tells. */
export type AnyHypervisor = (Aarch64Hypervisor & { readonly arch: 'aarch64' }) | X86Hypervisor;

/** Which hypervisor a VM asks for; `auto`: KVM when it can run stock guests of the architecture here. */
export type HypervisorChoice = 'auto' | 'kvm' | 'wasm';

/** KVM of this machine. */
export interface KvmOfHost {
  /** The architecture of the guests that it can have; undefined on a machine without KVM's kind of processor. */
  readonly arch: Architecture | undefined;
  /** Whether it can run stock guests: there, accessible, backed by hardware. */
  probe(): Promise<ProbeResult>;
  create(): AnyHypervisor;
}

/** What {@link selectHypervisor} chooses from. */
export interface Hypervisors {
  readonly kvm: KvmOfHost;
  readonly wasm: () => AnyHypervisor;
}

/** A hypervisor, and what was to be said of the choice. */
export interface Selection {
  readonly hypervisor: AnyHypervisor;
  readonly limits: ConfigLimits;
  /** One line, when it was left to us. */
  readonly notice?: string;
}

type Request = Pick<VmmConfig, 'hypervisor' | 'arch' | 'kernel'>;

/**
 * Finds the hypervisor for a VM.
 *
 * An architecture that is not given is the kernel's, where its format tells; else that of the hypervisor, and with `auto`
 * the host's if KVM can run here.
 *
 * @throws VmmError `HYPERVISOR_UNAVAILABLE`, with the reason and what to do; `FILE_NOT_FOUND`, `FILE_UNREADABLE` for the
 *   kernel
 */
export async function selectHypervisor(request: Request, hypervisors: Hypervisors): Promise<Selection> {
  const arch =
    request.arch ?? (request.kernel === undefined ? undefined : kernelArchitecture(request.kernel));
  switch (request.hypervisor ?? 'auto') {
    case 'kvm':
      return checked(kvmFor(arch, hypervisors.kvm));
    case 'wasm':
      if (arch === 'x86_64')
        throw unavailable('wasm: the software hypervisor runs aarch64 guests only', X86_REMEDY);
      return checked(hypervisors.wasm());
    case 'auto':
      return automatic(arch, hypervisors);
  }
}

const X86_REMEDY = 'Take KVM on an x86-64 machine for x86_64 guests';

async function automatic(arch: Architecture | undefined, { kvm, wasm }: Hypervisors): Promise<Selection> {
  let reason: string;
  if (arch !== undefined && kvm.arch !== arch) {
    reason = `KVM runs ${kvm.arch ?? 'no'} guests on this machine`;
  } else {
    const probe = await kvm.probe();
    if (probe.available) return { ...(await checked(kvm.create())), notice: 'hypervisor: KVM' };
    if (arch === 'x86_64') throw unavailable(`x86_64 guests need KVM: ${probe.reason}`, probe.remedy);
    reason = probe.reason;
  }
  if (arch === 'x86_64') throw unavailable(`x86_64 guests need KVM: ${reason}`, X86_REMEDY);
  return {
    ...(await checked(wasm())),
    notice: `hypervisor: software, for aarch64 guests; not KVM: ${reason}`,
  };
}

function kvmFor(arch: Architecture | undefined, kvm: KvmOfHost): AnyHypervisor {
  if (arch !== undefined && kvm.arch !== undefined && arch !== kvm.arch) {
    const remedy = arch === 'aarch64' ? 'Take --hypervisor wasm for aarch64 guests' : X86_REMEDY;
    throw unavailable(`kvm: this machine's KVM runs ${kvm.arch} guests, not ${arch} ones`, remedy);
  }
  return kvm.create();
}

/** A hypervisor of the caller's choosing, once it says that it can run. */
export async function checked(hypervisor: AnyHypervisor): Promise<Selection> {
  const probe = await hypervisor.probe();
  if (!probe.available) throw unavailable(`${hypervisor.name}: ${probe.reason}`, probe.remedy);
  return {
    hypervisor,
    limits: { maxCpus: Math.min(hypervisor.maxVcpus, MAX_CPUS), maxMemory: hypervisor.maxMemory },
  };
}

function unavailable(reason: string, remedy: string): VmmError {
  return new VmmError('HYPERVISOR_UNAVAILABLE', `${reason}. ${remedy}`);
}

/** The hypervisors of this machine. */
export function hostHypervisors(debug: (message: string) => void): Hypervisors {
  return {
    kvm: {
      arch: undefined,
      probe: () => Promise.resolve({ available: false, reason: 'not built in', remedy: 'wait' }),
      create: () => {
        throw unavailable('kvm: not built in', 'wait');
      },
    },
    wasm: () =>
      createWasmHypervisor({
        onUndefined: (vcpu, { instruction, firstPc }) =>
          debug(
            `vCPU ${vcpu}: undefined instruction 0x${instruction.toString(16).padStart(8, '0')} at 0x${firstPc.toString(16)}`,
          ),
      }),
  };
}
