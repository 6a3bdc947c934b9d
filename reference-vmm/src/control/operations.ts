import * as v from 'valibot';
import { VmmError } from '../errors.ts';
import type { SnapshotInfo } from '../snapshot/save.ts';
import type { StopReason } from '../stop-reason.ts';
import type { ConsoleHub } from './console-hub.ts';
import type { ControlledVmm } from './controlled-vmm.ts';
import { DEFAULT_GRACE, type VmInfo, type VmStats, configSchema } from './schema.ts';
import type { SnapshotProgress, SnapshotRequest } from './snapshot-schema.ts';

/** What clients ask of a VM. Operations take their turn in the VM itself. */
export class Operations {
  readonly #vmm: ControlledVmm;
  readonly #hub: ConsoleHub;
  readonly #made = new Date();
  readonly #begin = performance.now();
  readonly #config: VmInfo['config'];
  #reason: StopReason | null = null;
  #progress: SnapshotProgress | null = null;

  /** @param config for {@link info} */
  constructor(vmm: ControlledVmm, hub: ConsoleHub, config: object | undefined) {
    this.#vmm = vmm;
    this.#hub = hub;
    this.#config = config && v.parse(configSchema, config);
    void vmm.stopped.then((reason) => {
      this.#reason = reason;
    });
  }

  info(): VmInfo {
    const { name, state, hypervisor, arch, config, devices } = this.#vmm;
    return {
      name,
      pid: process.pid,
      state,
      reason: this.#reason,
      hypervisor,
      arch,
      cpus: config.cpus,
      memory: config.memory,
      startTime: this.#made.toISOString(),
      uptime: this.#uptime,
      kernel: config.kernel ?? null,
      command: config.command ?? null,
      devices: devices.map((each) => ({
        name: each.name,
        type: each.device.type,
        model: each.device.name,
      })),
      ...(this.#config && { config: this.#config }),
    };
  }

  stats(): VmStats {
    const { name, state, devices } = this.#vmm;
    const { user, system } = process.cpuUsage();
    const { total, byReason } = this.#vmm.exitStatistics();
    return {
      name,
      state,
      uptime: this.#uptime,
      process: { cpuSeconds: (user + system) / 1e6, residentBytes: process.memoryUsage.rss() },
      instructions: this.#vmm.instructionCount(),
      exits: { total, byReason },
      console: { bytes: this.#hub.bytes, viewers: this.#hub.viewers },
      snapshot: this.#progress,
      devices: devices.map((each) => ({
        name: each.name,
        transport: counters(each.transport.statistics),
        counters: counters(each.device.statistics ?? {}),
      })),
    };
  }

  async pause(): Promise<VmInfo> {
    await this.#vmm.pause();
    return this.info();
  }

  async resume(): Promise<VmInfo> {
    await this.#vmm.resume();
    return this.info();
  }

  /** @param grace milliseconds */
  async stop(grace: number = DEFAULT_GRACE): Promise<VmInfo> {
    if (grace > 0 && this.#vmm.shutdown !== undefined) {
      // A guest that stands still cannot power itself off.
      if (this.#vmm.state === 'paused') await this.#resumeIfPaused();
      await this.#vmm.shutdown({ grace });
    } else {
      await this.#vmm.stop();
    }
    return this.#ended();
  }

  async kill(): Promise<VmInfo> {
    await this.#vmm.stop();
    return this.#ended();
  }

  async reset(): Promise<VmInfo> {
    if (this.#vmm.reset === undefined) throw new VmmError('NOT_SUPPORTED', 'this VM cannot be reset');
    await this.#vmm.reset();
    return this.info();
  }

  /** Goes on whether somebody waits for it or not. */
  async snapshot({ directory, base, track }: SnapshotRequest): Promise<SnapshotInfo> {
    if (this.#vmm.snapshot === undefined) throw new VmmError('NOT_SUPPORTED', 'this VM has no snapshots');
    const onProgress = (written: number, total: number): void => {
      this.#progress = { written, total };
    };
    try {
      return await this.#vmm.snapshot(directory, { base, track, onProgress });
    } finally {
      this.#progress = null;
    }
  }

  /** Another client may have been quicker. */
  async #resumeIfPaused(): Promise<void> {
    try {
      await this.#vmm.resume();
    } catch (error) {
      if (this.#vmm.state === 'paused') throw error;
    }
  }

  async #ended(): Promise<VmInfo> {
    this.#reason = await this.#vmm.stopped;
    return this.info();
  }

  get #uptime(): number {
    return Math.round(performance.now() - this.#begin) / 1000;
  }
}

/** The numbers among an object's properties. */
function counters(statistics: object): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (const [name, value] of Object.entries(statistics)) {
    if (typeof value === 'number' && Number.isFinite(value)) numbers[name] = value;
  }
  return numbers;
}
