import type { Command } from 'commander';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm pause web
  reference-vmm pause -n web --format json`;

export function registerPause(program: Command): void {
  targetCommand(program, 'pause', 'make a VM stand still: vCPUs, clock and devices')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const info = await connectTarget(name, options).pause();
      print(options, info, `${info.name} is paused\n`);
    });
}
