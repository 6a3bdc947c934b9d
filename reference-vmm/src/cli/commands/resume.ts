import type { Command } from 'commander';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm resume web
  reference-vmm resume -n web --format json`;

export function registerResume(program: Command): void {
  targetCommand(program, 'resume', 'let a paused VM go on')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const info = await connectTarget(name, options).resume();
      print(options, info, `${info.name} runs again\n`);
    });
}
