import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { ControlClient } from '../../control/client.ts';
import type { SnapshotProgress } from '../../control/snapshot-schema.ts';
import type { SnapshotInfo } from '../../snapshot/save.ts';
import { bytes, formatOption, print, rewritable, usageError } from '../output.ts';
import { type TargetOptions, connectTarget } from '../target.ts';

const EXAMPLES = `
Examples:
  reference-vmm snapshot web /var/tmp/web             all of its memory; web goes on
  reference-vmm snapshot web /var/tmp/full --track    the same, and others can be based on it
  reference-vmm snapshot web /var/tmp/monday --base /var/tmp/full
                                                      only what changed since
  reference-vmm restore /var/tmp/monday --name copy

Disks and shared directories are not part of it: copy a disk while the VM is paused.`;

/** Milliseconds between looks at how far it has come. */
const PROGRESS_INTERVAL = 250;

interface Options extends TargetOptions {
  readonly base?: string;
  readonly track?: boolean;
}

export function registerSnapshot(program: Command): void {
  program
    .command('snapshot')
    .description('write everything of a VM into a directory, for restore')
    .argument('[name]', 'name of the VM, unless it comes by -n')
    .argument('[directory]', 'where to; a snapshot that is there is replaced when the new one is complete')
    .option('-n, --name <name>', 'name of the VM')
    .option('--base <directory>', 'write only what changed since the snapshot there, which has to stay')
    .option('--track', 'let others be based on this one: what is stored to is noted from now on')
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (first: string | undefined, second: string | undefined, options: Options) => {
      const [name, directory] =
        second === undefined && options.name !== undefined ? [undefined, first] : [first, second];
      if (directory === undefined) throw usageError('the directory for the snapshot is missing');
      const client = connectTarget(name, options);
      const { base, track } = options;
      const request = {
        directory: resolve(directory),
        ...(base === undefined ? {} : { base: resolve(base) }),
        ...(track === true ? { track } : {}),
      };
      const shown =
        options.format === 'text' && rewritable(process.stderr) ? showProgress(client) : undefined;
      let info: SnapshotInfo;
      try {
        info = await client.snapshot(request);
      } finally {
        shown?.[Symbol.dispose]();
      }
      print(options, info, `${describe(client.name, info)}\n`);
    });
}

function describe(name: string, { directory, kind, memoryBytes, pause }: SnapshotInfo): string {
  const what = kind === 'full' ? bytes(memoryBytes) : `${bytes(memoryBytes)} that changed`;
  return `${name}: ${what} in ${directory}; it stood still for ${Math.round(pause)} ms`;
}

/** A line of a terminal, rewritten while the memory is written. */
function showProgress(client: ControlClient): Disposable {
  let ended = false;
  let shown = false;
  const look = async (): Promise<void> => {
    // A VM that does not answer says so to the request itself.
    const stats = await client.stats().catch(() => undefined);
    if (ended) return;
    if (stats?.snapshot) {
      shown = true;
      process.stderr.write(`\r\x1b[K${progressText(stats.snapshot)}`);
    }
    timer = setTimeout(() => void look(), PROGRESS_INTERVAL);
  };
  let timer = setTimeout(() => void look(), PROGRESS_INTERVAL);
  return {
    [Symbol.dispose]: () => {
      ended = true;
      clearTimeout(timer);
      if (shown) process.stderr.write('\r\x1b[K');
    },
  };
}

function progressText({ written, total }: SnapshotProgress): string {
  if (written >= total) return `${bytes(total)} written; checksums`;
  return `${bytes(written)} of ${bytes(total)}`;
}
