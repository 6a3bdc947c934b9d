import * as v from 'valibot';
import { VmmError } from '../errors.ts';
import type { Architecture } from '../machine/machine.ts';
import { type FileIdentity, type ImageRegion, pieceCount, textDigest } from './memory-image.ts';
import { fromJson, toJson } from './plain-data.ts';
import { type SavedConfig, savedConfigSchema } from './saved-config.ts';

/** Changes whenever what an older release wrote is not read any more, and the other way round. */
export const FORMAT_VERSION = 1;

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

/** Everything of a snapshot but the memory. */
export interface Manifest {
  readonly hypervisor: 'wasm' | 'kvm';
  readonly arch: Architecture;
  /** When it was made, as ISO 8601 has it. */
  readonly created: string;
  readonly config: SavedConfig;
  /** The kernel's command line. */
  readonly cmdline: string;
  readonly memory: {
    readonly regions: readonly ImageRegion[];
    /** As in `MemoryImage`. */
    readonly digests: readonly (string | null)[];
    /** Of the file that it was written to. */
    readonly file: FileIdentity;
  };
  /** Of `Machine.save()`: for the machine to check. */
  readonly machine: unknown;
  /** For the devices to check. */
  readonly devices: DeviceStates;
}

const address = v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.multipleOf(4096));
const size = v.pipe(v.number(), v.safeInteger(), v.minValue(4096), v.multipleOf(4096));

/** `machine` and the devices' states are still as {@link toJson} makes them. */
const manifestSchema: v.GenericSchema<unknown, Manifest> = v.strictObject({
  hypervisor: v.picklist(['wasm', 'kvm']),
  arch: v.picklist(['x86_64', 'aarch64']),
  created: v.pipe(v.string(), v.isoTimestamp()),
  config: savedConfigSchema,
  cmdline: v.string(),
  memory: v.strictObject({
    regions: v.pipe(v.array(v.strictObject({ guestAddress: address, size })), v.minLength(1)),
    digests: v.array(v.nullable(v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)))),
    file: v.strictObject({ device: v.string(), inode: v.string(), changed: v.string() }),
  }),
  machine: v.unknown(),
  devices: v.strictObject({
    devices: v.array(v.strictObject({ name: v.string(), state: v.unknown() })),
    control: v.pipe(v.string(), v.maxLength(64)),
  }),
});

/** The text of a manifest's file. */
export function encodeManifest(manifest: Manifest): string {
  const json = toJson(manifest);
  return `${JSON.stringify({ version: FORMAT_VERSION, sha256: digestOf(json), snapshot: json })}\n`;
}

/**
 * Reads a manifest of unknown origin.
 *
 * @throws VmmError `SNAPSHOT_MISMATCH` for another format version, `INVALID_SNAPSHOT`
 */
export function decodeManifest(text: string): Manifest {
  const file = object(parse(text));
  const { version, sha256, snapshot } = file;
  if (!Number.isSafeInteger(version)) throw invalid('it does not say its version');
  if (version !== FORMAT_VERSION)
    throw new VmmError(
      'SNAPSHOT_MISMATCH',
      `the snapshot is in version ${String(version)} of the format, and this release reads version ${FORMAT_VERSION}`,
    );
  if (sha256 !== digestOf(snapshot)) throw invalid('it was altered: its checksum does not fit');
  const result = v.safeParse(manifestSchema, snapshot);
  if (!result.success) {
    const [issue] = result.issues;
    throw invalid(`${v.getDotPath(issue) ?? 'it'}: ${issue.message}`);
  }
  const manifest = result.output;
  if (manifest.memory.digests.length !== pieceCount(manifest.memory.regions))
    throw invalid('it has not one digest for each piece of the memory');
  const { devices, control } = manifest.devices;
  return {
    ...manifest,
    machine: plain(manifest.machine),
    devices: { control, devices: devices.map(({ name, state }) => ({ name, state: plain(state) })) },
  };
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
    throw invalid(cause instanceof Error ? cause.message : String(cause), cause);
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
