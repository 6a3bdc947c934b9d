import type { Command } from 'commander';
import { print } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm kill web
  reference-vmm kill -n web --format json`;

export function registerKill(program: Command): void {
  targetCommand(program, 'kill', 'end a VM at once; its process, too, when that does not answer')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: TargetOptions) => {
      const client = connectTarget(name, options);
      const info = await client.kill();
      if (info === undefined) {
        const ended = { name: client.name, pid: client.pid, state: 'killed' };
        print(options, ended, `${client.name} did not answer: its process was killed\n`);
      } else {
        print(options, info, `${info.name} has ended\n`);
      }
    });
}
