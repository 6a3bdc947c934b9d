import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import type { ConsoleHub } from '../control/console-hub.ts';
import { type ControlError, type VmInfo, controlErrorSchema, vmInfoSchema } from '../control/schema.ts';
import type { Ending } from './ending.ts';
import { EXIT_VMM } from './exit-codes.ts';
import { redirectMessages, say } from './messages.ts';
import { errorObject } from './output.ts';

/** Option by which the process that a detached VM is knows itself. */
export const BACKGROUND_OPTION = '--background';

/** Bytes of what a process said that ended without a word that are shown. */
const MESSAGES_LIMIT = 64 * 1024;

/** How the start of a VM in a process of its own went. */
export type Outcome =
  | { readonly kind: 'started'; readonly info: VmInfo }
  | { readonly kind: 'failed'; readonly error: ControlError; readonly exitCode: number };

/** What that process tells the one that started it: messages, and then the outcome. */
type Report = Outcome | { readonly kind: 'message'; readonly text: string };

const reportSchema: v.GenericSchema<unknown, Report> = v.variant('kind', [
  v.object({ kind: v.literal('message'), text: v.string() }),
  v.object({ kind: v.literal('started'), info: vmInfoSchema }),
  v.object({ kind: v.literal('failed'), error: controlErrorSchema, exitCode: v.number() }),
]);

/**
 * Starts this command line again in a session of its own, which outlives the terminal. Resolves when the guest runs, or
 * cannot; messages come as if they were this process's.
 *
 * @param args of this process, beginning with `run`
 */
export async function startInBackground(args: readonly string[]): Promise<Outcome> {
  // What Node itself says of a crash: there is nobody to report it any more. The file has no name for long.
  const directory = mkdtempSync(join(tmpdir(), 'reference-vmm-start-'));
  const errors = join(directory, 'stderr');
  const stderr = openSync(errors, 'wx+', 0o600);
  rmSync(directory, { recursive: true, force: true });
  try {
    const [command = 'run', ...rest] = args;
    const child = spawn(
      process.execPath,
      [...process.execArgv, process.argv[1] ?? '', command, BACKGROUND_OPTION, ...rest],
      { detached: true, stdio: ['ignore', 'ignore', stderr, 'ipc'] },
    );
    const outcome = await outcomeOf(child);
    child.removeAllListeners();
    if (child.connected) child.disconnect();
    child.unref();
    return outcome ?? died(child, readText(stderr));
  } finally {
    closeSync(stderr);
  }
}

/** What somebody else wrote to a file, which they share the position in. */
function readText(file: number): string {
  const bytes = new Uint8Array(MESSAGES_LIMIT);
  return new TextDecoder().decode(bytes.subarray(0, readSync(file, bytes, 0, bytes.length, 0)));
}

/** Undefined when the process ended without a word. */
function outcomeOf(child: ChildProcess): Promise<Outcome | undefined> {
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    // All messages have come by then.
    child.on('close', () => resolve(undefined));
    child.on('message', (message) => {
      const report = v.parse(reportSchema, message);
      if (report.kind === 'message') say(report.text);
      else resolve(report);
    });
  });
}

function died({ exitCode, signalCode }: ChildProcess, output: string): Outcome {
  process.stderr.write(output);
  const how = signalCode === null ? `with code ${exitCode ?? 0}` : `by ${signalCode}`;
  const message = `the process of the VM ended ${how} before the guest ran`;
  return { kind: 'failed', error: { code: 'CONTROL_FAILED', message }, exitCode: EXIT_VMM };
}

/** The other side of {@link startInBackground}, in the process that the VM is. */
export class BackgroundReporter {
  readonly #ending: Ending;
  readonly #onDisconnect = (): void =>
    this.#ending.end(EXIT_VMM, 'whoever started the VM did not wait for it');
  #done = false;

  /** @param ending is told when nobody waits for the VM's start any more */
  constructor(ending: Ending) {
    this.#ending = ending;
    process.on('disconnect', this.#onDisconnect);
    redirectMessages((text) => void this.#send({ kind: 'message', text }));
  }

  /** Messages go to the log from now on. */
  async started(info: VmInfo, hub: ConsoleHub): Promise<void> {
    redirectMessages((text) => hub.note(`reference-vmm: ${text}\n`));
    await this.#finish({ kind: 'started', info });
  }

  /** Harmless after {@link started}. */
  async failed(error: unknown, exitCode: number): Promise<void> {
    await this.#finish({ kind: 'failed', error: errorObject(error), exitCode });
  }

  async #finish(outcome: Outcome): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    await this.#send(outcome);
    process.off('disconnect', this.#onDisconnect);
    if (process.connected) process.disconnect();
  }

  /** Whether it arrives is no concern: nobody is there otherwise. */
  #send(report: Report): Promise<void> {
    return new Promise((resolve) => {
      if (process.send === undefined || !process.connected) resolve();
      else process.send(report, undefined, {}, () => resolve());
    });
  }
}
