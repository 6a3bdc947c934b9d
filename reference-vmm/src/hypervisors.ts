import type { Aarch64Hypervisor, ProbeResult, X86Hypervisor } from '@vmm/hypervisor';
import type { KvmDiagnosis } from '@vmm/hypervisor/kvm';
// Loaded with this package, so that a restore need not wait for it.
import { createWasmHypervisor } from '@vmm/hypervisor/wasm';
import { createNodeHost } from '@vmm/hypervisor/wasm/node';
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
  create(): Promise<AnyHypervisor>;
}

/** What {@link selectHypervisor} chooses from. */
export interface Hypervisors {
  readonly kvm: KvmOfHost;
  readonly wasm: () => Promise<AnyHypervisor>;
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
      return kvmFor(arch, hypervisors.kvm);
    case 'wasm':
      if (arch === 'x86_64')
        throw unavailable('wasm: the software hypervisor runs aarch64 guests only', X86_REMEDY);
      return checked(await hypervisors.wasm());
    case 'auto':
      return automatic(arch, hypervisors);
  }
}

const X86_REMEDY = 'Take KVM on an x86-64 machine for x86_64 guests';

async function automatic(arch: Architecture | undefined, { kvm, wasm }: Hypervisors): Promise<Selection> {
  const { reason, remedy } = await withoutKvm(arch, kvm);
  if (reason === undefined) return { ...selected(await kvm.create()), notice: 'hypervisor: KVM' };
  if (arch === 'x86_64') throw unavailable(`x86_64 guests need KVM: ${reason}`, remedy);
  return {
    ...(await checked(await wasm())),
    notice: `hypervisor: software, for aarch64 guests; not KVM: ${reason}`,
  };
}

/** Why guests of this architecture cannot have KVM, if so. */
async function withoutKvm(
  arch: Architecture | undefined,
  kvm: KvmOfHost,
): Promise<{ readonly reason?: string; readonly remedy: string }> {
  if (arch !== undefined && kvm.arch !== arch) {
    return { reason: `KVM runs ${kvm.arch ?? 'no'} guests on this machine`, remedy: X86_REMEDY };
  }
  const probe = await kvm.probe();
  return probe.available ? { remedy: '' } : probe;
}

/** KVM that is asked for by name is taken unseen: creating a VM tells what is wrong. */
async function kvmFor(arch: Architecture | undefined, kvm: KvmOfHost): Promise<Selection> {
  if (arch !== undefined && kvm.arch !== undefined && arch !== kvm.arch) {
    const remedy = arch === 'aarch64' ? 'Take --hypervisor wasm for aarch64 guests' : X86_REMEDY;
    throw unavailable(`kvm: this machine's KVM runs ${kvm.arch} guests, not ${arch} ones`, remedy);
  }
  return selected(await kvm.create());
}

/** A hypervisor, once it says that it can run. @throws VmmError `HYPERVISOR_UNAVAILABLE` */
async function checked(hypervisor: AnyHypervisor): Promise<Selection> {
  const probe = await hypervisor.probe();
  if (!probe.available) throw unavailable(`${hypervisor.name}: ${probe.reason}`, probe.remedy);
  return selected(hypervisor);
}

/** A hypervisor of the caller's choosing. */
export function selected(hypervisor: AnyHypervisor): Selection {
  const { maxVcpus, maxMemory } = hypervisor;
  return { hypervisor, limits: { maxCpus: Math.min(maxVcpus, MAX_CPUS), maxMemory } };
}

function unavailable(reason: string, remedy: string): VmmError {
  return new VmmError('HYPERVISOR_UNAVAILABLE', `${reason}. ${remedy}`);
}

/** The hypervisors of this machine. */
export function hostHypervisors(debug: (message: string) => void): Hypervisors {
  return {
    kvm: {
      arch: hostArchitecture(),
      probe: async () => {
        const { diagnoseKvm } = await import('@vmm/hypervisor/kvm');
        return stockGuests(await diagnoseKvm());
      },
      create: async () => {
        const { createKvmHypervisor } = await import('@vmm/hypervisor/kvm');
        return createKvmHypervisor();
      },
    },
    wasm: () => {
      const hypervisor = createWasmHypervisor({
        host: createNodeHost(),
        onUndefined: (vcpu, { instruction, firstPc }) =>
          debug(
            `vCPU ${vcpu}: undefined instruction 0x${instruction.toString(16).padStart(8, '0')} at 0x${firstPc.toString(16)}`,
          ),
      });
      return Promise.resolve(hypervisor);
    },
  };
}

function hostArchitecture(): Architecture | undefined {
  if (process.platform !== 'linux') return undefined;
  return process.arch === 'x64' ? 'x86_64' : process.arch === 'arm64' ? 'aarch64' : undefined;
}

/** Whether KVM can run stock guests, as its diagnosis has it: the first failure is the reason why not. */
export function stockGuests({ available, hardwareBacked, findings }: KvmDiagnosis): ProbeResult {
  if (available && hardwareBacked) return { available: true, details: {} };
  for (const finding of findings) {
    if (!finding.ok) return { available: false, reason: finding.detail, remedy: finding.remedy };
  }
  return { available: false, reason: 'KVM cannot run guests here', remedy: 'See reference-vmm doctor' };
}
