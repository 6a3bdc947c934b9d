import * as v from 'valibot';
import { VmmError, messageOf } from '../errors.ts';
import type { Architecture } from '../machine/machine.ts';
import {
  type FileIdentity,
  type ImageRegion,
  imageSize,
  pageParts,
  pieceCount,
  textDigest,
  wholeParts,
} from './memory-image.ts';
import { type PageSets, decodePages, encodePages } from './pages.ts';
import { fromJson, toJson } from './plain-data.ts';
import { type SavedConfig, savedConfigSchema } from './saved-config.ts';

/** Changes whenever what an older release wrote is not read any more, and the other way round. */
export const FORMAT_VERSION = 2;

/** Most bytes of a manifest. The states of the largest machine have less than a hundredth of it. */
export const MAX_MANIFEST_BYTES: number = 64 * 1024 * 1024;

/** State of a virtio device and its transport. */
export interface DeviceState {
  /** Of this device among the VM's, e.g. `disk0`. */
  readonly name: string;
  readonly state: unknown;
}

/** What the devices of a VM are at. */
export interface DeviceStates {
  readonly devices: readonly DeviceState[];
  /** What the built-in guest has said of its end so far. */
  readonly control: string;
}

/** What of a snapshot's memory is another snapshot's. */
export interface Difference {
  readonly base: {
    /** Of its directory: as it is found from that of this snapshot. */
    readonly path: string;
    /** That of its manifest. */
    readonly sha256: string;
  };
  /** What has changed since, and is in the file of this snapshot. */
  readonly pages: PageSets;
}

/** The memory of a snapshot. */
export interface SavedMemory {
  readonly regions: readonly ImageRegion[];
  /** As in `MemoryImage`, of the file. */
  readonly digests: readonly (string | null)[];
  /** Of the file that it was written to. */
  readonly file: FileIdentity;
  /** Present when not all of it is there. */
  readonly difference?: Difference;
}

/** Everything of a snapshot but the memory. */
export interface Manifest {
  readonly hypervisor: 'wasm' | 'kvm';
  readonly arch: Architecture;
  /** When it was made, as ISO 8601 has it. */
  readonly created: string;
  readonly config: SavedConfig;
  /** The kernel's command line. */
  readonly cmdline: string;
  readonly memory: SavedMemory;
  /** Of `Machine.save()`: for the machine to check. */
  readonly machine: unknown;
  /** For the devices to check. */
  readonly devices: DeviceStates;
}

const address = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.multipleOf(4096));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(4096), v.multipleOf(4096));

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** As {@link Manifest}, where `machine`, the devices' states and the pages are still as {@link toJson} makes them. */
const manifestSchema = v.strictObject({
  hypervisor: v.picklist(['wasm', 'kvm']),
  arch: v.picklist(['x86_64', 'aarch64']),
  created: v.pipe(v.string(), v.isoTimestamp()),
  config: savedConfigSchema,
  cmdline: v.string(),
  memory: v.strictObject({
    regions: v.pipe(v.array(v.strictObject({ guestAddress: address, size })), v.minLength(1)),
    digests: v.array(v.nullable(digest)),
    file: v.strictObject({ device: v.string(), inode: v.string(), changed: v.string() }),
    difference: v.exactOptional(
      v.strictObject({
        base: v.strictObject({ path: v.pipe(v.string(), v.minLength(1)), sha256: digest }),
        pages: v.array(v.unknown()),
      }),
    ),
  }),
  machine: v.unknown(),
  devices: v.strictObject({
    devices: v.array(v.strictObject({ name: v.string(), state: v.unknown() })),
    control: v.pipe(v.string(), v.maxLength(64)),
  }),
});

/** A manifest, and the checksum that its file and whatever refers to it has. */
export interface SealedManifest {
  readonly manifest: Manifest;
  readonly sha256: string;
}

/** The text of a manifest's file, and its checksum. */
export function encodeManifest(manifest: Manifest): { readonly text: string; readonly sha256: string } {
  const { memory } = manifest;
  const { difference } = memory;
  const json = toJson(
    difference === undefined
      ? manifest
      : {
          ...manifest,
          memory: { ...memory, difference: { ...difference, pages: encodePages(difference.pages) } },
        },
  );
  const sha256 = digestOf(json);
  return { text: `${JSON.stringify({ version: FORMAT_VERSION, sha256, snapshot: json })}\n`, sha256 };
}

/** Bytes of each part of the file that a snapshot's memory is in. */
export function partsOf({ regions, difference }: Pick<SavedMemory, 'regions' | 'difference'>): number[] {
  return difference === undefined ? wholeParts(regions) : pageParts(difference.pages);
}

/**
 * Reads a manifest of unknown origin.
 *
 * @throws VmmError `SNAPSHOT_MISMATCH` for another format version, `INVALID_SNAPSHOT`
 */
export function decodeManifest(text: string): SealedManifest {
  const file = object(parse(text));
  const { version, sha256, snapshot } = file;
  if (!Number.isSafeInteger(version)) throw invalid('it does not say its version');
  if (version !== FORMAT_VERSION)
    throw new VmmError(
      'SNAPSHOT_MISMATCH',
      `the snapshot is in version ${String(version)} of the format, and this release reads version ${FORMAT_VERSION}`,
    );
  const found = digestOf(snapshot);
  if (sha256 !== found) throw invalid('it was altered: its checksum does not fit');
  const result = v.safeParse(manifestSchema, snapshot);
  if (!result.success) {
    const [issue] = result.issues;
    throw invalid(`${v.getDotPath(issue) ?? 'it'}: ${issue.message}`);
  }
  const { machine, devices, memory, ...rest } = result.output;
  const manifest: Manifest = {
    ...rest,
    memory: savedMemory(memory),
    machine: plain(machine),
    devices: {
      control: devices.control,
      devices: devices.devices.map(({ name, state }) => ({ name, state: plain(state) })),
    },
  };
  return { manifest, sha256: found };
}

function savedMemory(memory: v.InferOutput<typeof manifestSchema>['memory']): SavedMemory {
  const { difference, ...rest } = memory;
  const sizes = wholeParts(memory.regions);
  if (!Number.isSafeInteger(imageSize(sizes))) throw invalid('it has more memory than there can be');
  const saved: SavedMemory =
    difference === undefined
      ? rest
      : { ...rest, difference: { base: difference.base, pages: pagesOf(difference.pages, sizes) } };
  if (saved.digests.length !== pieceCount(partsOf(saved)))
    throw invalid('it has not one digest for each piece of the memory');
  return saved;
}

function pagesOf(pages: readonly unknown[], sizes: readonly number[]): PageSets {
  const encoded = pages.map(plain);
  try {
    return decodePages(encoded, sizes);
  } catch (cause) {
    throw invalid(messageOf(cause), cause);
  }
}

/** Spaces and line breaks do not count. */
function digestOf(json: unknown): string {
  return textDigest(JSON.stringify([json]));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalid('it is no JSON, or was cut', cause);
  }
}

function plain(json: unknown): unknown {
  try {
    return fromJson(json);
  } catch (cause) {
    throw invalid(messageOf(cause), cause);
  }
}

function object(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw invalid('it is no object');
  return { ...value };
}

function invalid(reason: string, cause?: unknown): VmmError {
  return new VmmError('INVALID_SNAPSHOT', `the manifest of the snapshot cannot be read: ${reason}`, {
    cause,
  });
}
