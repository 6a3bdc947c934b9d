import type { GuestMemory } from '@vmm/vm-memory';
import type { VmmConfig } from '../config.ts';
import { VmmError } from '../errors.ts';
import { type GuestOrigin, bootOrigin } from '../guest-origin.ts';
import type { VmmHost } from '../vm-parts.ts';
import type { VmRun } from '../vm-run.ts';
import { setTimeout as delay } from 'node:timers/promises';
import { layPages, regionsOf, verifyMemory } from './memory-image.ts';
import { type OpenSnapshot, checkHypervisor, openSnapshot, sameRegions } from './open.ts';
import { addPages, noPages } from './pages.ts';
import { type Replacements, restoreConfig } from './saved-config.ts';

export interface SnapshotOptions {
  /**
   * Directory of an earlier snapshot of this VM: only what changed since then is written, and both are needed to restore
   * it. The base is one that was made with `track`, or on a base itself, or restored with `track`, and since which the VM
   * was not reset.
   */
  readonly base?: string | undefined;
  /**
   * Others are to be based on this one: from now on it is noted which pages of memory are stored to, which costs the guest
   * a little. Default false, and true with a base.
   */
  readonly track?: boolean | undefined;
  /** Is told how many bytes of memory were written, of how many. */
  readonly onProgress?: ((written: number, total: number) => void) | undefined;
  /** Gives up: an older snapshot is still there then. */
  readonly signal?: AbortSignal | undefined;
}

/** How a snapshot is restored. What is replaced must be what the guest has, e.g. a disk of the same size. */
export interface RestoreOptions extends VmmHost, Replacements {
  /** Default: that of the VM that was saved. */
  readonly name?: string | undefined;
  /** The guest waits for `resume()`. Default false. */
  readonly paused?: boolean | undefined;
  /**
   * Checks all of the memory before the guest runs. Default false: files that were touched since are checked before, and
   * others while it runs.
   */
  readonly verify?: boolean | undefined;
  /** Snapshots are to be based on this one. Default false. */
  readonly track?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Milliseconds that a guest runs for before its memory is looked at: it has the processor to itself at first, and a file
 * that nobody touched is seldom damaged.
 */
const VERIFY_DELAY = 1_000;

/** A snapshot that a VM is made from. */
export interface RestoredGuest {
  readonly config: VmmConfig;
  readonly origin: GuestOrigin;
  /** Checks what the guest's memory has not been checked for yet, after a while. @throws VmmError `INVALID_SNAPSHOT` */
  verify(signal: AbortSignal): Promise<void>;
  /** What a VM that cannot be made fails with: a hypervisor that is not there is the snapshot's, which has no choice. */
  refusal(error: unknown): unknown;
  /** Once nothing is read any more. */
  close(): Promise<void>;
}

/** @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `INVALID_SNAPSHOT`, `SNAPSHOT_MISMATCH` */
export async function openGuest(path: string, options: RestoreOptions): Promise<RestoredGuest> {
  const signal = options.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const snapshot = await openSnapshot(path);
  try {
    const { manifest, layers } = snapshot;
    const { config: saved, arch, hypervisor } = manifest;
    const config = restoreConfig(saved, options, { name: options.name ?? saved.name, hypervisor, arch });
    /** What nobody has written to since is taken as it is, so that the guest runs at once; and looked at while it does. */
    const trusted = (layer: OpenSnapshot['layers'][number]): boolean =>
      layer.untouched && options.verify !== true;
    const { files } =
      saved.boot === undefined ? {} : bootOrigin(config, options.progress ?? (() => undefined));
    return {
      config,
      origin: {
        ...(files === undefined ? {} : { files }),
        check: (found) => checkHypervisor(manifest, found),
        memoryFile: layers.at(-1)!.file.fd,
        load: async ({ memory }) => {
          if (!sameRegions(manifest.memory.regions, regionsOf(memory)))
            throw new VmmError(
              'INVALID_SNAPSHOT',
              'the memory of the snapshot is laid out in another way than that of the machine',
            );
          await fillMemory(memory, snapshot, trusted, signal);
          return manifest.cmdline;
        },
        createVcpus: (machine, devices, log) => {
          const vcpus = machine.restore(manifest.machine);
          // Devices store to memory, too.
          if (options.track === true) log.mark().commit(snapshot.sha256);
          devices.restore(manifest.devices);
          return vcpus;
        },
      },
      verify: async (ending) => {
        const rest = layers.filter(trusted);
        if (rest.length === 0) return;
        await delay(VERIFY_DELAY, undefined, { signal: ending, ref: false });
        for (const { file, image } of rest) await verifyMemory(file, image, ending, 'background');
      },
      refusal: (error) =>
        error instanceof VmmError && error.code === 'HYPERVISOR_UNAVAILABLE'
          ? new VmmError(
              'SNAPSHOT_MISMATCH',
              `the snapshot is of a guest for ${arch} on ${hypervisor}, which cannot go on here: ${error.message}`,
              { cause: error },
            )
          : error,
      close: async () => {
        await snapshot[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await snapshot[Symbol.asyncDispose]();
    throw error;
  }
}

/** Memory that reads as the last layer's file: what the others have goes over it, the newest first. */
async function fillMemory(
  memory: GuestMemory,
  { layers }: OpenSnapshot,
  trusted: (layer: OpenSnapshot['layers'][number]) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const covered = noPages(memory.regions.map(({ size }) => size));
  for (const layer of layers) {
    const { file, image } = layer;
    const { difference } = layer.memory;
    if (difference !== undefined) {
      const digests = trusted(layer) ? undefined : image.digests;
      await layPages(file, memory, difference.pages, covered, digests, signal);
      addPages(covered, difference.pages);
    } else if (!trusted(layer)) {
      await verifyMemory(file, image, signal);
    }
  }
}

/** Ends a restored VM whose memory turns out to be altered. */
export function watchGuest(guest: RestoredGuest, run: VmRun): void {
  const watched = run.readers.run(undefined, (signal) => guest.verify(signal));
  watched
    .catch((error: unknown) => run.fail(error))
    .finally(() => guest.close())
    .catch(() => undefined);
}
