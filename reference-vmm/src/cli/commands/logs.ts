import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { isErrno } from '../../errors.ts';
import { Ending } from '../ending.ts';
import { print, usageError } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm logs web              what the guest printed, its last 2 to 4 MiB
  reference-vmm logs -f web           and what it prints until it ends`;

interface LogsOptions extends TargetOptions {
  readonly follow?: boolean;
}

export function registerLogs(program: Command): void {
  targetCommand(program, 'logs', "print a VM's console log")
    .option('-f, --follow', 'go on with what comes until the VM ends')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: LogsOptions) => {
      const follow = options.follow === true;
      if (follow && options.format === 'json') {
        throw usageError('--follow and --format json exclude each other: one object cannot go on');
      }
      const client = connectTarget(name, options);
      const log = await client.logs({ follow });
      if (options.format === 'json') {
        const chunks: Uint8Array[] = [];
        for await (const chunk of log as AsyncIterable<Uint8Array>) chunks.push(chunk);
        print(options, { name: client.name, text: Buffer.concat(chunks).toString('utf8') }, '');
        return;
      }
      using ending = new Ending();
      try {
        await ending.race(pipeline(log, process.stdout, { end: false }));
      } catch (error) {
        if (error === ending.cause) process.exitCode = ending.code;
        // A reader that goes away early, as `head` does, has what it wanted.
        else if (!isErrno(error, 'EPIPE')) throw client.brokeOff(error);
      }
    });
}
