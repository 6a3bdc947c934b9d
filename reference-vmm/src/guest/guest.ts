import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { VmmError } from '../errors.ts';
import type { Architecture } from '../machine/machine.ts';
import { PrivateApt, type Progress } from './apt.ts';
import { type CpioEntry, buildCpio } from './cpio.ts';
import { makeInCache } from './fetch-directory.ts';
import { BASE_MODULES_FILE, DHCP_SCRIPT, initScript, lines } from './init.ts';
import { KernelModules, firstOf, kernelImage } from './kernel-package.ts';

/** Drivers that a run may need and that the stock cloud kernel does not have built in. */
export const GUEST_MODULES = [
  'virtio_mmio',
  'virtio_pci',
  'virtio_console',
  'virtio_rng',
  'virtio_blk',
  'virtio_net',
  'virtiofs',
  'vmw_vsock_virtio_transport',
  'virtio_balloon',
  'button',
  'evdev',
] as const;
export type GuestModule = (typeof GUEST_MODULES)[number];

/** Those that are in the initial RAM filesystem itself, and loaded when a run names no others. */
const BASE_MODULES: readonly GuestModule[] = ['virtio_mmio', 'virtio_console', 'virtio_blk', 'virtio_rng'];

/** Changes whenever the files made from the packages change in shape. */
const GUEST_FORMAT = 2;

/** What Debian calls an architecture, and the serial port that its kernel calls the first. */
const DEBIAN: Readonly<Record<Architecture, { readonly name: string; readonly tty: string }>> = {
  aarch64: { name: 'arm64', tty: 'ttyAMA0' },
  x86_64: { name: 'amd64', tty: 'ttyS0' },
};

/** What Debian calls architectures. */
export const DEBIAN_NAMES: Readonly<Record<Architecture, string>> = {
  aarch64: DEBIAN.aarch64.name,
  x86_64: DEBIAN.x86_64.name,
};

/** Debian's unmodified cloud kernel and an initial RAM filesystem made of busybox-static. */
export interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
  /** Package version of the kernel, e.g. `6.1.170-1`. */
  readonly kernelVersion: string;
  /** What a run has to load, in this order, for the given drivers; those in the initramfs come without data. */
  modules(drivers: readonly GuestModule[]): LoadableModule[];
}

/** A kernel module for a run of the built-in guest. */
export interface LoadableModule {
  readonly name: string;
  readonly data?: Uint8Array;
}

/** What `manifest.json` says of the files beside it. */
interface Manifest {
  readonly kernelVersion: string;
  /** Names of modules in the initramfs. */
  readonly base: readonly string[];
  /** By driver: the modules to load for it, in this order. */
  readonly modules: Readonly<Record<string, readonly string[]>>;
}

/** `$XDG_CACHE_HOME/reference-vmm`, or the same below the home directory. */
export function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'), 'reference-vmm');
}

/**
 * The built-in guest from the cache; fetched through apt the first time.
 *
 * @throws VmmError `NO_APT`, `APT_FAILED`, `GUEST_INCOMPLETE`
 */
export async function prepareGuest(progress: Progress, arch: Architecture = 'aarch64'): Promise<Guest> {
  const directory = guestDirectory(arch);
  if (!isMade(directory)) {
    await makeInCache(directory, isMade, (fresh, work) =>
      fetchGuest(join(work, 'apt'), fresh, arch, progress),
    );
  }
  const manifest = readManifest(directory);
  if (manifest === undefined) {
    throw new VmmError('GUEST_INCOMPLETE', `${directory} is damaged: remove it and start again`);
  }
  return {
    kernel: join(directory, 'vmlinuz'),
    initramfs: join(directory, 'initramfs.cpio'),
    kernelVersion: manifest.kernelVersion,
    modules: (drivers) => loadable(directory, manifest, drivers),
  };
}

function isMade(directory: string): boolean {
  return existsSync(join(directory, 'manifest.json'));
}

function loadable(directory: string, manifest: Manifest, drivers: readonly GuestModule[]): LoadableModule[] {
  const names = new Set(drivers.flatMap((driver) => manifest.modules[driver] ?? []));
  return [...names].map((name) =>
    manifest.base.includes(name) ? { name } : { name, data: readFileSync(moduleFile(directory, name)) },
  );
}

function moduleFile(directory: string, name: string): string {
  return join(directory, 'modules', `${name}.ko`);
}

function readManifest(directory: string): Manifest | undefined {
  const manifest: unknown = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'));
  return isManifest(manifest) ? manifest : undefined;
}

function isManifest(value: unknown): value is Manifest {
  if (typeof value !== 'object' || value === null) return false;
  if (!('kernelVersion' in value) || typeof value.kernelVersion !== 'string') return false;
  if (!('base' in value) || !isNames(value.base)) return false;
  if (!('modules' in value) || typeof value.modules !== 'object' || value.modules === null) return false;
  return Object.values(value.modules).every(isNames);
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string' && /^\w+$/.test(name));
}

/** A built-in guest that needs no fetching. */
export interface CachedGuest {
  readonly arch: Architecture;
  readonly kernelVersion: string;
  readonly directory: string;
}

/** The built-in guests in the cache that this version uses. */
export function cachedGuests(): CachedGuest[] {
  return (Object.keys(DEBIAN) as Architecture[]).flatMap((arch) => {
    const directory = guestDirectory(arch);
    try {
      const manifest = readManifest(directory);
      return manifest === undefined ? [] : [{ arch, kernelVersion: manifest.kernelVersion, directory }];
    } catch {
      return [];
    }
  });
}

/** Named for what the files are made by, so that another version of this package makes its own. */
function guestDirectory(arch: Architecture): string {
  const { name, tty } = DEBIAN[arch];
  const key = createHash('sha256')
    .update(
      [GUEST_FORMAT, initScript(tty), DHCP_SCRIPT, BASE_MODULES.join(), GUEST_MODULES.join()].join('\0'),
    )
    .digest('hex')
    .slice(0, 12);
  return join(cacheDirectory(), `guest-${name}-${key}`);
}

async function fetchGuest(
  aptDirectory: string,
  target: string,
  arch: Architecture,
  progress: Progress,
): Promise<void> {
  const { name: debian, tty } = DEBIAN[arch];
  const apt = new PrivateApt(aptDirectory, debian, progress);
  await apt.update();
  const kernelPackage = (await apt.dependencies(`linux-image-cloud-${debian}`)).find((name) =>
    name.startsWith('linux-image-'),
  );
  if (kernelPackage === undefined) {
    throw new VmmError(
      'GUEST_INCOMPLETE',
      `the package linux-image-cloud-${debian} names no kernel: give your own with --kernel and --initrd`,
    );
  }
  const tree = join(target, 'tree');
  try {
    const kernelVersion = await apt.unpack(kernelPackage, tree);
    const busyboxVersion = await apt.unpack('busybox-static', tree);
    progress('building the initial RAM filesystem');
    renameSync(kernelImage(tree), join(target, 'vmlinuz'));
    const kernelModules = new KernelModules(tree);
    const modules = Object.fromEntries(GUEST_MODULES.map((name) => [name, kernelModules.closure(name)]));
    const base = [...new Set(BASE_MODULES.flatMap((name) => modules[name] ?? []))];
    mkdirSync(join(target, 'modules'));
    for (const name of new Set(Object.values(modules).flat()))
      writeFileSync(moduleFile(target, name), kernelModules.read(name));
    const baseModules = base.map((name) => ({ name, data: kernelModules.read(name) }));
    writeFileSync(join(target, 'initramfs.cpio'), buildCpio(initramfsEntries(tree, baseModules, tty)));
    const manifest = { kernelPackage, kernelVersion, busyboxVersion, base, modules };
    writeFileSync(join(target, 'manifest.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

function initramfsEntries(
  tree: string,
  modules: readonly { readonly name: string; readonly data: Uint8Array }[],
  tty: string,
): CpioEntry[] {
  const busybox = firstOf(tree, 'bin/busybox', 'usr/bin/busybox');
  if (busybox === undefined) throw new VmmError('GUEST_INCOMPLETE', 'busybox-static holds no busybox');
  const directories = [
    'bin',
    'sbin',
    'usr',
    'usr/bin',
    'usr/sbin',
    'lib',
    'lib/modules',
    'etc',
    'etc/udhcpc',
    'root',
    'proc',
    'sys',
    'dev',
    'tmp',
    'run',
    'mnt',
    'vmm',
  ];
  const text = new TextEncoder();
  return [
    ...directories.map((path): CpioEntry => ({ type: 'directory', path })),
    { type: 'file', path: 'bin/busybox', data: readFileSync(busybox), mode: 0o755 },
    { type: 'symlink', path: 'bin/sh', target: 'busybox' },
    { type: 'file', path: 'etc/passwd', data: text.encode('root:x:0:0:root:/root:/bin/sh\n') },
    { type: 'file', path: 'etc/udhcpc/default.script', data: text.encode(DHCP_SCRIPT), mode: 0o755 },
    { type: 'file', path: 'etc/group', data: text.encode('root:x:0:\n') },
    ...modules.map(({ name, data }): CpioEntry => ({ type: 'file', path: `lib/modules/${name}.ko`, data })),
    { type: 'file', path: BASE_MODULES_FILE, data: text.encode(lines(modules.map(({ name }) => name))) },
    { type: 'file', path: 'init', data: text.encode(initScript(tty)), mode: 0o755 },
  ];
}
