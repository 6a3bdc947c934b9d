import { finished } from 'node:stream/promises';
import type { Command } from 'commander';
import type { VmBuilder } from '../../builder.ts';
import { parseDuration } from '../../config.ts';
import { VmControl } from '../../control/control.ts';
import { VmmError } from '../../errors.ts';
import type { StopReason } from '../../stop-reason.ts';
import type { Vmm } from '../../vmm.ts';
import { BackgroundReporter, startInBackground } from '../background.ts';
import { type ConsoleTarget, connectConsole, parseConsole } from '../console.ts';
import { Ending } from '../ending.ts';
import { EXIT_USAGE, EXIT_VMM } from '../exit-codes.ts';
import { conclude, drive } from '../foreground.ts';
import { describeError, say } from '../messages.ts';
import { print, printJson, printJsonError } from '../output.ts';
import { EXAMPLES, type RunOptions, builderFor, declareOptions } from './run-options.ts';

export function registerRun(program: Command): void {
  const command = program
    .command('run')
    .description('boot a VM: a shell, a command, or your own kernel')
    .argument('[command...]', 'program and arguments for the built-in guest, after --');
  declareOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (command: string[], options: RunOptions) => {
      process.exitCode = await run(command, options);
    });
}

/** What the options mean, once they are known to be right. */
interface Plan {
  readonly builder: VmBuilder;
  readonly target: ConsoleTarget | undefined;
  readonly timeout: number | undefined;
}

async function run(command: readonly string[], options: RunOptions): Promise<number> {
  let plan: Plan;
  try {
    plan = {
      builder: builderFor(command, options),
      target: parseConsole(options.console),
      timeout: options.timeout === undefined ? undefined : parseDuration(options.timeout),
    };
  } catch (error) {
    say(describeError(error));
    if (options.format === 'json') printJsonError(error);
    return EXIT_USAGE;
  }
  if (options.detach === true && options.background !== true) return await detach(options);
  using ending = new Ending();
  return options.background === true
    ? await runInBackground(plan, options, ending)
    : await runInForeground(plan, options, ending);
}

async function detach(options: RunOptions): Promise<number> {
  const outcome = await startInBackground(process.argv.slice(2));
  if (outcome.kind === 'started') {
    print(options, outcome.info, `${outcome.info.name}\n`);
    return 0;
  }
  const { error, exitCode } = outcome;
  say(`${error.message} [${error.code}]`);
  if (options.format === 'json') printJson({ error });
  return exitCode;
}

async function runInForeground(plan: Plan, options: RunOptions, ending: Ending): Promise<number> {
  const json = options.format === 'json';
  let name: string | undefined;
  try {
    const result = await withVm(plan, options, ending, async (vm, connected) => {
      name = vm.name;
      const output = json ? process.stderr : process.stdout;
      return await drive(vm, { debug: options.debug === true, connected, output }, ending);
    });
    if (json) printJson({ name, ...result });
    return result.exitCode;
  } catch (error) {
    if (error === ending.cause) {
      if (json) printJson({ name: name ?? null, reason: null, exitCode: ending.code });
      return ending.code;
    }
    say(describeError(error));
    if (json) printJsonError(error);
    return exitCodeOf(error);
  }
}

async function runInBackground(plan: Plan, options: RunOptions, ending: Ending): Promise<number> {
  const reporter = new BackgroundReporter(ending);
  try {
    const { exitCode } = await withVm(plan, options, ending, async (vm, connected, control) => {
      if (options.interactive !== true) vm.streams?.stdin.end();
      const { stdout, stderr } = vm.streams ?? {};
      const outputs = [vm.console, stdout, stderr].filter((stream) => stream !== undefined);
      const output = Promise.allSettled(outputs.map((stream) => finished(stream, { writable: false })));
      vm.start();
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
  { builder, target, timeout }: Plan,
  options: RunOptions,
  ending: Ending,
  drive: (vm: Vmm, connected: boolean, control: VmControl) => Promise<StopReason>,
): Promise<{ readonly reason: StopReason; readonly exitCode: number }> {
  if (timeout !== undefined) ending.after(timeout, options.timeout ?? '');
  const vm = await ending.race(builder.build());
  let control: VmControl | undefined;
  try {
    using connection = target === undefined ? undefined : await connectConsole(vm, target);
    control = await VmControl.open(vm, { command: options.background === true });
    const reason = await drive(vm, connection !== undefined, control);
    const exitCode = conclude(vm, reason);
    if (connection !== undefined) await ending.race(connection.done());
    return { reason, exitCode };
  } finally {
    await vm[Symbol.asyncDispose]();
    await control?.[Symbol.asyncDispose]();
  }
}

function exitCodeOf(error: unknown): number {
  return error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_VMM;
}
