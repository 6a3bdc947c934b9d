import { type Command, InvalidArgumentError, Option } from 'commander';
import { VmmError } from '../../errors.ts';
import { parseDuration } from '../../units.ts';
import { DEFAULT_GRACE } from '../../control/schema.ts';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm stop web                    asks the guest to power off, and ends it after 10 s
  reference-vmm stop -n web --grace 1m
  reference-vmm stop web --grace 0          at once, as kill does`;

interface StopOptions extends TargetOptions {
  /** Milliseconds. */
  readonly grace?: number;
}

export function registerStop(program: Command): void {
  targetCommand(program, 'stop', 'end a VM: by its power button, and hard when that does not help')
    .addOption(
      new Option('--grace <duration>', 'time for the guest to power itself off: 0, 30s, 1m …')
        .default(DEFAULT_GRACE, '10s')
        .env('REFERENCE_VMM_GRACE')
        .argParser(parseGrace),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: StopOptions) => {
      const { grace = DEFAULT_GRACE } = options;
      const info = await connectTarget(name, options).stop({ grace });
      print(options, info, `${info.name} has ended${info.reason === null ? '' : `: ${info.reason.kind}`}\n`);
    });
}

/** Unlike other durations this one may be 0. */
function parseGrace(text: string): number {
  if (/^0+(?:ms|s|m|h)?$/.test(text)) return 0;
  try {
    return parseDuration(text);
  } catch (error) {
    throw error instanceof VmmError ? new InvalidArgumentError(error.message) : error;
  }
}
