import type { Command } from 'commander';
import { ControlClient } from '../../control/client.ts';
import { VmmError, isErrno } from '../../errors.ts';
import { copyFromGuest } from '../copy/from-guest.ts';
import { type Copy, STREAM, parseCopy } from '../copy/operands.ts';
import { Progress } from '../copy/progress.ts';
import { copyToGuest } from '../copy/to-guest.ts';
import { Ending } from '../ending.ts';
import { type FormatOption, formatOption, printJson, usageError } from '../output.ts';

const EXAMPLES = `
Examples:
  reference-vmm cp site web:/srv              the directory site, as /srv/site if there is /srv
  reference-vmm cp site/. web:/srv            what is in it
  reference-vmm cp web:/etc/os-release .
  reference-vmm cp web:/var/log - | tar t     a tar stream on standard output
  tar c site | reference-vmm cp - web:/srv    one on standard input, with its owners

Files, directories and symbolic links with modes and times. In the guest they belong to root, here to you, and
without set-user-ID bits; links are copied as links, and none is followed below the destination. Sockets, pipes and
devices are left out. What was copied before an error stays.`;

export function registerCp(program: Command): void {
  program
    .command('cp')
    .description('copy files and trees between this machine and a running VM')
    .argument('<source>', 'NAME:PATH, a path of this machine, or - for a tar stream')
    .argument('<destination>', 'the same')
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (source: string, destination: string, options: FormatOption) => {
      process.exitCode = await cp(parseCopy(source, destination), options);
    });
}

async function cp(copy: Copy, { format }: FormatOption): Promise<number> {
  const json = format === 'json';
  if (json && copy.to === 'host' && copy.local === STREAM)
    throw usageError('a tar stream and --format json exclude each other on standard output');
  const client = ControlClient.connect(copy.vm);
  const abort = new AbortController();
  using ending = new Ending();
  using progress = new Progress(json ? undefined : process.stderr);
  try {
    await ending.race(run(client, copy, progress, abort.signal));
  } catch (error) {
    if (error === ending.cause) return ending.code;
    throw error;
  } finally {
    abort.abort(ending.cause);
    process.stdin.destroy();
  }
  const { entries, bytes } = progress;
  if (json) printJson({ name: client.name, ...copy, entries, bytes });
  return 0;
}

async function run(
  client: ControlClient,
  copy: Copy,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const { local, remote } = copy;
  if (copy.to === 'host') {
    if (local === STREAM) await toStream(client, remote, progress, signal);
    else await copyFromGuest(client, remote, local, progress, signal);
  } else if (local === STREAM) {
    const { entries } = await client.putTar(remote, progress.countBytes(process.stdin), { signal });
    progress.entries = entries;
  } else {
    await copyToGuest(client, local, remote, progress, signal);
  }
}

async function toStream(
  client: ControlClient,
  remote: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  if (process.stdout.isTTY)
    throw usageError('a tar stream is nothing for a terminal: redirect standard output');
  const tar = await client.getTar(remote, { signal });
  const broken = new Promise<never>((_, reject) => process.stdout.once('error', reject));
  broken.catch(() => undefined);
  try {
    for await (const chunk of progress.countBytes(tar as AsyncIterable<Uint8Array>))
      if (!process.stdout.write(chunk)) await Promise.race([drained(process.stdout), broken]);
  } catch (error) {
    // A reader that goes away early, as `tar t | head` does, has what it wanted.
    if (isErrno(error, 'EPIPE')) return;
    throw error instanceof VmmError ? error : client.brokeOff(error);
  }
}

async function drained(stream: NodeJS.WriteStream): Promise<void> {
  await new Promise<void>((resolve) => stream.once('drain', resolve));
}
