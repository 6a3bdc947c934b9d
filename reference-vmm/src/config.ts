import { type BalloonConfig, checkBalloon } from './devices/balloon.ts';
import type { CustomDeviceConfig } from './devices/custom.ts';
import { type DiskConfig, checkDisk } from './devices/disk.ts';
import { type NetworkConfig, checkNetwork } from './devices/network.ts';
import { type ShareConfig, checkShares } from './devices/share.ts';
import { type VsockConfig, checkVsock } from './devices/vsock.ts';
import { VmmError } from './errors.ts';
import type { CpioEntry } from './guest/cpio.ts';
import type { HypervisorChoice } from './hypervisors.ts';
import type {
  Architecture,
  BootProtocol,
  CpuTemplate,
  IrqChipMode,
  TransportKind,
} from './machine/machine.ts';
import { checkName } from './runtime-directory.ts';

export { parseDuration, parseSize } from './units.ts';

const MIB = 1024 * 1024;

/** Format of virtqueues (VIRTIO 1.3 §2.7, §2.8). */
export type RingKind = 'split' | 'packed';

/** What a VM is made of. Paths are host paths; sizes are bytes. */
export interface VmmConfig {
  readonly name: string;
  readonly cpus: number;
  readonly memory: number;
  /** Default `auto`. */
  readonly hypervisor?: HypervisorChoice;
  /** Default: the kernel's, where its format tells, else the hypervisor's. */
  readonly arch?: Architecture;
  /** x86-64 only. Default `kernel`. */
  readonly irqchip?: IrqChipMode;
  /** x86-64 only. Default `host`. */
  readonly cpu?: CpuTemplate;
  /** x86-64 ELF kernels only. Default `pvh` where the kernel has the note that asks for it, else `linux64`. */
  readonly bootProtocol?: BootProtocol;
  /** Kernel image; without one the built-in guest is booted. */
  readonly kernel?: string;
  readonly initrd?: string;
  /** The whole kernel command line; without one that of `defaultCmdline`. */
  readonly cmdline?: string;
  /** Of all virtio devices. Default `mmio`. */
  readonly transport?: TransportKind;
  /** Of all virtio devices: `packed` offers packed rings, which the driver may refuse. Default `split`. */
  readonly ring?: RingKind;
  /** `/dev/vda`, `/dev/vdb` … */
  readonly disks: readonly DiskConfig[];
  /** `eth0`, `eth1` … */
  readonly networks?: readonly NetworkConfig[];
  /** Directories of the host's that the guest sees. */
  readonly shares?: readonly ShareConfig[];
  /** Sockets between host and guest. */
  readonly vsock?: VsockConfig;
  /** By which the guest gives memory back. */
  readonly balloon?: BalloonConfig;
  /** Virtio devices of one's own, behind all others. */
  readonly devices?: readonly CustomDeviceConfig[];
  /** Program and arguments that the built-in guest runs instead of a shell. */
  readonly command?: readonly string[];
  /** The command has the console as its terminal, instead of standard streams. Default false. */
  readonly terminal?: boolean;
  /** More files for the built-in guest; directories come before what they hold. */
  readonly guestFiles?: readonly CpioEntry[];
  /** Host path of an uncompressed cpio archive (newc) with more of them. */
  readonly guestArchive?: string;
}

export const DEFAULT_MEMORY: number = 256 * MIB;
export const DEFAULT_CPUS = 1;
/** What whole guests are tested with. */
export const MAX_CPUS = 8;
/** What a kernel needs at the very least; a kernel of its own size may need more, which loading it tells. */
const MINIMUM_MEMORY = 16 * MIB;

/** A limit that the chosen hypervisor sets. */
export interface ConfigLimits {
  readonly maxCpus: number;
  readonly maxMemory: number;
}

/** @throws VmmError `INVALID_CONFIG` naming the option, its value and the range */
export function validateConfig(config: VmmConfig, limits: ConfigLimits): void {
  checkName(config.name);
  if (!Number.isInteger(config.cpus) || config.cpus < 1 || config.cpus > limits.maxCpus) {
    const range = limits.maxCpus === 1 ? 'exactly 1' : `1 to ${limits.maxCpus}`;
    throw new VmmError(
      'INVALID_CONFIG',
      `cpus: ${config.cpus} is out of range, this hypervisor runs ${range}`,
    );
  }
  if (!Number.isInteger(config.memory) || config.memory % MIB !== 0) {
    throw new VmmError('INVALID_CONFIG', `memory: ${config.memory} bytes is not a whole number of MiB`);
  }
  if (config.memory < MINIMUM_MEMORY || config.memory > limits.maxMemory) {
    throw new VmmError(
      'INVALID_CONFIG',
      `memory: ${config.memory / MIB} MiB is out of range, ${MINIMUM_MEMORY / MIB} to ${Math.floor(limits.maxMemory / MIB)} MiB are possible`,
    );
  }
  for (const [index, disk] of config.disks.entries()) checkDisk(disk, index);
  for (const [index, network] of (config.networks ?? []).entries()) checkNetwork(network, index);
  checkShares(config.shares ?? []);
  if (config.vsock !== undefined) checkVsock(config.vsock);
  if (config.balloon !== undefined) checkBalloon(config.balloon, config.memory);
  if (config.command !== undefined) {
    if (config.command.length === 0) throw new VmmError('INVALID_CONFIG', 'command: is empty');
    if (config.kernel !== undefined || config.initrd !== undefined) {
      throw new VmmError(
        'INVALID_CONFIG',
        'command: runs in the built-in guest only; your own kernel or initrd decides by itself what it starts',
      );
    }
    for (const word of config.command) {
      if (word.includes('\0')) throw new VmmError('INVALID_CONFIG', 'command: an argument contains a NUL');
    }
  }
  if (config.guestFiles !== undefined && config.kernel !== undefined) {
    throw new VmmError(
      'INVALID_CONFIG',
      'guestFiles: are for the built-in guest; put them into your own initrd',
    );
  }
  if (config.initrd !== undefined && config.kernel === undefined) {
    throw new VmmError('INVALID_CONFIG', 'initrd: needs a kernel of your own too');
  }
}
