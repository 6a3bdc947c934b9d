import { CommandLine } from '@vmm/arch';
import type { BlobReader } from '@vmm/arch';
import type { VmmConfig } from './config.ts';
import type { PreparedDevice } from './devices/prepared.ts';
import { Concatenation, FileSource } from './files.ts';
import type { Progress } from './guest/apt.ts';
import { type GuestModule, prepareGuest } from './guest/guest.ts';
import { runArchive } from './guest/run-archive.ts';
import type { Architecture, BootProtocol } from './machine/machine.ts';
import { defaultCmdline } from './machine/platform.ts';

/** What is booted: files, and what goes behind the initial RAM filesystem. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly appendix: Uint8Array | undefined;
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
      appendix: undefined,
      cmdline,
      protocol: config.bootProtocol,
    };
  }
  const guest = await prepareGuest(progress, arch);
  const appendix = runArchive({
    hostname: config.name,
    modules: guest.modules(driversFor(config, devices)),
    setup: devices.flatMap(({ setup }) => setup ?? []),
    command: config.command,
    files: config.guestFiles,
  });
  return { kernel: guest.kernel, initrd: guest.initramfs, appendix, cmdline };
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
    files.appendix === undefined ? initrd : new Concatenation([initrd, files.appendix]),
  );
}
