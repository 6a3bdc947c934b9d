import { type Command, Option } from 'commander';
import { VmBuilder } from '../../builder.ts';
import { parseSize, type RingKind } from '../../config.ts';
import { parseBalloon } from '../../devices/balloon.ts';
import { parseDisk } from '../../devices/disk.ts';
import { parseNetwork } from '../../devices/network.ts';
import { parseShare } from '../../devices/share.ts';
import { parseVsock } from '../../devices/vsock.ts';
import type { HypervisorChoice } from '../../hypervisors.ts';
import type {
  Architecture,
  BootProtocol,
  CpuTemplate,
  IrqChipMode,
  TransportKind,
} from '../../machine/machine.ts';
import { DEFAULT_CMDLINES } from '../../machine/platform.ts';
import { BACKGROUND_OPTION } from '../background.ts';
import { say } from '../messages.ts';
import { type FormatOption, formatOption } from '../output.ts';

/** What `run` was told, as commander has it. */
export interface RunOptions extends FormatOption {
  readonly name?: string;
  readonly hypervisor: HypervisorChoice;
  readonly arch?: Architecture;
  readonly irqchip: IrqChipMode;
  readonly cpu: CpuTemplate;
  readonly bootProtocol?: BootProtocol;
  readonly cpus: string;
  readonly memory: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly disk: readonly string[];
  readonly net: readonly string[];
  readonly share: readonly string[];
  readonly vsock?: string;
  readonly balloon?: string;
  readonly console: string;
  readonly guestFiles?: string;
  readonly transport: TransportKind;
  readonly ring: RingKind;
  readonly cmdline?: string;
  readonly timeout?: string;
  readonly debug?: boolean;
  readonly detach?: boolean;
  readonly interactive?: boolean;
  /** The process that `detach` starts. */
  readonly background?: boolean;
}

export const EXAMPLES = `
Examples:
  reference-vmm run                                    a busybox shell on Debian's kernel
  reference-vmm run -- sh -c 'echo hi; exit 7'         one command; its output and exit code
  tar c . | reference-vmm run -- tar t                 standard input goes to the command
  reference-vmm run -d disk.img,ro -- mount -o ro /dev/vda /mnt
  reference-vmm run -d disk.img,overlay=changes.img,iops=500 -- mount /dev/vda /mnt
  reference-vmm run --net user,tcp=8080:80 -- httpd -f -p 80
  reference-vmm run --share .:/work -- ls -l /work
  reference-vmm run --net tap=vmtap0,ip=10.0.0.2/24,gateway=10.0.0.1 --transport pci --ring packed
  reference-vmm run --vsock 42,path=vm.sock --balloon on -m 1G
  reference-vmm run -k Image --initrd initrd.cpio -p 'console=ttyAMA0'
  reference-vmm run --hypervisor kvm -c 4 -m 4G
  reference-vmm run --detach --name web --net user,tcp=8080:80 -- httpd -f -p 80

Exit code: the guest command's own; 126 not executable, 127 not found in the guest; 2 wrong usage;
124 --timeout ran out; 125 the VMM or the guest's kernel failed; 128+n ended by signal n.
With --format json standard output is one object, and the guest's output goes to standard error.`;

/** Declares the options of `run`. */
export function declareOptions(command: Command): Command {
  return command
    .option('-n, --name <name>', 'name of the VM (default: vm-<pid>-1)')
    .addOption(
      new Option('--hypervisor <name>', 'KVM, the software hypervisor, or KVM where it can run stock guests')
        .choices(['auto', 'kvm', 'wasm'])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--arch <name>',
        "architecture of the guest (default: the kernel's or the hypervisor's)",
      ).choices(['x86_64', 'aarch64']),
    )
    .option('-c, --cpus <count>', 'number of virtual CPUs', '1')
    .option('-m, --memory <size>', 'guest memory: MiB, or with K, M or G', '256M')
    .option(
      '-k, --kernel <file>',
      "kernel: arm64 Image, x86-64 bzImage or ELF (default: Debian's cloud kernel)",
    )
    .option('--initrd <file>', 'initial RAM filesystem for --kernel')
    .option(
      '-d, --disk <file[,option]>',
      'raw disk image or block device; options: ro, overlay (writes are gone with the VM), overlay=FILE, serial=TEXT, queues=N, io=io_uring|threads|portable, bandwidth=BYTES and iops=N a second',
      collect,
      [],
    )
    .option(
      '--net <kind[,option]>',
      'tap, tap=NAME, user (passt) or none; options: mac=, mtu=N, queues=N, pcap=FILE, ip=dhcp|none|ADDRESS/BITS, gateway=, bandwidth=, iops=; user: tcp=[ADDRESS:]HOST:GUEST, udp=…, host-loopback',
      collect,
      [],
    )
    .option(
      '--share <dir[:tag|:path][,ro]>',
      'directory of the host, at /mnt/TAG or at PATH in the built-in guest',
      collect,
      [],
    )
    .option(
      '--vsock <cid[,path=socket]>',
      "sockets between host and guest; CID is the guest's address, from 3",
    )
    .option(
      '--balloon <size|on>',
      'memory that the guest gives back at the beginning; options: no-deflate-on-oom, no-reporting',
    )
    .option(
      '--console <where>',
      'stdio, pty (a terminal of the host), pty=LINK, or file=PATH; with a command, a copy of what the kernel says',
      'stdio',
    )
    .addOption(
      new Option('--transport <name>', 'how virtio devices are connected')
        .choices(['mmio', 'pci'])
        .default('mmio'),
    )
    .addOption(
      new Option('--ring <format>', 'virtqueues that are offered')
        .choices(['split', 'packed'])
        .default('split'),
    )
    .option('-p, --cmdline <text>', `kernel command line (default: ${defaultCmdlines()})`)
    .addOption(
      new Option('--irqchip <where>', 'x86-64: I/O APIC in the kernel or in this process')
        .choices(['kernel', 'split'])
        .default('kernel'),
    )
    .addOption(
      new Option('--cpu <template>', "x86-64: the host's CPUID, or what many hosts have in common")
        .choices(['host', 'portable'])
        .default('host'),
    )
    .addOption(
      new Option(
        '--boot-protocol <name>',
        'x86-64: way into an ELF kernel (default: PVH, if the kernel knows it)',
      ).choices(['linux64', 'pvh']),
    )
    .option('--guest-files <archive>', 'cpio archive (newc) that the built-in guest unpacks as well')
    .option('--timeout <duration>', 'end the VM after 30, 30s, 500ms, 5m …')
    .option(
      '--debug',
      'report kernel messages, undefined instructions and unclaimed accesses on standard error',
    )
    .option('--detach', 'return when the guest has started; it goes on in a process of its own')
    .option('-i, --interactive', "with --detach: keep the command's standard input open for attach")
    .addOption(new Option(BACKGROUND_OPTION).hideHelp())
    .addOption(formatOption());
}

function defaultCmdlines(): string {
  return Object.entries(DEFAULT_CMDLINES)
    .map(([arch, cmdline]) => `${arch} "${cmdline}"`)
    .join(', ');
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

/** @throws VmmError `INVALID_CONFIG` */
export function builderFor(command: readonly string[], options: RunOptions): VmBuilder {
  const cpus = Number(options.cpus);
  const builder = new VmBuilder()
    .hypervisor(options.hypervisor)
    .irqchip(options.irqchip)
    .cpu(options.cpu)
    .transport(options.transport)
    .ring(options.ring)
    .cpus(cpus)
    .memoryMb(parseSize(options.memory) / (1024 * 1024));
  if (options.arch !== undefined) builder.arch(options.arch);
  if (options.bootProtocol !== undefined) builder.bootProtocol(options.bootProtocol);
  if (options.name !== undefined) builder.name(options.name);
  if (options.kernel !== undefined) builder.kernel(options.kernel);
  if (options.initrd !== undefined) builder.initrd(options.initrd);
  if (options.cmdline !== undefined) builder.cmdline(options.cmdline);
  for (const text of options.disk) {
    const disk = parseDisk(text);
    builder.blockDevice('path' in disk ? disk.path : disk.backend, disk);
  }
  for (const text of options.net) {
    const network = parseNetwork(text);
    if (network !== undefined) builder.networkDevice(network);
  }
  for (const text of options.share) {
    const { directory, ...share } = parseShare(text);
    builder.shareDirectory(directory, share);
  }
  if (options.vsock !== undefined) {
    const { cid, ...vsock } = parseVsock(options.vsock);
    builder.vsock(cid, vsock);
  }
  if (options.balloon !== undefined) builder.balloon(parseBalloon(options.balloon, parseSize));
  if (options.guestFiles !== undefined) builder.guestArchive(options.guestFiles);
  if (command.length > 0) builder.command(...command);
  builder.host({ progress: say, ...(options.debug === true ? { debug: say } : {}) });
  return builder;
}
