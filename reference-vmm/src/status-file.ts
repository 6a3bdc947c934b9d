import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { type VmInfo, vmInfoSchema } from './control/schema.ts';
import type { VmmState } from './lifecycle.ts';
import { isResponsive } from './process-identity.ts';
import type { RuntimeDirectory, RuntimeEntry } from './runtime-directory.ts';

const STATUS_FILE = 'status.json';

/** What is listed of a VM. */
export type VmSummary = Omit<VmInfo, 'config'>;

/** What of it does not change while the VM lives. */
export type VmIdentity = Omit<VmSummary, 'pid' | 'state' | 'reason' | 'startTime' | 'uptime'>;

interface Status {
  /** When the VM was made: milliseconds of the machine's monotonic clock. */
  readonly made: number;
  readonly vm: VmSummary;
}

const statusSchema: v.GenericSchema<unknown, Status> = v.object({ made: v.number(), vm: vmInfoSchema });

/**
 * What a VM is and which state it has, in a file of its directory: whoever wants to know that of many VMs need not wake
 * their processes. A state is in the file before anybody is told of it, and a file that cannot be written is removed, so
 * that one that is there and whose process lives is true.
 */
export class StatusFile {
  readonly #directory: RuntimeDirectory;
  readonly #identity: () => VmIdentity;
  readonly #made: number = monotonic();
  readonly #startTime: string = new Date().toISOString();

  constructor(directory: RuntimeDirectory, identity: () => VmIdentity) {
    this.#directory = directory;
    this.#identity = identity;
  }

  /** The VM has this state from now on. Never throws. */
  update(state: VmmState): void {
    const { pid } = process;
    const vm = { ...this.#identity(), pid, state, reason: null, startTime: this.#startTime, uptime: 0 };
    const status: Status = { made: this.#made, vm };
    this.#directory.publish(STATUS_FILE, `${JSON.stringify(status)}\n`);
  }
}

/** What a VM's file says; undefined where there is none, or a process that does not run cannot keep it true. */
export function readStatus({ name, path, holder }: RuntimeEntry): VmSummary | undefined {
  let status: Status;
  try {
    status = v.parse(statusSchema, JSON.parse(readFileSync(join(path, STATUS_FILE), 'utf8')));
  } catch {
    return undefined;
  }
  const { made, vm } = status;
  // The process is looked at last: a file is not true any more once it is gone.
  if (vm.name !== name || vm.pid !== holder.pid || !isResponsive(holder)) return undefined;
  return { ...summaryOf(vm), uptime: Math.max(0, Math.round(monotonic() - made)) / 1000 };
}

export function summaryOf(vm: VmSummary): VmSummary {
  const { name, pid, state, reason, hypervisor, arch, cpus, memory, startTime, uptime } = vm;
  const { kernel, command, devices } = vm;
  return {
    name,
    pid,
    state,
    reason,
    hypervisor,
    arch,
    cpus,
    memory,
    startTime,
    uptime,
    kernel,
    command,
    devices,
  };
}

/** The same clock for all processes. */
function monotonic(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
