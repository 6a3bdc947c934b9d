import { constants } from 'node:os';
import { finished } from 'node:stream/promises';
import type { Command } from 'commander';
import type { ConsoleClient } from '../../control/console-client.ts';
import { VmmError } from '../../errors.ts';
import { Ending } from '../ending.ts';
import { EXIT_SIGNAL } from '../exit-codes.ts';
import { show, typeInto } from '../interaction.ts';
import { say } from '../messages.ts';
import { printJson } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm attach web                     Ctrl-] twice leaves; the VM goes on
  echo uptime | reference-vmm attach web
  reference-vmm attach web --no-stdin          only look

Ends with the VM. With --format json standard output is one object, and the console goes to standard error.`;

interface AttachOptions extends TargetOptions {
  readonly stdin: boolean;
}

export function registerAttach(program: Command): void {
  targetCommand(program, 'attach', "sit at a VM's console, together with whoever else does")
    .option('--no-stdin', 'type nothing')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, options: AttachOptions) => {
      process.exitCode = await attach(name, options);
    });
}

async function attach(name: string | undefined, options: AttachOptions): Promise<number> {
  using ending = new Ending();
  const client = connectTarget(name, options);
  const json = options.format === 'json';
  const console = await ending.race(client.console()).catch((error: unknown) => {
    if (error === ending.cause) return undefined;
    throw error;
  });
  if (console === undefined) {
    if (json) printJson({ name: client.name, reason: null });
    return ending.code;
  }
  let restore = (): void => undefined;
  const tell = (code: number): number => {
    if (json) printJson({ name: client.name, reason: console.reason ?? null });
    return code;
  };
  try {
    const ended = finished(console, { writable: false });
    const output = json ? process.stderr : process.stdout;
    output.once('error', () => ending.end(EXIT_SIGNAL + constants.signals.SIGPIPE, undefined));
    show(console, output);
    if (options.stdin) {
      const seat = {
        stream: console,
        resize: (columns: number, rows: number) => console.resize({ columns, rows }),
      };
      restore = typeInto(seat, () => ending.end(0, `left; "${client.name}" goes on`));
    }
    await ending.race(ended);
    restore();
    say(howItEnded(client.name, console));
    return tell(0);
  } catch (error) {
    if (error === ending.cause) return tell(ending.code);
    throw error;
  } finally {
    restore();
    console.destroy();
    process.stdin.destroy();
  }
}

/** @throws VmmError `CONTROL_FAILED` */
function howItEnded(name: string, { reason }: ConsoleClient): string {
  if (reason === undefined) throw new VmmError('CONTROL_FAILED', `the connection to "${name}" broke off`);
  return `"${name}" has ended: ${reason.kind}`;
}
