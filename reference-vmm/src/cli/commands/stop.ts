import type { Command } from 'commander';
import { parseDuration } from '../../units.ts';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm stop web                    asks the guest to power off, and ends it after 10 s
  reference-vmm stop -n web --grace 1m
  reference-vmm stop web --grace 0          at once, as kill does`;

interface StopOptions extends TargetOptions {
  readonly grace?: string;
}

export function registerStop(program: Command): void {
  targetCommand(program, 'stop', 'end a VM: by its power button, and hard when that does not help')
    .option('--grace <duration>', 'time for the guest to power itself off: 0, 30s, 1m …', '10s')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: StopOptions) => {
      const { grace = '10s' } = options;
      const milliseconds = /^0+(?:ms|s|m|h)?$/.test(grace) ? 0 : parseDuration(grace);
      const info = await connectTarget(name, options).stop({ grace: milliseconds });
      print(options, info, `${info.name} has ended${info.reason === null ? '' : `: ${info.reason.kind}`}\n`);
    });
}
