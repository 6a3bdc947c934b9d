import type { Command } from 'commander';
import { ControlClient } from '../control/client.ts';
import { type FormatOption, formatOption, usageError } from './output.ts';

/** Options of every command that is about one VM. */
export interface TargetOptions extends FormatOption {
  readonly name?: string;
}

/** Names the VM where the command line does not. */
const NAME_VARIABLE = 'REFERENCE_VMM_NAME';

/** Declares a command about one VM, whose name is its argument or `-n`. */
export function targetCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .argument('[name]', 'name of the VM')
    .option('-n, --name <name>', `name of the VM (env: ${NAME_VARIABLE})`)
    .addOption(formatOption());
}

/**
 * The VM that a command is about.
 *
 * @throws VmmError `INVALID_CONFIG` without a name, or with two; `NO_SUCH_VM`
 */
export function connectTarget(argument: string | undefined, { name }: TargetOptions): ControlClient {
  if (argument !== undefined && name !== undefined && argument !== name) {
    throw usageError(`both "${argument}" and "${name}" are given: which VM?`);
  }
  const chosen = argument ?? name ?? process.env[NAME_VARIABLE] ?? '';
  if (chosen === '') throw usageError('the name of a VM is missing: reference-vmm list tells them');
  return ControlClient.connect(chosen);
}
