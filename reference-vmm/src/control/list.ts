import { messageOf } from '../errors.ts';
import { isAlive } from '../process-identity.ts';
import { type RuntimeEntry, runtimeEntries } from '../runtime-directory.ts';
import { type VmSummary, readStatus, summaryOf } from '../status-file.ts';
import type { RequestOptions } from './client.ts';

/** Milliseconds. */
const TIMEOUT = 1_000;

/** A VM whose process lives and does not answer: it is being made, hangs, or belongs to a program without control socket. */
export interface SilentVm {
  readonly name: string;
  readonly pid: number;
  readonly state: 'unreachable';
  /** Why. */
  readonly message: string;
}

export interface ListOptions extends RequestOptions {
  /** Milliseconds that each VM which has to be asked has for its answer. Default 1000. */
  readonly timeout?: number | undefined;
}

/**
 * The VMs of this user, by name, as their files in the runtime directory have them; the others are asked, all at once.
 * What killed ones left is removed.
 *
 * @throws VmmError `RUNTIME_DIRECTORY`; the signal's reason
 */
export async function list(options: ListOptions = {}): Promise<(VmSummary | SilentVm)[]> {
  options.signal?.throwIfAborted();
  const found = await Promise.all(
    runtimeEntries().map(async (entry) => readStatus(entry) ?? (await ask(entry, options))),
  );
  return found.filter((each) => each !== undefined);
}

async function ask(
  entry: RuntimeEntry,
  { signal, timeout }: ListOptions,
): Promise<VmSummary | SilentVm | undefined> {
  const { name, holder } = entry;
  const limit = AbortSignal.timeout(timeout ?? TIMEOUT);
  try {
    // Seldom needed, and half of what this would take to load.
    const { ControlClient } = await import('./client.ts');
    const limited = signal === undefined ? limit : AbortSignal.any([limit, signal]);
    return summaryOf(await ControlClient.of(entry).info({ signal: limited }));
  } catch (error) {
    signal?.throwIfAborted();
    if (!isAlive(holder)) return undefined;
    const message = messageOf(error);
    return { name, pid: holder.pid, state: 'unreachable', message };
  }
}
