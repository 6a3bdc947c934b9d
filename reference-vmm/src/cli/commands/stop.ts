import { type Command, Option } from 'commander';
import { messageOf } from '../../errors.ts';
import { parseDuration } from '../../units.ts';
import { print, usageError } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm stop web                    asks the guest to power off, and ends it after 10 s
  reference-vmm stop -n web --grace 1m
  reference-vmm stop web --grace 0          at once, as kill does`;

const GRACE_VARIABLE = 'REFERENCE_VMM_GRACE';

interface StopOptions extends TargetOptions {
  readonly grace: string;
}

export function registerStop(program: Command): void {
  targetCommand(program, 'stop', 'end a VM: by its power button, and hard when that does not help')
    .addOption(
      new Option('--grace <duration>', 'time for the guest to power itself off: 0, 30s, 1m …')
        .default('10s')
        .env(GRACE_VARIABLE),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: StopOptions, command: Command) => {
      const grace = parseGrace(options.grace, command.getOptionValueSource('grace') === 'env');
      const info = await connectTarget(name, options).stop({ grace });
      print(options, info, `${info.name} has ended${info.reason === null ? '' : `: ${info.reason.kind}`}\n`);
    });
}

/** Milliseconds; unlike other durations this one may be 0. */
function parseGrace(text: string, fromEnvironment: boolean): number {
  if (/^0+(?:ms|s|m|h)?$/.test(text)) return 0;
  try {
    return parseDuration(text);
  } catch (error) {
    throw usageError(`${fromEnvironment ? GRACE_VARIABLE : '--grace'}: ${messageOf(error)}`);
  }
}
