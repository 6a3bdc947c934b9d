import { readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { ProbeResult } from '../hypervisor.ts';
import { loadArchitecture } from './architectures.ts';
import type { KvmHost } from './host.ts';
import { nodeKvmHost } from './host.ts';
import type { KvmHypervisorOptions } from './hypervisor.ts';
import { hostArch } from './hypervisor.ts';
import type { NativeKvm } from './native.ts';
import { KVM_DEVICE, KvmSystem } from './system.ts';
import { isSystemError } from './system-error.ts';
import type { KvmCapability } from './uapi.ts';
import { KVM_API_VERSION, KVM_CAP } from './uapi.ts';

/**
 * An instruction of ring 0 that takes longer than this, in nanoseconds, is emulated by KVM. Measured: under 10 on
 * hardware, 15 to 20 in an emulated machine with SVM (the way in and out of the guest included), 600 where KVM itself
 * emulates guest kernel code. A stock kernel takes minutes to boot there.
 */
export const EMULATED_NANOSECONDS = 100;

/** What is looked at, in this order; what cannot be looked at after a failure is left out. */
export type KvmCheck =
  'platform' | 'addon' | 'device' | 'permission' | 'apiVersion' | 'capabilities' | 'execution';

/** What one check found; a failure comes with what to do about it. */
export type KvmFinding =
  | { readonly check: KvmCheck; readonly ok: true; readonly detail: string }
  | { readonly check: KvmCheck; readonly ok: false; readonly detail: string; readonly remedy: string };

/** What KVM can do here. */
export interface KvmDiagnosis {
  readonly device: string;
  /** Architecture of the guests; undefined on hosts without KVM. */
  readonly arch: 'aarch64' | 'x86_64' | undefined;
  /** Virtual machines can be made and run. */
  readonly available: boolean;
  /** Guest kernels run on the processor, so that stock ones boot in seconds. False when nothing runs at all. */
  readonly hardwareBacked: boolean;
  /** Of an instruction of ring 0 (EL1); undefined when it could not be measured. */
  readonly nanosecondsPerInstruction: number | undefined;
  /** What KVM_CHECK_EXTENSION answers, by name; empty when the device cannot be opened. */
  readonly capabilities: Readonly<Partial<Record<KvmCapability, number>>>;
  readonly findings: readonly KvmFinding[];
}

/** Choices of {@link diagnoseKvm}. */
export interface KvmDiagnosisOptions extends KvmHypervisorOptions {
  /** Architecture of the guests to be run. Default: the host's. */
  readonly arch?: 'aarch64' | 'x86_64';
}

/** Finds out whether KVM can be used here, and if not, why. Takes some milliseconds, a tenth of a second
 * where KVM emulates guest kernels; never throws. */
export async function diagnoseKvm(options: KvmDiagnosisOptions = {}): Promise<KvmDiagnosis> {
  const diagnosis = new Diagnosis(options);
  await diagnosis.run();
  return diagnosis.result();
}

/** {@link diagnoseKvm} in short. */
export async function probeKvm(
  arch: 'aarch64' | 'x86_64',
  options: KvmHypervisorOptions,
): Promise<ProbeResult> {
  const diagnosis = await diagnoseKvm({ ...options, arch });
  const failed = diagnosis.findings.find(({ ok }) => !ok);
  if (!diagnosis.available && failed?.ok === false) {
    return { available: false, reason: failed.detail, remedy: failed.remedy };
  }
  return {
    available: true,
    details: {
      device: diagnosis.device,
      execution: diagnosis.hardwareBacked ? 'hardware' : 'emulated',
      nanosecondsPerInstruction: (diagnosis.nanosecondsPerInstruction ?? 0).toFixed(1),
    },
  };
}

class Diagnosis {
  readonly #device: string;
  readonly #options: KvmDiagnosisOptions;
  readonly #findings: KvmFinding[] = [];
  readonly #capabilities: Partial<Record<KvmCapability, number>> = {};
  #available = false;
  #nanoseconds: number | undefined;

  constructor(options: KvmDiagnosisOptions) {
    this.#options = options;
    this.#device = options.device ?? KVM_DEVICE;
  }

  result(): KvmDiagnosis {
    return {
      device: this.#device,
      arch: this.#arch,
      available: this.#available,
      hardwareBacked: this.#nanoseconds !== undefined && this.#nanoseconds <= EMULATED_NANOSECONDS,
      nanosecondsPerInstruction: this.#nanoseconds,
      capabilities: this.#capabilities,
      findings: this.#findings,
    };
  }

  get #arch(): 'aarch64' | 'x86_64' | undefined {
    return this.#options.arch ?? hostArch();
  }

  #ok(check: KvmCheck, detail: string): void {
    this.#findings.push({ check, ok: true, detail });
  }

  #failed(check: KvmCheck, detail: string, remedy: string): void {
    this.#findings.push({ check, ok: false, detail, remedy });
  }

  async run(): Promise<void> {
    const arch = this.#checkPlatform();
    if (arch === undefined) return;
    const native = await this.#checkAddon();
    if (native === undefined) return;
    const system = this.#checkDevice(native);
    if (system === undefined) return;
    try {
      const host = nodeKvmHost(native, this.#device);
      if (!this.#checkVersion(system) || !(await this.#checkCapabilities(system, arch))) return;
      await this.#checkExecution(host, system, arch);
    } finally {
      system.native.close();
    }
  }

  #checkPlatform(): 'aarch64' | 'x86_64' | undefined {
    const arch = this.#arch;
    const simulated = this.#options.native !== undefined;
    if (!simulated && process.platform !== 'linux') {
      this.#failed(
        'platform',
        `this is ${process.platform}`,
        'use the software hypervisor; KVM is part of Linux',
      );
      return undefined;
    }
    if (arch === undefined || (!simulated && arch !== hostArch())) {
      this.#failed(
        'platform',
        `the processor is ${process.arch}, and the guest ${arch ?? 'of the same kind'}`,
        "use the software hypervisor for arm64 guests; KVM runs guests of the host's architecture",
      );
      return undefined;
    }
    this.#ok('platform', `${process.platform} on ${process.arch}`);
    return arch;
  }

  async #checkAddon(): Promise<NativeKvm | undefined> {
    if (this.#options.native !== undefined) return this.#options.native;
    try {
      const { loadNativeKvm } = await import('./load.ts');
      const native = loadNativeKvm();
      this.#ok('addon', 'the addon is there');
      return native;
    } catch (error) {
      this.#failed('addon', message(error), 'reinstall @vmm/hypervisor, or build it: npm run build');
      return undefined;
    }
  }

  #checkDevice(native: NativeKvm): KvmSystem | undefined {
    try {
      const system = KvmSystem.openUnchecked(native, this.#device);
      this.#ok('device', `${this.#device} is there`);
      this.#ok('permission', `${this.#device} can be opened`);
      return system;
    } catch (error) {
      this.#explainDevice(error);
      return undefined;
    }
  }

  #explainDevice(error: unknown): void {
    const code = isSystemError(error) ? error.code : undefined;
    switch (code) {
      case 'ENOENT':
      case 'ENODEV':
      case 'ENXIO':
        this.#failed(
          'device',
          code === 'ENOENT' ? `there is no ${this.#device}` : `${this.#device} has no driver`,
          'load the module (modprobe kvm_intel or kvm_amd), switch on VT-x or SVM in the firmware, or give the container ' +
            `or virtual machine the device (docker: --device ${KVM_DEVICE})`,
        );
        return;
      case 'EACCES':
      case 'EPERM':
        this.#ok('device', `${this.#device} is there`);
        this.#explainPermission(code);
        return;
      default:
        this.#failed('device', message(error), `look at ${this.#device}: ls -l ${this.#device}`);
    }
  }

  #explainPermission(code: string): void {
    const access = attempt(() => deviceAccess(this.#device));
    const { detail, remedy } = explainPermission(this.#device, code, access);
    this.#failed('permission', detail, remedy);
  }

  #checkVersion(system: KvmSystem): boolean {
    const version = attempt(() => system.apiVersion());
    if (version === KVM_API_VERSION) {
      this.#ok('apiVersion', `version ${version} of KVM's interface`);
      return true;
    }
    this.#failed(
      'apiVersion',
      version === undefined
        ? `${this.#device} does not answer KVM_GET_API_VERSION`
        : `version ${version} of KVM's interface, and not ${KVM_API_VERSION}`,
      `make sure that ${this.#device} is KVM's, of Linux 2.6.22 or later`,
    );
    return false;
  }

  async #checkCapabilities(system: KvmSystem, arch: 'aarch64' | 'x86_64'): Promise<boolean> {
    for (const name of Object.keys(KVM_CAP) as KvmCapability[]) {
      this.#capabilities[name] = attempt(() => system.capability(name)) ?? 0;
    }
    const { capabilities: needed } = await loadArchitecture(arch);
    const missing = needed.filter((name) => this.#capabilities[name] === 0);
    if (missing.length === 0) {
      this.#ok('capabilities', `all ${needed.length} that are needed`);
      return true;
    }
    this.#failed(
      'capabilities',
      `KVM lacks ${missing.map((name) => `KVM_CAP_${name}`).join(', ')}`,
      'use a newer kernel (4.19 or later)',
    );
    return false;
  }

  async #checkExecution(host: KvmHost, system: KvmSystem, arch: 'aarch64' | 'x86_64'): Promise<void> {
    try {
      const { measure } = await loadArchitecture(arch);
      const nanoseconds = await measure(host, system, EMULATED_NANOSECONDS);
      this.#available = true;
      this.#nanoseconds = nanoseconds;
      const each = `an instruction of a guest kernel takes ${nanoseconds.toFixed(1)} ns`;
      if (nanoseconds <= EMULATED_NANOSECONDS) {
        this.#ok('execution', each);
      } else {
        this.#failed(
          'execution',
          `${each}: this KVM emulates guest kernels (more than ${EMULATED_NANOSECONDS} ns)`,
          'small bare-metal guests run; for stock kernels use a machine with hardware virtualization, the software hypervisor (arm64), or the emulated machine of npm run rig',
        );
      }
    } catch (error) {
      this.#failed(
        'execution',
        `a small guest does not run: ${message(error)}`,
        'look at the kernel log (dmesg) for what KVM says',
      );
    }
  }
}

/** Who may open a device, and who asks. */
export interface DeviceAccess {
  readonly user: string;
  readonly group: string;
  /** The group may read and write the device. */
  readonly groupMay: boolean;
  /** /etc/group names the user in the group. */
  readonly listed: boolean;
  /** The process has the group. */
  readonly active: boolean;
}

/** Why a device cannot be opened, and what to do about it. */
export function explainPermission(
  device: string,
  code: string,
  access: DeviceAccess | undefined,
): { detail: string; remedy: string } {
  if (access === undefined) {
    return { detail: `${device} cannot be opened: ${code}`, remedy: 'run as a user that may open it' };
  }
  const { group, user, listed, active, groupMay } = access;
  if (!groupMay || active) {
    return {
      detail: `${user} may not open ${device} (${code})`,
      remedy: `sudo setfacl -m u:${user}:rw ${device}, or look at the sandbox or container that this runs in`,
    };
  }
  if (listed) {
    return {
      detail: `${user} was added to the group ${group} of ${device} after logging in`,
      remedy: `log out and in again, or run: newgrp ${group}`,
    };
  }
  return {
    detail: `${user} is not in the group ${group}, which may open ${device}`,
    remedy: `sudo usermod -aG ${group} ${user}, then log in again`,
  };
}

function deviceAccess(device: string): DeviceAccess {
  const { gid, mode } = statSync(device);
  const user = attempt(() => userInfo().username) ?? `user ${String(process.getuid?.())}`;
  const entry = attempt(() => groupEntry(readFileSync('/etc/group', 'utf8'), gid));
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  return {
    user,
    group: entry?.name ?? String(gid),
    groupMay: (mode & 0o060) === 0o060,
    listed: entry?.members.includes(user) ?? false,
    active: groups.includes(gid),
  };
}

/** The entry of a group in /etc/group (group(5)). */
export function groupEntry(text: string, gid: number): { name: string; members: string[] } | undefined {
  for (const line of text.split('\n')) {
    const [name, , id, members] = line.split(':');
    if (name !== undefined && Number(id) === gid && id !== '') {
      return { name, members: (members ?? '').split(',').filter((member) => member !== '') };
    }
  }
  return undefined;
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}

function message(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
