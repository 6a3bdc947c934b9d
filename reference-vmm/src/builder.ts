import type { BlockBackend } from '@vmm/virtio-devices';
import { unlessAborted } from './abort.ts';
import { DEFAULT_CPUS, DEFAULT_MEMORY, type RingKind, type VmmConfig } from './config.ts';
import type { BalloonConfig } from './devices/balloon.ts';
import type { CustomDeviceConfig, CustomDeviceOptions } from './devices/custom.ts';
import type { DiskConfig, DiskOptions } from './devices/disk.ts';
import type { NetworkConfig } from './devices/network.ts';
import type { ShareConfig, ShareOptions } from './devices/share.ts';
import type { VsockConfig } from './devices/vsock.ts';
import type { CpioEntry } from './guest/cpio.ts';
import type { HypervisorChoice } from './hypervisors.ts';
import type {
  Architecture,
  BootProtocol,
  CpuTemplate,
  IrqChipMode,
  TransportKind,
} from './machine/machine.ts';
import type { VmmHost } from './vm-parts.ts';
import { Vmm } from './vmm.ts';

const MIB = 1024 * 1024;

/**
 * Describes a VM step by step, and builds it.
 *
 * @example
 * const vm = await new VmBuilder().name('demo').memoryMb(256).command('uname', '-a').build();
 */
export class VmBuilder {
  #name: string | undefined;
  #cpus = DEFAULT_CPUS;
  #memory = DEFAULT_MEMORY;
  #kernel: string | undefined;
  #initrd: string | undefined;
  #cmdline: string | undefined;
  #command: readonly string[] | undefined;
  #terminal = false;
  #hypervisor: HypervisorChoice | undefined;
  #arch: Architecture | undefined;
  #irqchip: IrqChipMode | undefined;
  #cpu: CpuTemplate | undefined;
  #bootProtocol: BootProtocol | undefined;
  #transport: TransportKind | undefined;
  #ring: RingKind | undefined;
  readonly #disks: DiskConfig[] = [];
  readonly #networks: NetworkConfig[] = [];
  readonly #shares: ShareConfig[] = [];
  #vsock: VsockConfig | undefined;
  #balloon: BalloonConfig | undefined;
  readonly #devices: CustomDeviceConfig[] = [];
  readonly #guestFiles: CpioEntry[] = [];
  #guestArchive: string | undefined;
  #host: VmmHost = {};

  /** 1 to 63 letters, digits and inner hyphens; default `vm-<pid>-<n>`. */
  name(name: string): this {
    this.#name = name;
    return this;
  }

  /** Default `auto`: KVM when it can run stock guests of the architecture on this machine, else the software hypervisor. */
  hypervisor(choice: HypervisorChoice): this {
    this.#hypervisor = choice;
    return this;
  }

  /** Architecture of the guest; default the kernel's, where its format tells, else the hypervisor's. */
  arch(arch: Architecture): this {
    this.#arch = arch;
    return this;
  }

  /** x86-64: an I/O APIC beside the vCPUs (`kernel`, the default) or in this process (`split`). */
  irqchip(mode: IrqChipMode): this {
    this.#irqchip = mode;
    return this;
  }

  /** x86-64: CPUID as the host has it (`host`, the default), or what hosts of many kinds have (`portable`). */
  cpu(template: CpuTemplate): this {
    this.#cpu = template;
    return this;
  }

  /** x86-64: the way into an ELF kernel; default `pvh` where the kernel has the note that asks for it, else `linux64`. */
  bootProtocol(protocol: BootProtocol): this {
    this.#bootProtocol = protocol;
    return this;
  }

  /** Number of virtual CPUs; default 1. */
  cpus(count: number): this {
    this.#cpus = count;
    return this;
  }

  /** Guest memory in MiB; default 256. */
  memoryMb(mebibytes: number): this {
    this.#memory = mebibytes * MIB;
    return this;
  }

  /** Guest memory in GiB. */
  memoryGb(gibibytes: number): this {
    return this.memoryMb(gibibytes * 1024);
  }

  /** Host path of a kernel: arm64 Image, raw or gzip-compressed; x86-64 bzImage or ELF. Default Debian's cloud kernel. */
  kernel(path: string): this {
    this.#kernel = path;
    return this;
  }

  /** The kernel command line, as given. */
  cmdline(cmdline: string): this {
    this.#cmdline = cmdline;
    return this;
  }

  /** Host path of an initial RAM filesystem; needs {@link kernel}. */
  initrd(path: string): this {
    this.#initrd = path;
    return this;
  }

  /** How virtio devices are connected; default `mmio`. */
  transport(kind: TransportKind): this {
    this.#transport = kind;
    return this;
  }

  /** Format of virtqueues; default `split`. A driver may refuse `packed`, and gets split ones then. */
  ring(kind: RingKind): this {
    this.#ring = kind;
    return this;
  }

  /** Adds a disk, a raw image file or a backend: `/dev/vda`, `/dev/vdb` … in the order of the calls. */
  blockDevice(disk: string | BlockBackend, options: DiskOptions = {}): this {
    this.#disks.push({ ...options, ...(typeof disk === 'string' ? { path: disk } : { backend: disk }) });
    return this;
  }

  /** Adds a network device: `eth0`, `eth1` … in the order of the calls. */
  networkDevice(network: NetworkConfig): this {
    this.#networks.push(network);
    return this;
  }

  /** Shares a directory of the host's; the built-in guest mounts it at `/mnt/TAG`, or where it is told. */
  shareDirectory(directory: string, options: ShareOptions = {}): this {
    this.#shares.push({ ...options, directory });
    return this;
  }

  /** Sockets between host and guest, {@link Vmm.vsock}; `cid` is the guest's address, from 3. */
  vsock(cid: number, options: Omit<VsockConfig, 'cid'> = {}): this {
    this.#vsock = { ...options, cid };
    return this;
  }

  /** A balloon, {@link Vmm.balloon}, by which the guest gives memory back. */
  balloon(options: BalloonConfig = {}): this {
    this.#balloon = options;
    return this;
  }

  /**
   * Adds a virtio device of one's own, behind all others.
   *
   * @param create makes the device, once there is a machine
   */
  device(create: CustomDeviceConfig['create'], options: CustomDeviceOptions = {}): this {
    this.#devices.push({ ...options, create });
    return this;
  }

  /** Program and arguments for the built-in guest to run instead of a shell. */
  command(...command: readonly string[]): this {
    this.#command = command;
    return this;
  }

  /** The command gets the console as its terminal, instead of standard streams. */
  terminal(terminal = true): this {
    this.#terminal = terminal;
    return this;
  }

  /** More files for the built-in guest, in the order of the calls; directories come before what they hold. */
  guestFiles(entries: readonly CpioEntry[]): this {
    this.#guestFiles.push(...entries);
    return this;
  }

  /** Host path of an uncompressed cpio archive (newc) with more files for the built-in guest. */
  guestArchive(path: string): this {
    this.#guestArchive = path;
    return this;
  }

  /** Hypervisor, progress and debug hooks of the host side. */
  host(host: VmmHost): this {
    this.#host = { ...this.#host, ...host };
    return this;
  }

  /**
   * Makes the VM: memory, devices, kernel; it runs after {@link Vmm.start}.
   *
   * @throws VmmError, ArchError, VirtioDeviceError or HypervisorError, each with a stable `code`; the signal's reason, and
   *   what has been made by then is given back
   */
  async build(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<Vmm> {
    const config: VmmConfig = {
      name: this.#name ?? nextName(),
      cpus: this.#cpus,
      memory: this.#memory,
      disks: [...this.#disks],
      networks: [...this.#networks],
      shares: [...this.#shares],
      devices: [...this.#devices],
      ...(this.#vsock === undefined ? {} : { vsock: this.#vsock }),
      ...(this.#balloon === undefined ? {} : { balloon: this.#balloon }),

      ...(this.#transport === undefined ? {} : { transport: this.#transport }),
      ...(this.#ring === undefined ? {} : { ring: this.#ring }),
      ...(this.#hypervisor === undefined ? {} : { hypervisor: this.#hypervisor }),
      ...(this.#arch === undefined ? {} : { arch: this.#arch }),
      ...(this.#irqchip === undefined ? {} : { irqchip: this.#irqchip }),
      ...(this.#cpu === undefined ? {} : { cpu: this.#cpu }),
      ...(this.#bootProtocol === undefined ? {} : { bootProtocol: this.#bootProtocol }),
      ...(this.#kernel === undefined ? {} : { kernel: this.#kernel }),
      ...(this.#initrd === undefined ? {} : { initrd: this.#initrd }),
      ...(this.#cmdline === undefined ? {} : { cmdline: this.#cmdline }),
      ...(this.#command === undefined ? {} : { command: this.#command }),
      ...(this.#terminal ? { terminal: true } : {}),
      ...(this.#guestFiles.length === 0 ? {} : { guestFiles: [...this.#guestFiles] }),
      ...(this.#guestArchive === undefined ? {} : { guestArchive: this.#guestArchive }),
    };
    return await unlessAborted(options.signal, () => Vmm.create(config, this.#host));
  }
}

let serial = 0;

function nextName(): string {
  serial += 1;
  return `vm-${process.pid}-${serial}`;
}
