import type { Agent } from '../agent/agent.ts';
import type { ExecOptions } from '../agent/guest-process.ts';
import type { GuestCommand } from '../agent/output.ts';
import type { ExitStatistics } from '../exit-statistics.ts';
import type { VmmConfig } from '../config.ts';
import type { Architecture } from '../machine/machine.ts';
import type { SnapshotOptions } from '../snapshot/restore.ts';
import type { SnapshotInfo } from '../snapshot/save.ts';
import type { StopReason } from '../stop-reason.ts';
import type { VmmState } from '../lifecycle.ts';

/** A device, as far as the control protocol tells of it. */
export interface ControlledDevice {
  readonly name: string;
  readonly device: { readonly type: number; readonly name: string; readonly statistics?: object };
  readonly transport: { readonly statistics: object };
}

/** What of a `Vmm` the control protocol needs. */
export interface ControlledVmm {
  readonly name: string;
  readonly state: VmmState;
  readonly hypervisor: 'wasm' | 'kvm';
  readonly arch: Architecture;
  readonly config: Pick<VmmConfig, 'cpus' | 'memory' | 'kernel' | 'command'>;
  readonly devices: readonly ControlledDevice[];
  readonly stopped: Promise<StopReason>;
  exitStatistics(): ExitStatistics;
  instructionCount(): number;
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** As pulling the plug. */
  stop(): Promise<void>;
  /** Asks the guest to power itself off, and ends it where it has not after `grace` milliseconds. */
  shutdown?(options: { readonly grace: number }): Promise<unknown>;
  reset?(): Promise<unknown>;
  snapshot?(
    directory: string,
    options: Pick<SnapshotOptions, 'base' | 'track' | 'onProgress'>,
  ): Promise<SnapshotInfo>;
  /** @throws VmmError `WRONG_STATE`, `INVALID_REQUEST` */
  exec?(argv: readonly string[], options: ExecOptions): GuestCommand;
  /** @throws VmmError `WRONG_STATE` */
  readonly agent?: Pick<Agent, 'get' | 'put'>;
  resizeConsole(columns: number, rows: number): void;
}
