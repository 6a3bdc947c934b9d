import type { GuestMemory } from '@vmm/vm-memory';
import type { VmmConfig } from '../config.ts';
import { VmmError } from '../errors.ts';
import type { GuestOrigin } from '../guest-origin.ts';
import type { VmmHost } from '../vm-parts.ts';
import type { VmRun } from '../vm-run.ts';
import type { Manifest } from './manifest.ts';
import { type MemoryImage, regionsOf, verifyMemory } from './memory-image.ts';
import { checkHypervisor, openSnapshot } from './open.ts';
import { type Replacements, restoreConfig } from './saved-config.ts';

export interface SnapshotOptions {
  /** Gives up: an older snapshot is still there then. */
  readonly signal?: AbortSignal | undefined;
}

/** How a snapshot is restored. What is replaced must be what the guest has, e.g. a disk of the same size. */
export interface RestoreOptions extends VmmHost, Replacements {
  /** Default: that of the VM that was saved. */
  readonly name?: string | undefined;
  /** The guest waits for `resume()`. Default false. */
  readonly paused?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A snapshot that a VM is made from. */
export interface RestoredGuest {
  readonly config: VmmConfig;
  readonly origin: GuestOrigin;
  /** Checks what the guest's memory has not been checked for yet. @throws VmmError `INVALID_SNAPSHOT` */
  verify(signal: AbortSignal): Promise<void>;
  /** Once nothing is read any more. */
  close(): Promise<void>;
}

/** @throws VmmError `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `INVALID_SNAPSHOT`, `SNAPSHOT_MISMATCH` */
export async function openGuest(path: string, options: RestoreOptions): Promise<RestoredGuest> {
  const signal = options.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const snapshot = await openSnapshot(path);
  try {
    const { manifest } = snapshot;
    const { config: saved, arch, hypervisor } = manifest;
    const config = restoreConfig(saved, options, { name: options.name ?? saved.name, hypervisor, arch });
    return {
      config,
      origin: {
        check: (found) => checkHypervisor(manifest, found),
        memoryFile: snapshot.memory.fd,
        load: async (machine) => {
          checkRegions(manifest.memory, machine.memory);
          // What nobody has written to since is taken as it is, so that the guest runs at once; and looked at while it does.
          if (!snapshot.untouched) await verifyMemory(snapshot.memory, manifest.memory, signal);
          return manifest.cmdline;
        },
        createVcpus: (machine, devices) => {
          const vcpus = machine.restore(manifest.machine);
          devices.restore(manifest.devices);
          return vcpus;
        },
      },
      verify: async (ending) => {
        if (snapshot.untouched) await verifyMemory(snapshot.memory, manifest.memory, ending);
      },
      close: async () => {
        await snapshot[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await snapshot[Symbol.asyncDispose]();
    throw error;
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

/** The machine is made from the configuration, which says how much memory there is. */
function checkRegions(image: Pick<Manifest['memory'], 'regions'> & MemoryImage, memory: GuestMemory): void {
  const machine = regionsOf(memory);
  const same =
    machine.length === image.regions.length &&
    machine.every(({ guestAddress, size }, index) => {
      const saved = image.regions[index]!;
      return saved.guestAddress === guestAddress && saved.size === size;
    });
  if (!same)
    throw new VmmError(
      'INVALID_SNAPSHOT',
      'the memory of the snapshot is laid out in another way than that of the machine',
    );
}
