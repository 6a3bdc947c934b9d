import { CommandLine, aarch64 } from '@vmm/arch';
import type { GuestMemory } from '@vmm/vm-memory';
import { DEFAULT_CMDLINE, type VmmConfig } from './config.ts';
import { Concatenation, FileSource } from './files.ts';
import { prepareGuest, runArchive } from './guest/guest.ts';
import type { Progress } from './guest/apt.ts';

/** Translation granules that the vCPUs have. */
const PAGE_SIZES = [4096] as const;

/** What is booted: files, and what goes behind the initial RAM filesystem. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly appendix: Uint8Array | undefined;
  readonly cmdline: string;
}

/** Finds the files to boot; the built-in guest is fetched if it is not in the cache. */
export async function bootFiles(config: VmmConfig, progress: Progress): Promise<BootFiles> {
  const cmdline = config.cmdline ?? DEFAULT_CMDLINE;
  if (config.kernel !== undefined) {
    return { kernel: config.kernel, initrd: config.initrd, appendix: undefined, cmdline };
  }
  const guest = await prepareGuest(progress);
  const appendix = runArchive({
    hostname: config.name,
    ...(config.command === undefined ? {} : { command: config.command }),
  });
  return { kernel: guest.kernel, initrd: guest.initramfs, appendix, cmdline };
}

/** Loads kernel and initial RAM filesystem, and later the device tree, into guest memory. */
export class Boot {
  readonly #memory: GuestMemory;
  readonly #loaded: aarch64.LoadedKernel;
  readonly cmdline: string;

  private constructor(memory: GuestMemory, loaded: aarch64.LoadedKernel, cmdline: string) {
    this.#memory = memory;
    this.#loaded = loaded;
    this.cmdline = cmdline;
  }

  /** @throws ArchError, VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE` */
  static async load(memory: GuestMemory, files: BootFiles): Promise<Boot> {
    const cmdline = new CommandLine().append(files.cmdline).toString();
    using kernel = new FileSource(files.kernel, 'kernel');
    if (files.initrd === undefined) {
      return new Boot(memory, await aarch64.loadKernel(memory, kernel), cmdline);
    }
    using initrd = new FileSource(files.initrd, 'initrd');
    const whole = files.appendix === undefined ? initrd : new Concatenation([initrd, files.appendix]);
    return new Boot(
      memory,
      await aarch64.loadKernel(memory, kernel, { initrd: whole, pageSizes: PAGE_SIZES }),
      cmdline,
    );
  }

  /** Writes the device tree; answers where the boot CPU starts. */
  finish(machine: Omit<aarch64.DeviceTreeConfig, 'cmdline' | 'initrd'>): aarch64.BootState {
    const tree = aarch64.buildDeviceTree({ ...machine, cmdline: this.cmdline, initrd: this.#loaded.initrd });
    return {
      entry: this.#loaded.entry,
      deviceTree: aarch64.loadDeviceTree(this.#memory, this.#loaded, tree),
    };
  }
}
