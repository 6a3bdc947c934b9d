import { finished } from 'node:stream/promises';
import { VmControl } from '../control/control.ts';
import { VmmError } from '../errors.ts';
import type { StopReason } from '../stop-reason.ts';
import type { Vmm } from '../vmm.ts';
import { BackgroundReporter, type Outcome, startInBackground } from './background.ts';
import { type ConsoleTarget, connectConsole } from './console.ts';
import { Ending } from './ending.ts';
import { EXIT_USAGE, EXIT_VMM } from './exit-codes.ts';
import { type InputMode, conclude, drive } from './foreground.ts';
import { describeError, say } from './messages.ts';
import { type FormatOption, print, printJson, printJsonError } from './output.ts';

/** What a process that is a VM is told on its command line. */
export interface ProcessOptions extends FormatOption {
  /** It is the process that a detached VM is. */
  readonly background?: boolean;
}

/** A VM that this process is, or that a process of its own is. */
export interface VmProcess {
  /** The command returns when the guest runs. */
  readonly detach: boolean;
  /** Standard input is passed on, and stays open for viewers of a detached command. */
  readonly interactive: boolean;
  /** There is a terminal, into which nothing is typed unless `interactive` says so. */
  readonly tty?: boolean;
  readonly debug: boolean;
  /** Where the console is, unless it is standard input and output. */
  readonly target: ConsoleTarget | undefined;
  /** When the VM is ended, in milliseconds, and as it was told. */
  readonly timeout?: { readonly milliseconds: number; readonly text: string } | undefined;
  make(): Promise<Vmm>;
  /** Lets the guest run, or leaves it as it is. */
  begin(vm: Vmm): Promise<void> | void;
  /** What `run --config` takes to make such a VM. */
  config?(vm: Vmm): Readonly<Record<string, unknown>>;
}

/** Makes a VM, connects it with standard streams or with its log, serves its control socket; answers the exit code. */
export async function runProcess(subject: VmProcess, options: ProcessOptions): Promise<number> {
  using ending = new Ending();
  if (subject.detach && options.background !== true) return await detach(options, ending);
  return options.background === true
    ? await runInBackground(subject, options, ending)
    : await runInForeground(subject, options, ending);
}

async function detach(options: ProcessOptions, ending: Ending): Promise<number> {
  let outcome: Outcome;
  try {
    outcome = await ending.race(startInBackground(process.argv.slice(2)));
  } catch (error) {
    if (error !== ending.cause) throw error;
    // The process of the VM ends with the connection to this one.
    if (options.format === 'json') printJson({ name: null, reason: null, exitCode: ending.code });
    return ending.code;
  }
  if (outcome.kind === 'started') {
    print(options, outcome.info, `${outcome.info.name}\n`);
    return 0;
  }
  const { error, exitCode } = outcome;
  say(`${error.message} [${error.code}]`);
  if (options.format === 'json') printJson({ error });
  return exitCode;
}

async function runInForeground(subject: VmProcess, options: ProcessOptions, ending: Ending): Promise<number> {
  const json = options.format === 'json';
  const begun = performance.now();
  const duration = (): number => Math.round(performance.now() - begun) / 1000;
  let name: string | undefined;
  try {
    const result = await withVm(subject, options, ending, async (vm, connected) => {
      name = vm.name;
      const output = json ? process.stderr : process.stdout;
      const begin = (): Promise<void> | void => subject.begin(vm);
      return await drive(
        vm,
        { debug: subject.debug, connected, output, begin, input: inputOf(subject) },
        ending,
      );
    });
    if (json) printJson({ name, ...result, duration: duration() });
    return result.exitCode;
  } catch (error) {
    if (error === ending.cause) {
      if (json) printJson({ name: name ?? null, reason: null, exitCode: ending.code, duration: duration() });
      return ending.code;
    }
    say(describeError(error));
    if (json) printJsonError(error);
    return exitCodeOf(error);
  }
}

async function runInBackground(subject: VmProcess, options: ProcessOptions, ending: Ending): Promise<number> {
  const reporter = new BackgroundReporter(ending);
  try {
    const { exitCode } = await withVm(subject, options, ending, async (vm, connected, control) => {
      if (!subject.interactive) vm.streams?.stdin.end();
      const { stdout, stderr } = vm.streams ?? {};
      const outputs = [vm.console, stdout, stderr].filter((stream) => stream !== undefined);
      const output = Promise.allSettled(outputs.map((stream) => finished(stream, { writable: false })));
      await subject.begin(vm);
      await begun(vm, ending);
      await reporter.started(control.server.info(), control.hub);
      const reason = await ending.race(vm.stopped);
      // What it printed last belongs into the log; a console that is connected elsewhere may wait for its reader.
      if (!connected) await output;
      return reason;
    });
    return exitCode;
  } catch (error) {
    const exitCode = error === ending.cause ? ending.code : exitCodeOf(error);
    await reporter.failed(error, exitCode);
    return exitCode;
  }
}

/** Makes the VM, lets it be driven, and ends it in every case. */
async function withVm(
  subject: VmProcess,
  options: ProcessOptions,
  ending: Ending,
  drive: (vm: Vmm, connected: boolean, control: VmControl) => Promise<StopReason>,
): Promise<{ readonly reason: StopReason; readonly exitCode: number }> {
  const { target, timeout } = subject;
  if (timeout !== undefined) ending.after(timeout.milliseconds, timeout.text);
  const vm = await ending.race(subject.make());
  ending.inOrder(() => vm.shutdown());
  let control: VmControl | undefined;
  try {
    using connection = target === undefined ? undefined : await connectConsole(vm, target);
    const config = subject.config?.(vm);
    control = await VmControl.open(vm, { command: options.background === true, ...(config && { config }) });
    const reason = await drive(vm, connection !== undefined, control);
    const exitCode = ending.exitCode(conclude(vm, reason));
    if (connection !== undefined) await ending.race(connection.done());
    return { reason, exitCode };
  } finally {
    await vm[Symbol.asyncDispose]();
    await control?.[Symbol.asyncDispose]();
  }
}

/** The guest runs, is paused, or has ended already. */
async function begun(vm: Vmm, ending: Ending): Promise<void> {
  const waiting = (async () => {
    for await (const state of vm.states()) if (state !== 'created' && state !== 'starting') return;
  })();
  await ending.race(waiting);
}

function inputOf({ interactive, tty = false }: VmProcess): InputMode {
  if (interactive) return 'always';
  return tty ? 'never' : 'fitting';
}

function exitCodeOf(error: unknown): number {
  return error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_VMM;
}
