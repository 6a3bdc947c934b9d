import { readFileSync } from 'node:fs';
import { isErrno } from './errors.ts';

/** A process for good: pids are used again, pids with a start time are not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from the machine's boot to the process's start; empty where the system does not tell. */
  readonly startTime: string;
}

export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, startTime: statOf(process.pid)?.startTime ?? '' };
}

/** Whether that process runs; one that was killed and that nobody has waited for does not. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  const stat = statOf(pid);
  if (stat !== undefined) return stat.startTime === startTime && !stat.dead;
  if (startTime !== '') return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isErrno(error, 'EPERM');
  }
}

/** Whether that process runs and is not stopped, as by SIGSTOP; where the system does not tell, whether it runs. */
export function isResponsive(identity: ProcessIdentity): boolean {
  const stat = statOf(identity.pid);
  if (stat === undefined) return isAlive(identity);
  return stat.startTime === identity.startTime && !stat.dead && !stat.stopped;
}

/** Fields 3 and 22 of /proc/PID/stat (proc(5)); undefined where there is no such process. */
function statOf(
  pid: number,
): { readonly startTime: string; readonly dead: boolean; readonly stopped: boolean } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state = ''] = fields;
    return { startTime: fields[19] ?? '', dead: /^[ZXx]$/.test(state), stopped: /^[Tt]$/.test(state) };
  } catch {
    return undefined;
  }
}
