import type { Vcpu } from '@vmm/hypervisor';
import { type BootFiles, bootFiles } from './boot-files.ts';
import type { VmmConfig } from './config.ts';
import type { DeviceManager } from './device-manager.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import type { AnyHypervisor } from './hypervisors.ts';
import type { Architecture, Machine } from './machine/machine.ts';
import type { PageLog } from './snapshot/page-log.ts';

/** Where the guest of a VM comes from: a kernel is booted, or a snapshot gone on with. */
export interface GuestOrigin {
  /** Descriptor of a file that guest memory is a copy of, one region behind the other. */
  readonly memoryFile?: number | undefined;

  /** Finds the files to boot again; absent where they are not known. */
  readonly files?: (arch: Architecture, devices: readonly PreparedDevice[]) => Promise<BootFiles>;

  /** Whether it fits a hypervisor. @throws VmmError `SNAPSHOT_MISMATCH` */
  check?(hypervisor: AnyHypervisor): void;

  /**
   * Fills the machine's memory.
   *
   * @returns the kernel's command line
   */
  load(machine: Machine, arch: Architecture, devices: readonly PreparedDevice[]): Promise<string>;

  /** Makes the vCPUs, and puts the devices into the state that goes with theirs. */
  createVcpus(machine: Machine, devices: DeviceManager, log: PageLog): readonly Vcpu[];
}

/** A kernel that is booted; the built-in guest is fetched if it is not in the cache. */
export function bootOrigin(config: VmmConfig, progress: (message: string) => void): GuestOrigin {
  return {
    files: (arch, devices) => bootFiles(config, arch, devices, progress),
    load: async (machine, arch, devices) => {
      const files = await bootFiles(config, arch, devices, progress);
      await machine.loadKernel(files);
      return files.cmdline;
    },
    createVcpus: (machine) => machine.createVcpus(),
  };
}
