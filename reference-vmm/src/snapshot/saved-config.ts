import { resolve } from 'node:path';
import * as v from 'valibot';
import type { RingKind, VmmConfig } from '../config.ts';
import type { BalloonConfig } from '../devices/balloon.ts';
import type { CustomDeviceConfig } from '../devices/custom.ts';
import type { DiskConfig, DiskOptions } from '../devices/disk.ts';
import type { NetworkConfig, NetworkOptions } from '../devices/network.ts';
import type { ShareConfig } from '../devices/share.ts';
import type { VsockConfig } from '../devices/vsock.ts';
import { VmmError } from '../errors.ts';
import type { CpioEntry } from '../guest/cpio.ts';
import type { BootProtocol, CpuTemplate, IrqChipMode, TransportKind } from '../machine/machine.ts';

/** A disk, or the place of one whose backend was an object. */
export type SavedDisk = DiskOptions & ({ readonly path: string } | { readonly backend: 'object' });

/** As {@link SavedDisk}. */
export type SavedNetwork =
  | Extract<NetworkConfig, { kind: 'tap' } | { kind: 'user' }>
  | (NetworkOptions & { readonly kind: 'backend' });

/** An entry of an archive, with what it holds in base64. */
export type SavedEntry =
  | Exclude<CpioEntry, { type: 'file' }>
  | (Omit<Extract<CpioEntry, { type: 'file' }>, 'data'> & { readonly data: string });

/** Most bytes of files for the built-in guest that a snapshot keeps; with more the restored VM cannot be reset. */
const MAX_GUEST_FILES = 8 * 1024 * 1024;

/** What a reset starts again from. Files are read anew, as they are then. */
export interface SavedBoot {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly cmdline?: string;
  readonly bootProtocol?: BootProtocol;
  readonly guestArchive?: string;
  readonly guestFiles?: readonly SavedEntry[];
}

/** What of a VM's configuration its machine and its devices are made from again. Paths are absolute. */
export interface SavedConfig {
  readonly name: string;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  readonly irqchip?: IrqChipMode;
  readonly cpu?: CpuTemplate;
  readonly transport?: TransportKind;
  readonly ring?: RingKind;
  readonly disks: readonly SavedDisk[];
  readonly networks: readonly SavedNetwork[];
  readonly shares: readonly ShareConfig[];
  readonly vsock?: VsockConfig;
  readonly balloon?: BalloonConfig;
  /** How many devices of one's own there are. */
  readonly devices: number;
  readonly command?: readonly string[];
  readonly terminal?: boolean;
  /** Absent where the snapshot cannot have it. */
  readonly boot?: SavedBoot;
}

/** What a restored VM has in place of what the saved one had; of the same kind and number. */
export interface Replacements {
  readonly disks?: readonly DiskConfig[] | undefined;
  readonly networks?: readonly NetworkConfig[] | undefined;
  readonly shares?: readonly ShareConfig[] | undefined;
  readonly vsock?: VsockConfig | undefined;
  readonly devices?: readonly CustomDeviceConfig[] | undefined;
}

const text = v.string();
const integer = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const rate = { bandwidth: v.exactOptional(integer), iops: v.exactOptional(integer) };

const diskOptions = {
  readOnly: v.exactOptional(v.boolean()),
  serial: v.exactOptional(text),
  overlay: v.exactOptional(v.strictObject({ file: text })),
  io: v.exactOptional(v.picklist(['auto', 'io_uring', 'threads', 'portable'])),
  queues: v.exactOptional(integer),
  ...rate,
};

const networkOptions = {
  mac: v.exactOptional(text),
  mtu: v.exactOptional(integer),
  queues: v.exactOptional(integer),
  ip: v.exactOptional(text),
  gateway: v.exactOptional(text),
  ...rate,
};

const ports = v.exactOptional(
  v.array(v.strictObject({ host: integer, guest: integer, address: v.exactOptional(text) })),
);

const mode = v.exactOptional(v.pipe(integer, v.maxValue(0o7777)));
const boot = v.strictObject({
  kernel: v.exactOptional(text),
  initrd: v.exactOptional(text),
  cmdline: v.exactOptional(text),
  bootProtocol: v.exactOptional(v.picklist(['linux64', 'pvh'])),
  guestArchive: v.exactOptional(text),
  guestFiles: v.exactOptional(
    v.array(
      v.variant('type', [
        v.strictObject({ type: v.literal('directory'), path: text, mode }),
        v.strictObject({ type: v.literal('file'), path: text, data: v.pipe(text, v.base64()), mode }),
        v.strictObject({ type: v.literal('symlink'), path: text, target: text }),
      ]),
    ),
  ),
});

export const savedConfigSchema: v.GenericSchema<unknown, SavedConfig> = v.strictObject({
  name: text,
  cpus: integer,
  memory: integer,
  irqchip: v.exactOptional(v.picklist(['kernel', 'split'])),
  cpu: v.exactOptional(v.picklist(['host', 'portable'])),
  transport: v.exactOptional(v.picklist(['mmio', 'pci'])),
  ring: v.exactOptional(v.picklist(['split', 'packed'])),
  disks: v.array(
    v.union([
      v.strictObject({ path: text, ...diskOptions }),
      v.strictObject({ backend: v.literal('object'), ...diskOptions }),
    ]),
  ),
  networks: v.array(
    v.variant('kind', [
      v.strictObject({ kind: v.literal('tap'), interface: v.exactOptional(text), ...networkOptions }),
      v.strictObject({
        kind: v.literal('user'),
        tcp: ports,
        udp: ports,
        hostLoopback: v.exactOptional(v.boolean()),
        ...networkOptions,
      }),
      v.strictObject({ kind: v.literal('backend'), ...networkOptions }),
    ]),
  ),
  shares: v.array(
    v.strictObject({
      directory: text,
      tag: v.exactOptional(text),
      mountPoint: v.exactOptional(text),
      readOnly: v.exactOptional(v.boolean()),
    }),
  ),
  vsock: v.exactOptional(v.strictObject({ cid: integer, path: v.exactOptional(text) })),
  balloon: v.exactOptional(
    v.strictObject({
      target: v.exactOptional(integer),
      deflateOnOom: v.exactOptional(v.boolean()),
      freePageReporting: v.exactOptional(v.boolean()),
      freePageHinting: v.exactOptional(v.boolean()),
    }),
  ),
  devices: integer,
  command: v.exactOptional(v.array(text)),
  terminal: v.exactOptional(v.boolean()),
  boot: v.exactOptional(boot),
});

/** @throws VmmError `NOT_SUPPORTED` for what only the process of the VM has */
export function saveConfig(config: VmmConfig): SavedConfig {
  const { name, cpus, memory, irqchip, cpu, transport, ring, balloon, command, terminal } = config;
  const { disks, networks = [], shares = [], devices = [], vsock } = config;
  const saved = {
    name,
    cpus,
    memory,
    irqchip,
    cpu,
    transport,
    ring,
    disks: disks.map(saveDisk),
    networks: networks.map(saveNetwork),
    shares: shares.map((share) => ({ ...share, directory: resolve(share.directory) })),
    vsock: vsock?.path === undefined ? vsock : { ...vsock, path: resolve(vsock.path) },
    balloon,
    devices: devices.length,
    command,
    terminal,
    boot: saveBoot(config),
  };
  // Without what is undefined.
  return v.parse(savedConfigSchema, JSON.parse(JSON.stringify(saved)));
}

function saveBoot(config: VmmConfig): SavedBoot | undefined {
  const { kernel, initrd, guestArchive, guestFiles } = config;
  const { cmdline, bootProtocol } = config;
  const size = (guestFiles ?? []).reduce(
    (sum, each) => sum + (each.type === 'file' ? each.data.length : 0),
    0,
  );
  if (size > MAX_GUEST_FILES) return undefined;
  return {
    ...(kernel !== undefined && { kernel: resolve(kernel) }),
    ...(initrd !== undefined && { initrd: resolve(initrd) }),
    ...(cmdline !== undefined && { cmdline }),
    ...(bootProtocol !== undefined && { bootProtocol }),
    ...(guestArchive !== undefined && { guestArchive: resolve(guestArchive) }),
    ...(guestFiles !== undefined && { guestFiles: guestFiles.map(saveEntry) }),
  };
}

function saveEntry(entry: CpioEntry): SavedEntry {
  if (entry.type !== 'file') return entry;
  const { data } = entry;
  return { ...entry, data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') };
}

function restoreEntry(entry: SavedEntry): CpioEntry {
  return entry.type === 'file'
    ? { ...entry, data: new Uint8Array(Buffer.from(entry.data, 'base64')) }
    : entry;
}

function saveDisk(disk: DiskConfig, index: number): object {
  const { overlay } = disk;
  if (overlay === 'memory')
    throw new VmmError(
      'NOT_SUPPORTED',
      `disk ${index} keeps what the guest wrote in memory, which no snapshot has: give it an overlay in a file`,
    );
  const place = 'path' in disk ? { path: resolve(disk.path) } : { backend: 'object' };
  return { ...disk, ...place, overlay: overlay && { file: resolve(overlay.file) } };
}

/** A recording is not gone on with: it would take the place of the first one. */
function saveNetwork(network: NetworkConfig): object {
  return { ...network, pcap: undefined, ...(network.kind === 'backend' ? { backend: undefined } : {}) };
}

/**
 * The configuration of the restored VM.
 *
 * @throws VmmError `SNAPSHOT_MISMATCH` when replacements are missing or not as many as there must be
 */
export function restoreConfig(
  saved: SavedConfig,
  replacements: Replacements,
  place: Pick<VmmConfig, 'name' | 'hypervisor' | 'arch'>,
): VmmConfig {
  const disks = replace('disks', saved.disks.length, replacements.disks) ?? saved.disks.map(restoreDisk);
  const networks =
    replace('networks', saved.networks.length, replacements.networks) ?? saved.networks.map(restoreNetwork);
  const shares = replace('shares', saved.shares.length, replacements.shares) ?? saved.shares;
  const devices = replace('devices', saved.devices, replacements.devices) ?? [];
  if (devices.length !== saved.devices) throw missing(`${saved.devices} devices of its own`, 'devices');
  if (replacements.vsock !== undefined && replacements.vsock.cid !== saved.vsock?.cid)
    throw mismatch(`vsock: the guest has ${saved.vsock === undefined ? 'none' : `CID ${saved.vsock.cid}`}`);
  const vsock = replacements.vsock ?? saved.vsock;
  const { boot: savedBoot, ...rest } = saved;
  return {
    ...rest,
    ...restoreBoot(savedBoot),
    ...place,
    disks,
    networks,
    shares,
    devices,
    ...(vsock && { vsock }),
  };
}

function restoreBoot({ guestFiles, ...rest }: SavedBoot = {}): Partial<VmmConfig> {
  return { ...rest, ...(guestFiles && { guestFiles: guestFiles.map(restoreEntry) }) };
}

function replace<T>(
  what: string,
  saved: number,
  replacements: readonly T[] | undefined,
): readonly T[] | undefined {
  if (replacements !== undefined && replacements.length !== saved)
    throw mismatch(`${what}: the guest has ${saved}, not ${replacements.length}`);
  return replacements;
}

function restoreDisk(disk: SavedDisk, index: number): DiskConfig {
  if ('path' in disk) return disk;
  throw missing(`disk ${index} from a backend of the program's own`, 'disks');
}

function restoreNetwork(network: SavedNetwork, index: number): NetworkConfig {
  if (network.kind !== 'backend') return network;
  throw missing(`network ${index} from a backend of the program's own`, 'networks');
}

function missing(what: string, option: string): VmmError {
  return mismatch(`the guest has ${what}, which a snapshot cannot have: give ${option}`);
}

function mismatch(message: string): VmmError {
  return new VmmError('SNAPSHOT_MISMATCH', message);
}
