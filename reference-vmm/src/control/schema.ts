import * as v from 'valibot';
import type { VmmState } from '../lifecycle.ts';
import type { Architecture } from '../machine/machine.ts';
import type { StopReason } from '../stop-reason.ts';
import { type SnapshotProgress, snapshotProgressSchema } from './snapshot-schema.ts';

/** First part of every path of the control protocol; what another version means has another. */
export const API = '/v1';

/** Largest body of a request, in bytes. */
export const BODY_LIMIT: number = 64 * 1024;

/** How long a guest that was asked to power off may take, in milliseconds, unless the request says so. */
export const DEFAULT_GRACE = 10_000;
const MAXIMUM_GRACE = 3_600_000;

/** A virtio device of a VM. */
export interface DeviceInfo {
  /** Of this device among the VM's, e.g. `disk0`. */
  readonly name: string;
  /** Device ID, VIRTIO 1.3 §5. */
  readonly type: number;
  /** What it is, e.g. `block`. */
  readonly model: string;
}

/** `GET /v1/vm`, and the answer to every change of state. */
export interface VmInfo {
  readonly name: string;
  /** Of the process that the VM is. */
  readonly pid: number;
  readonly state: VmmState;
  /** How it ended; null before. */
  readonly reason: StopReason | null;
  readonly hypervisor: 'wasm' | 'kvm';
  readonly arch: Architecture;
  readonly cpus: number;
  /** Bytes. */
  readonly memory: number;
  /** When the VM was made: ISO 8601, UTC. */
  readonly startTime: string;
  /** Seconds since then. */
  readonly uptime: number;
  /** Path of the kernel; null for the built-in guest's. */
  readonly kernel: string | null;
  /** Program and arguments that the built-in guest runs; null for a shell. */
  readonly command: readonly string[] | null;
  readonly devices: readonly DeviceInfo[];
  /** What `run --config` takes to make such a VM; absent for one that the command `run` did not make. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
}

/** Counters since the VM was made. */
export interface DeviceStats {
  readonly name: string;
  /** Notifications, interrupts, resets. */
  readonly transport: Readonly<Record<string, number>>;
  /** Of the device itself. */
  readonly counters: Readonly<Record<string, number>>;
}

/** `GET /v1/stats` */
export interface VmStats {
  readonly name: string;
  readonly state: VmmState;
  /** Seconds. */
  readonly uptime: number;
  /** The process: its processor time in seconds, user and system, and its resident memory in bytes. */
  readonly process: { readonly cpuSeconds: number; readonly residentBytes: number };
  /** Guest instructions, where the hypervisor counts them; else 0. */
  readonly instructions: number;
  /** Exits that reached the process. */
  readonly exits: { readonly total: number; readonly byReason: Readonly<Record<string, number>> };
  readonly console: {
    /** Bytes that the guest printed. */
    readonly bytes: number;
    readonly viewers: number;
  };
  readonly devices: readonly DeviceStats[];
  /** The one that is being written; null when there is none, or its memory is written. */
  readonly snapshot: SnapshotProgress | null;
}

/** Body of `POST /v1/stop`. */
export interface StopRequest {
  /** Milliseconds for the guest to power itself off, 0 to one hour; 0 is as pulling the plug. Default 10 000. */
  readonly grace?: number | undefined;
}

/** What every refusal carries, as `{"error": …}`. */
export interface ControlError {
  /** Stable. */
  readonly code: string;
  readonly message: string;
  /** What the guest's or the host's system said, where it was that which refused: `ENOENT` … */
  readonly errno?: string | undefined;
}

const STATES: Readonly<Record<VmmState, VmmState>> = {
  created: 'created',
  starting: 'starting',
  running: 'running',
  paused: 'paused',
  stopping: 'stopping',
  stopped: 'stopped',
  failed: 'failed',
};
const stateSchema: v.GenericSchema<unknown, VmmState> = v.enum(STATES);

export const stopReasonSchema: v.GenericSchema<unknown, StopReason> = v.variant('kind', [
  v.object({ kind: v.literal('exited'), code: v.number() }),
  v.object({ kind: v.picklist(['shutdown', 'reset', 'stopped']) }),
  v.object({ kind: v.picklist(['panic', 'failed']), message: v.string() }),
]);

/** As loose as this: the process of the VM may be of another version. */
export const configSchema: v.GenericSchema<unknown, Record<string, unknown>> = v.record(
  v.string(),
  v.unknown(),
);

export const vmInfoSchema: v.GenericSchema<unknown, VmInfo> = v.object({
  name: v.string(),
  pid: v.number(),
  state: stateSchema,
  reason: v.nullable(stopReasonSchema),
  hypervisor: v.picklist(['wasm', 'kvm']),
  arch: v.picklist(['x86_64', 'aarch64']),
  cpus: v.number(),
  memory: v.number(),
  startTime: v.string(),
  uptime: v.number(),
  kernel: v.nullable(v.string()),
  command: v.nullable(v.array(v.string())),
  devices: v.array(v.object({ name: v.string(), type: v.number(), model: v.string() })),
  config: v.optional(configSchema),
});

const countersSchema = v.record(v.string(), v.number());

export const vmStatsSchema: v.GenericSchema<unknown, VmStats> = v.object({
  name: v.string(),
  state: stateSchema,
  uptime: v.number(),
  process: v.object({ cpuSeconds: v.number(), residentBytes: v.number() }),
  instructions: v.number(),
  exits: v.object({ total: v.number(), byReason: countersSchema }),
  console: v.object({ bytes: v.number(), viewers: v.number() }),
  devices: v.array(v.object({ name: v.string(), transport: countersSchema, counters: countersSchema })),
  snapshot: v.nullable(snapshotProgressSchema),
});

export const stopRequestSchema: v.GenericSchema<unknown, StopRequest> = v.strictObject({
  grace: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAXIMUM_GRACE))),
});

/** Body or query of what takes none. */
export const nothingSchema: v.GenericSchema<unknown, object> = v.strictObject({});

/** Query of `GET /v1/logs`. */
export const logsQuerySchema: v.GenericSchema<unknown, { readonly follow?: '0' | '1' | undefined }> =
  v.strictObject({ follow: v.optional(v.picklist(['0', '1'])) });

export const controlErrorSchema: v.GenericSchema<unknown, ControlError> = v.object({
  code: v.string(),
  message: v.string(),
  errno: v.optional(v.string()),
});

/** The size of a viewer's terminal, in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

const cells = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(0xffff));
export const terminalSizeSchema: v.GenericSchema<unknown, TerminalSize> = v.strictObject({
  columns: cells,
  rows: cells,
});
