import type { Vcpu } from '@vmm/hypervisor';
import type { BootFiles } from './boot-files.ts';
import { type VmmConfig, validateConfig } from './config.ts';
import { DeviceManager, GuestConsole } from './device-manager.ts';
import { closeDevices, prepareDevices, virtioDeviceCount } from './devices/prepare.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import type { GuestOrigin } from './guest-origin.ts';
import { type AnyHypervisor, hostHypervisors, selectHypervisor, selected } from './hypervisors.ts';
import type { Machine } from './machine/machine.ts';
import { createMachine } from './machine/platform.ts';
import { RuntimeDirectory } from './runtime-directory.ts';
import { PageLog } from './snapshot/page-log.ts';

/** The host's side of a VM: where it runs and what is told while it does. */
export interface VmmHost {
  /** Default: what the configuration's `hypervisor` and `arch` lead to. */
  readonly hypervisor?: AnyHypervisor;
  /** One line per step of long work, such as fetching the built-in guest, and one for the choice of a hypervisor. */
  readonly progress?: (message: string) => void;
  /** Undefined instructions, unclaimed accesses, broken drivers. */
  readonly debug?: (message: string) => void;
}

/** What a VM is made of, before anything of it runs. */
export interface VmParts {
  readonly config: VmmConfig;
  readonly hypervisor: AnyHypervisor;
  readonly machine: Machine;
  readonly console: GuestConsole;
  readonly devices: DeviceManager;
  readonly directory: RuntimeDirectory;
  readonly vcpus: readonly Vcpu[];
  /** What changed in memory since snapshots that others are to be based on. */
  readonly pageLog: PageLog;
  /** The kernel's command line. */
  readonly cmdline: string;
  /** Finds what to boot once more; absent where nothing was booted. */
  readonly bootFiles?: () => Promise<BootFiles>;
}

/**
 * Makes all parts, or none: what was made before something failed is given back.
 *
 * @throws VmmError, ArchError, VirtioDeviceError or HypervisorError, each with a stable `code`
 */
export async function makeParts(config: VmmConfig, host: VmmHost, origin: GuestOrigin): Promise<VmParts> {
  const debug = host.debug ?? (() => undefined);
  const { hypervisor, limits, notice } = await (host.hypervisor === undefined
    ? selectHypervisor(config, hostHypervisors(debug))
    : selected(host.hypervisor));
  origin.check?.(hypervisor);
  validateConfig(config, limits);
  const directory = RuntimeDirectory.claim(config.name);
  let machine: Machine | undefined;
  let prepared: readonly PreparedDevice[] = [];
  let devices: DeviceManager | undefined;
  try {
    // What may be missing comes before what may have to be fetched.
    const console = new GuestConsole();
    machine = await createMachine(
      hypervisor,
      { ...config, virtioDevices: virtioDeviceCount(config) },
      { serialOutput: console.serialOutput, debug, memoryFile: origin.memoryFile },
    );
    prepared = await prepareDevices(config);
    const cmdline = await origin.load(machine, hypervisor.arch, prepared);
    devices = new DeviceManager(machine, console, config, cmdline, prepared, debug);
    if (config.vsock?.path !== undefined) {
      await devices.forwardVsock(config.vsock.path);
      directory.goesWith(config.vsock.path);
    }
    const pageLog = new PageLog(machine.vm, machine.memory);
    const vcpus = origin.createVcpus(machine, devices, pageLog);
    const { files } = origin;
    const bootFiles = files === undefined ? {} : { bootFiles: () => files(hypervisor.arch, prepared) };
    if (notice !== undefined) host.progress?.(notice);
    return {
      config,
      hypervisor,
      machine,
      console,
      devices,
      directory,
      vcpus,
      pageLog,
      cmdline,
      ...bootFiles,
    };
  } catch (error) {
    machine?.[Symbol.dispose]();
    await machine?.vm[Symbol.asyncDispose]();
    await (devices === undefined ? closeDevices(prepared, debug) : devices[Symbol.asyncDispose]());
    directory[Symbol.dispose]();
    throw error;
  }
}
