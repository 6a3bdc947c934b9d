import { CommandLine } from '@vmm/arch';
import type { BlobReader } from '@vmm/arch';
import { agentFiles } from './agent/program.ts';
import type { VmmConfig } from './config.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import { VmmError } from './errors.ts';
import { Concatenation, FileSource } from './files.ts';
import type { Progress } from './guest/apt.ts';
import { TERMINAL_SETUP } from './guest/console.ts';
import { type GuestModule, prepareGuest } from './guest/guest.ts';
import { POWER_BUTTON_SETUP, powerButtonDrivers } from './guest/power-button.ts';
import { runArchive } from './guest/run-archive.ts';
import type { Architecture, BootProtocol } from './machine/machine.ts';
import { defaultCmdline } from './machine/platform.ts';

/** What is booted: files, and what goes behind the initial RAM filesystem. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly appendices: readonly Uint8Array[];
  readonly cmdline: string;
  /** x86-64, for ELF kernels with more than one way in. */
  readonly protocol?: BootProtocol | undefined;
}

/** Finds the files to boot; the built-in guest is fetched if it is not in the cache. */
export async function bootFiles(
  config: VmmConfig,
  arch: Architecture,
  devices: readonly PreparedDevice[],
  progress: Progress,
): Promise<BootFiles> {
  const cmdline = new CommandLine()
    .append(config.cmdline ?? defaultCmdline(arch, config.transport))
    .toString();
  if (config.kernel !== undefined) {
    return {
      kernel: config.kernel,
      initrd: config.initrd,
      appendices: [],
      cmdline,
      protocol: config.bootProtocol,
    };
  }
  const archive = config.guestArchive === undefined ? undefined : readArchive(config.guestArchive);
  const guest = await prepareGuest(progress, arch);
  const run = runArchive({
    hostname: config.name,
    modules: guest.modules([...driversFor(config, devices), ...powerButtonDrivers(arch)]),
    setup: [
      ...devices.flatMap(({ setup }) => setup ?? []),
      POWER_BUTTON_SETUP,
      ...(config.command !== undefined && config.terminal === true ? [TERMINAL_SETUP] : []),
    ],
    command: config.command,
    files: [...agentFiles(arch), ...(config.guestFiles ?? [])],
  });
  const appendices = archive === undefined ? [run] : [archive, run];
  return { kernel: guest.kernel, initrd: guest.initramfs, appendices, cmdline };
}

const NEWC_MAGIC = '070701';

/** @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `INVALID_CONFIG` */
function readArchive(path: string): Uint8Array {
  using source = new FileSource(path, 'guest files');
  // Archives behind one another begin at multiples of 4.
  const bytes = new Uint8Array(Math.ceil(source.size / 4) * 4);
  for (let done = 0; done < source.size;) {
    const count = source.read(done, bytes.subarray(done, source.size));
    if (count === 0) throw new VmmError('FILE_UNREADABLE', `guest files: ${path} was cut while it was read`);
    done += count;
  }
  if (new TextDecoder('latin1').decode(bytes.subarray(0, NEWC_MAGIC.length)) !== NEWC_MAGIC)
    throw new VmmError('INVALID_CONFIG', `guest files: ${path} is no cpio archive in the newc format`);
  return bytes;
}

/** Kernel modules for the devices of a VM; the transport's comes first, so that the others find their devices. */
function driversFor(config: VmmConfig, devices: readonly PreparedDevice[]): GuestModule[] {
  return [
    config.transport === 'pci' ? 'virtio_pci' : 'virtio_mmio',
    'virtio_console',
    ...devices.flatMap(({ drivers }) => drivers),
  ];
}

/**
 * Opens the files while `load` reads them.
 *
 * @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, and what `load` throws
 */
export async function withBootFiles<T>(
  files: BootFiles,
  load: (kernel: BlobReader, initrd: BlobReader | undefined) => Promise<T>,
): Promise<T> {
  using kernel = new FileSource(files.kernel, 'kernel');
  if (files.initrd === undefined) return await load(kernel, undefined);
  using initrd = new FileSource(files.initrd, 'initrd');
  return await load(
    kernel,
    files.appendices.length === 0 ? initrd : new Concatenation([initrd, ...files.appendices]),
  );
}
