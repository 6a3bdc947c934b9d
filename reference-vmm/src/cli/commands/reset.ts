import type { Command } from 'commander';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm reset web
  reference-vmm reset -n web --format json`;

export function registerReset(program: Command): void {
  targetCommand(program, 'reset', 'restart a VM, as its reset button would')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const info = await connectTarget(name, options).reset();
      print(options, info, `${info.name} was reset\n`);
    });
}
