import type { Command } from 'commander';
import { EXIT_USAGE } from '../exit-codes.ts';
import { describeError, say } from '../messages.ts';
import { printJsonError } from '../output.ts';
import { resolvePaths } from '../run-config/layers.ts';
import { runProcess } from '../vm-process.ts';
import {
  EXAMPLES,
  type Plan,
  type RunOptions,
  declareOptions,
  environmentHelp,
  settle,
} from './run-options.ts';

export function registerRun(program: Command): void {
  const command = program
    .command('run')
    .description('boot a VM: a shell, a command, or your own kernel')
    .argument('[command...]', 'program and arguments for the built-in guest, after --');
  declareOptions(command)
    .addHelpText('after', () => `${EXAMPLES}\n${environmentHelp()}`)
    .action(async (command: string[], options: RunOptions) => {
      process.exitCode = await run(command, options);
    });
}

async function run(command: readonly string[], options: RunOptions): Promise<number> {
  let plan: Plan;
  try {
    plan = settle(command, options);
  } catch (error) {
    say(describeError(error));
    if (options.format === 'json') printJsonError(error);
    return EXIT_USAGE;
  }
  const { config, builder, target, timeout } = plan;
  const { detach, interactive, tty, debug } = config;
  return await runProcess(
    {
      detach,
      interactive,
      tty,
      debug,
      target,
      timeout: timeout === undefined ? undefined : { milliseconds: timeout, text: String(config.timeout) },
      make: () => builder.build(),
      begin: (vm) => vm.start(),
      config: (vm) => resolvePaths({ ...config, name: vm.name }, process.cwd()),
    },
    options,
  );
}
