import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { VmmError } from '../errors.ts';
import type { Architecture } from '../machine/machine.ts';
import { PrivateApt, type Progress, decompressWith } from './apt.ts';
import { type CpioEntry, buildCpio } from './cpio.ts';
import { COMMAND_FILE, HOSTNAME_FILE, commandScript, initScript } from './init.ts';

/** Modules that the stock cloud kernel does not have built in and that its devices here need. */
const MODULES = ['virtio_mmio', 'virtio_console', 'virtio_blk', 'virtio-rng'];

/** Changes whenever the files made from the packages change in shape. */
const GUEST_FORMAT = 1;

/** What Debian calls an architecture, and the serial port that its kernel calls the first. */
const DEBIAN: Readonly<Record<Architecture, { readonly name: string; readonly tty: string }>> = {
  aarch64: { name: 'arm64', tty: 'ttyAMA0' },
  x86_64: { name: 'amd64', tty: 'ttyS0' },
};

/** Debian's unmodified cloud kernel and an initial RAM filesystem made of busybox-static. */
export interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
  /** Package version of the kernel, e.g. `6.1.170-1`. */
  readonly kernelVersion: string;
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
  const cache = cacheDirectory();
  const directory = guestDirectory(arch);
  if (!existsSync(join(directory, 'manifest.json'))) {
    mkdirSync(cache, { recursive: true });
    const work = mkdtempSync(join(cache, 'fetch-'));
    const clean = (): void => rmSync(work, { recursive: true, force: true });
    process.once('exit', clean);
    try {
      await fetchGuest(join(cache, `apt-${DEBIAN[arch].name}`), work, arch, progress);
      rmSync(directory, { recursive: true, force: true });
      try {
        renameSync(work, directory);
      } catch (error) {
        // Another process that fetched at the same time was first: its files are as good.
        if (!existsSync(join(directory, 'manifest.json'))) throw error;
      }
    } finally {
      process.off('exit', clean);
      clean();
    }
  }
  const kernelVersion = kernelVersionIn(directory);
  if (kernelVersion === undefined) {
    throw new VmmError('GUEST_INCOMPLETE', `${directory} is damaged: remove it and start again`);
  }
  return {
    kernel: join(directory, 'vmlinuz'),
    initramfs: join(directory, 'initramfs.cpio'),
    kernelVersion,
  };
}

function kernelVersionIn(directory: string): string | undefined {
  const manifest: unknown = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8'));
  return typeof manifest === 'object' &&
    manifest !== null &&
    'kernelVersion' in manifest &&
    typeof manifest.kernelVersion === 'string'
    ? manifest.kernelVersion
    : undefined;
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
      const kernelVersion = kernelVersionIn(directory);
      return kernelVersion === undefined ? [] : [{ arch, kernelVersion, directory }];
    } catch {
      return [];
    }
  });
}

/** Named for what the files are made by, so that another version of this package makes its own. */
function guestDirectory(arch: Architecture): string {
  const { name, tty } = DEBIAN[arch];
  const key = createHash('sha256')
    .update(`${GUEST_FORMAT}\0${initScript(['@modules@'], tty)}\0${MODULES.join()}`)
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
    const boot = readdirSync(join(tree, 'boot')).find((name) => name.startsWith('vmlinuz-'));
    if (boot === undefined) throw new VmmError('GUEST_INCOMPLETE', `${kernelPackage} holds no kernel`);
    renameSync(join(tree, 'boot', boot), join(target, 'vmlinuz'));
    writeFileSync(join(target, 'initramfs.cpio'), buildCpio(initramfsEntries(tree, tty)));
    const manifest = { kernelPackage, kernelVersion, busyboxVersion };
    writeFileSync(join(target, 'manifest.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  } finally {
    rmSync(tree, { recursive: true, force: true });
    rmSync(join(aptDirectory, 'download'), { recursive: true, force: true });
  }
}

function initramfsEntries(tree: string, tty: string): CpioEntry[] {
  const busybox = ['bin/busybox', 'usr/bin/busybox']
    .map((path) => join(tree, path))
    .find((path) => existsSync(path));
  if (busybox === undefined) throw new VmmError('GUEST_INCOMPLETE', 'busybox-static holds no busybox');
  const modules = loadModules(tree);
  const directories = [
    'bin',
    'sbin',
    'usr',
    'usr/bin',
    'usr/sbin',
    'lib',
    'lib/modules',
    'etc',
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
    { type: 'file', path: 'etc/group', data: text.encode('root:x:0:\n') },
    ...modules.map(({ name, data }): CpioEntry => ({ type: 'file', path: `lib/modules/${name}.ko`, data })),
    {
      type: 'file',
      path: 'init',
      data: text.encode(
        initScript(
          modules.map(({ name }) => name),
          tty,
        ),
      ),
      mode: 0o755,
    },
  ];
}

/** The modules of {@link MODULES} and what they depend on, in loading order; built-in ones are left out. */
function loadModules(tree: string): { name: string; data: Uint8Array }[] {
  const root = ['lib/modules', 'usr/lib/modules']
    .map((path) => join(tree, path))
    .find((path) => existsSync(path));
  const release = root === undefined ? undefined : readdirSync(root)[0];
  if (root === undefined || release === undefined)
    throw new VmmError('GUEST_INCOMPLETE', 'the kernel package holds no modules');
  const files = new Map<string, string>();
  for (const entry of readdirSync(join(root, release), { recursive: true, encoding: 'utf8' })) {
    const match = /([^/]+)\.ko(\.xz|\.zst)?$/.exec(entry);
    if (match !== null) files.set(canonical(match[1]!), join(root, release, entry));
  }
  const builtin = new Set(
    readFileSync(join(root, release, 'modules.builtin'), 'utf8')
      .split('\n')
      .map((line) => canonical(/([^/]+)\.ko$/.exec(line)?.[1] ?? '')),
  );
  const loaded = new Map<string, Uint8Array>();
  const load = (name: string): void => {
    if (loaded.has(name) || builtin.has(name)) return;
    const file = files.get(name);
    if (file === undefined) throw new VmmError('GUEST_INCOMPLETE', `the kernel has no module ${name}`);
    const data = readModule(file);
    for (const dependency of dependenciesOf(data)) load(canonical(dependency));
    loaded.set(name, data);
  };
  for (const name of MODULES) load(canonical(name));
  return [...loaded].map(([name, data]) => ({ name, data }));
}

function canonical(module: string): string {
  return module.replaceAll('-', '_');
}

function readModule(file: string): Uint8Array {
  if (file.endsWith('.xz')) return decompressWith('xz', file);
  if (file.endsWith('.zst')) return decompressWith('zstd', file);
  return readFileSync(file);
}

function dependenciesOf(module: Uint8Array): string[] {
  const text = Buffer.from(module.buffer, module.byteOffset, module.byteLength).toString('latin1');
  return (/\0depends=([^\0]*)\0/.exec(text)?.[1] ?? '').split(',').filter((name) => name !== '');
}

/** The archive that follows the initial RAM filesystem and says what this run wants of the guest. */
export function runArchive(options: { command?: readonly string[]; hostname: string }): Uint8Array {
  const text = new TextEncoder();
  const entries: CpioEntry[] = [
    { type: 'file', path: HOSTNAME_FILE, data: text.encode(`${options.hostname}\n`) },
  ];
  if (options.command !== undefined) {
    entries.push({ type: 'file', path: COMMAND_FILE, data: text.encode(commandScript(options.command)) });
  }
  return buildCpio(entries);
}
