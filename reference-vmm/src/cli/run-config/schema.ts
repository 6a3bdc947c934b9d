import * as v from 'valibot';
import type { RingKind } from '../../config.ts';
import type { DiskOptions } from '../../devices/disk.ts';
import type { NetworkOptions, PortForward } from '../../devices/network.ts';
import type { ShareConfig } from '../../devices/share.ts';
import type { VsockConfig } from '../../devices/vsock.ts';
import type { HypervisorChoice } from '../../hypervisors.ts';
import type {
  Architecture,
  BootProtocol,
  CpuTemplate,
  IrqChipMode,
  TransportKind,
} from '../../machine/machine.ts';
import { either, flag, listOf, objectMessage, oneOf, pattern, text, whole } from './schemas.ts';

/** MiB, or a text with a unit: `512M`, `2G`. */
export type Size = number | string;
/** Seconds, or a text with a unit: `500ms`, `5m`. */
export type Duration = number | string;

/** Limits of a device, each for one second; bytes as a number, or a text like `10M`. */
export interface RunRate {
  readonly bandwidth?: number | string | undefined;
  readonly iops?: number | undefined;
}

export type RunDisk = Omit<DiskOptions, 'bandwidth' | 'iops'> & RunRate & { readonly path: string };

type RunNetworkOptions = Omit<NetworkOptions, 'bandwidth' | 'iops'> & RunRate;
export type RunNetwork = RunNetworkOptions &
  (
    | { readonly kind: 'tap'; readonly interface?: string }
    | {
        readonly kind: 'user';
        readonly tcp?: readonly PortForward[];
        readonly udp?: readonly PortForward[];
        readonly hostLoopback?: boolean;
      }
  );

export interface RunBalloon {
  /** What the guest is to give at the beginning. */
  readonly target?: Size;
  readonly deflateOnOom?: boolean;
  readonly freePageReporting?: boolean;
}

export type RunConsole =
  | 'stdio'
  | { readonly kind: 'pty'; readonly link?: string }
  | { readonly kind: 'file'; readonly path: string };

/**
 * What `run` can be told: by its flags, by `REFERENCE_VMM_*`, and by `--config FILE`, whose form this is. The schema below is
 * what all of them are made of.
 */
export interface RunConfig {
  readonly $schema?: string;
  readonly name?: string;
  readonly hypervisor: HypervisorChoice;
  readonly arch?: Architecture;
  readonly cpus: number;
  readonly memory: Size;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly cmdline?: string;
  readonly disk: readonly RunDisk[];
  readonly net: readonly RunNetwork[];
  readonly share: readonly ShareConfig[];
  readonly vsock?: VsockConfig;
  readonly balloon?: RunBalloon;
  readonly console: RunConsole;
  readonly transport: TransportKind;
  readonly ring: RingKind;
  readonly irqchip: IrqChipMode;
  readonly cpu: CpuTemplate;
  readonly bootProtocol?: BootProtocol;
  readonly guestFiles?: string;
  readonly timeout?: Duration;
  readonly debug: boolean;
  readonly detach: boolean;
  readonly interactive: boolean;
  readonly tty: boolean;
  readonly command?: readonly string[];
}

const MAX = Number.MAX_SAFE_INTEGER;
/** What whole guests are tested with, as `MAX_CPUS` of the configuration; this file is loaded by commands that make no VM. */
const MAX_CPUS = 8;
const MAX_PORT = 65535;
const MAX_QUEUES = 16;
const SIZE = /^\s*\d+(\.\d+)?\s*[KMGkmg]?([iI]?[bB])?\s*$/;
const BYTES = /^\d+[KMGkmg]?$/;
const DURATION = /^\s*\d+(\.\d+)?(ms|s|m|h)?\s*$/;

const size = either(whole(0, MAX), pattern(SIZE, 'a size'), 'a size: write 512 (MiB), "512M" or "2G"');
const duration = either(
  v.pipe(v.number(), v.minValue(0.001)),
  pattern(DURATION, 'a duration'),
  'a duration: write 30 (seconds), "30s", "500ms" or "5m"',
);
const rate = {
  bandwidth: v.exactOptional(
    either(
      whole(1, MAX),
      pattern(BYTES, 'a number of bytes'),
      'a number of bytes: write 500000, "64K" or "10M"',
    ),
  ),
  iops: v.exactOptional(whole(1, 1_000_000_000)),
};

const diskEntries = {
  path: text('a path'),
  readOnly: v.exactOptional(flag()),
  overlay: v.exactOptional(
    either(
      v.literal('memory'),
      v.strictObject({ file: text('a path') }, objectMessage(['file'])),
      '"memory" or {"file": PATH}',
    ),
  ),
  serial: v.exactOptional(pattern(/^[\x20-\x7e]{1,20}$/, '1 to 20 printable ASCII characters')),
  io: v.exactOptional(oneOf(['auto', 'io_uring', 'threads', 'portable'])),
  queues: v.exactOptional(whole(1, MAX_QUEUES)),
  ...rate,
};

const networkEntries = {
  mac: v.exactOptional(pattern(/^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$/, 'an address like 02:00:5e:10:00:01')),
  mtu: v.exactOptional(whole(68, 65535)),
  queues: v.exactOptional(whole(1, MAX_QUEUES)),
  pcap: v.exactOptional(text('a path')),
  ip: v.exactOptional(text('dhcp, none or an address like 10.0.0.2/24')),
  gateway: v.exactOptional(text('an IPv4 address')),
  ...rate,
};
const forwardEntries = {
  host: whole(1, MAX_PORT),
  guest: whole(1, MAX_PORT),
  address: v.exactOptional(text('an address')),
};
const ports = v.exactOptional(
  listOf(v.strictObject(forwardEntries, objectMessage(Object.keys(forwardEntries)))),
);
const tapEntries = { kind: v.literal('tap'), interface: v.exactOptional(text()), ...networkEntries };
const userEntries = {
  kind: v.literal('user'),
  tcp: ports,
  udp: ports,
  hostLoopback: v.exactOptional(flag()),
  ...networkEntries,
};
const network = v.variant(
  'kind',
  [
    v.strictObject(tapEntries, objectMessage(Object.keys(tapEntries))),
    v.strictObject(userEntries, objectMessage(Object.keys(userEntries))),
  ],
  'a network has a "kind", which is "tap" or "user"',
);

const shareEntries = {
  directory: text('a path'),
  tag: v.exactOptional(text()),
  mountPoint: v.exactOptional(text('a path in the guest')),
  readOnly: v.exactOptional(flag()),
};
const vsockEntries = { cid: whole(3, 0xffff_fffe), path: v.exactOptional(text('a path')) };
const balloonEntries = {
  target: v.exactOptional(size),
  deflateOnOom: v.exactOptional(flag()),
  freePageReporting: v.exactOptional(flag()),
};
const ptyEntries = { kind: v.literal('pty'), link: v.exactOptional(text('a path')) };
const fileEntries = { kind: v.literal('file'), path: text('a path') };
const consoleTarget = either(
  v.literal('stdio'),
  v.variant('kind', [
    v.strictObject(ptyEntries, objectMessage(Object.keys(ptyEntries))),
    v.strictObject(fileEntries, objectMessage(Object.keys(fileEntries))),
  ]),
  '"stdio", {"kind": "pty", "link": PATH} or {"kind": "file", "path": PATH}',
);

/** How a key is given on the command line. */
export interface FlagForm {
  /** As commander has it: `-c, --cpus <count>`; none for what is no flag. */
  readonly flags?: string;
  readonly choices?: readonly string[];
  /** May be given more than once. */
  readonly list?: boolean;
  /** Takes no value. */
  readonly on?: boolean;
  /** Of the help, where the flag has more to say than the key. */
  readonly help?: string;
}

/** By schema; a schema's own metadata would go into the JSON Schema. */
const forms = new Map<v.GenericSchema, FlagForm & { readonly description: string }>();

function described<T>(
  schema: v.GenericSchema<unknown, T>,
  description: string,
  form: FlagForm,
): v.GenericSchema<unknown, T> {
  const result = v.pipe(schema, v.description(description));
  forms.set(result, { ...form, description });
  return result;
}

function choice<const T extends readonly string[]>(
  flags: string,
  choices: T,
  description: string,
): v.GenericSchema<unknown, T[number]> {
  return described(oneOf(choices), description, { flags, choices });
}

function on(flags: string, description: string): v.GenericSchema<unknown, boolean> {
  return described(flag(), description, { flags, on: true });
}

const entries = {
  name: v.exactOptional(
    described(
      pattern(
        /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/,
        'a name: 1 to 63 letters, digits and inner hyphens',
      ),
      'name of the VM: 1 to 63 letters, digits and inner hyphens (default: vm-<pid>-1)',
      { flags: '-n, --name <name>' },
    ),
  ),
  hypervisor: v.exactOptional(
    choice(
      '--hypervisor <name>',
      ['auto', 'kvm', 'wasm'],
      'KVM, the software hypervisor, or KVM where it can run stock guests',
    ),
    'auto',
  ),
  arch: v.exactOptional(
    choice(
      '--arch <name>',
      ['x86_64', 'aarch64'],
      "architecture of the guest (default: the kernel's or the hypervisor's)",
    ),
  ),
  cpus: v.exactOptional(
    described(whole(1, MAX_CPUS), 'number of virtual CPUs, 1 to 8', { flags: '-c, --cpus <count>' }),
    1,
  ),
  memory: v.exactOptional(
    described(size, 'guest memory: MiB, or with K, M or G', { flags: '-m, --memory <size>' }),
    '256M',
  ),
  kernel: v.exactOptional(
    described(text('a path'), "kernel: arm64 Image, x86-64 bzImage or ELF (default: Debian's cloud kernel)", {
      flags: '-k, --kernel <file>',
    }),
  ),
  initrd: v.exactOptional(
    described(text('a path'), 'initial RAM filesystem for --kernel', { flags: '--initrd <file>' }),
  ),
  cmdline: v.exactOptional(
    described(v.string(), 'kernel command line, all of it', {
      flags: '-p, --cmdline <text>',
      help: 'kernel command line, in place of the default',
    }),
  ),
  disk: v.exactOptional(
    described(
      listOf(v.strictObject(diskEntries, objectMessage(Object.keys(diskEntries)))),
      'disks: raw images or block devices, /dev/vda, /dev/vdb …',
      {
        flags: '-d, --disk <file[,option]>',
        list: true,
        help: 'raw disk image or block device; options: ro, overlay (writes are gone with the VM), overlay=FILE, serial=TEXT, queues=N, io=io_uring|threads|portable, bandwidth=BYTES and iops=N a second',
      },
    ),
    [],
  ),
  net: v.exactOptional(
    described(listOf(network), 'network devices, eth0, eth1 …', {
      flags: '--net <kind[,option]>',
      list: true,
      help: 'tap, tap=NAME, user (passt) or none; options: mac=, mtu=N, queues=N, pcap=FILE, ip=dhcp|none|ADDRESS/BITS, gateway=, bandwidth=, iops=; user: tcp=[ADDRESS:]HOST:GUEST, udp=…, host-loopback',
    }),
    [],
  ),
  share: v.exactOptional(
    described(
      listOf(v.strictObject(shareEntries, objectMessage(Object.keys(shareEntries)))),
      'directories of the host',
      {
        flags: '--share <dir[:tag|:path][,ro]>',
        list: true,
        help: 'directory of the host, at /mnt/TAG or at PATH in the built-in guest',
      },
    ),
    [],
  ),
  vsock: v.exactOptional(
    described(
      v.strictObject(vsockEntries, objectMessage(Object.keys(vsockEntries))),
      "sockets between host and guest; CID is the guest's address, from 3",
      { flags: '--vsock <cid[,path=socket]>' },
    ),
  ),
  balloon: v.exactOptional(
    described(
      v.strictObject(balloonEntries, objectMessage(Object.keys(balloonEntries))),
      'memory that the guest gives back at the beginning',
      {
        flags: '--balloon <size|on>',
        help: 'memory that the guest gives back at the beginning; options: no-deflate-on-oom, no-reporting',
      },
    ),
  ),
  console: v.exactOptional(
    described(consoleTarget, 'where the console goes', {
      flags: '--console <where>',
      help: 'stdio, pty (a terminal of the host), pty=LINK, or file=PATH; with a command, a copy of what the kernel says',
    }),
    'stdio',
  ),
  transport: v.exactOptional(
    choice('--transport <name>', ['mmio', 'pci'], 'how virtio devices are connected'),
    'mmio',
  ),
  ring: v.exactOptional(
    choice('--ring <format>', ['split', 'packed'], 'virtqueues that are offered'),
    'split',
  ),
  irqchip: v.exactOptional(
    choice('--irqchip <where>', ['kernel', 'split'], 'x86-64: I/O APIC in the kernel or in this process'),
    'kernel',
  ),
  cpu: v.exactOptional(
    choice(
      '--cpu <template>',
      ['host', 'portable'],
      "x86-64: the host's CPUID, or what many hosts have in common",
    ),
    'host',
  ),
  bootProtocol: v.exactOptional(
    choice(
      '--boot-protocol <name>',
      ['linux64', 'pvh'],
      'x86-64: way into an ELF kernel (default: PVH, if the kernel knows it)',
    ),
  ),
  guestFiles: v.exactOptional(
    described(text('a path'), 'cpio archive (newc) that the built-in guest unpacks as well', {
      flags: '--guest-files <archive>',
    }),
  ),
  timeout: v.exactOptional(
    described(duration, 'end the VM after 30 (seconds), 30s, 500ms, 5m …', { flags: '--timeout <duration>' }),
  ),
  debug: v.exactOptional(
    on('--debug', 'report kernel messages, undefined instructions and unclaimed accesses on standard error'),
    false,
  ),
  detach: v.exactOptional(
    on('--detach', 'return when the guest has started; it goes on in a process of its own'),
    false,
  ),
  interactive: v.exactOptional(
    on(
      '-i, --interactive',
      'pass standard input on, a terminal too; without a command and -t to sh; with --detach: keep it open for attach',
    ),
    false,
  ),
  tty: v.exactOptional(
    on('-t, --tty', 'give the command a terminal, the console; with -i what is typed goes there'),
    false,
  ),
  command: v.exactOptional(
    described(
      v.pipe(listOf(v.string()), v.minLength(1, 'is empty')),
      'program and arguments that the built-in guest runs instead of a shell',
      {},
    ),
  ),
};

export const runConfigSchema: v.GenericSchema<unknown, RunConfig> = v.strictObject(
  { $schema: v.exactOptional(v.string()), ...entries },
  objectMessage(Object.keys(entries)),
);

export type RunKey = Exclude<keyof RunConfig, '$schema'>;

/** A key of {@link RunConfig} as the command line and the environment know it. */
export interface Setting extends FlagForm {
  readonly key: RunKey;
  readonly description: string;
  /** What it is without being told. */
  readonly default: unknown;
}

/** All keys, in the order of the help. */
export const SETTINGS: readonly Setting[] = (Object.keys(entries) as RunKey[]).map((key) => ({
  key,
  description: '',
  ...forms.get(entries[key].wrapped),
  default: v.getDefault(entries[key]),
}));
