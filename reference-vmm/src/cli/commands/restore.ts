import { type Command, Option } from 'commander';
import { parseDisk } from '../../devices/disk.ts';
import { parseNetwork } from '../../devices/network.ts';
import { parseShare } from '../../devices/share.ts';
import { parseVsock } from '../../devices/vsock.ts';
import type { RestoreOptions } from '../../snapshot/restore.ts';
import { parseDuration } from '../../units.ts';
import { Vmm } from '../../vmm.ts';
import { BACKGROUND_OPTION } from '../background.ts';
import { type ConsoleTarget, parseConsole } from '../console.ts';
import { EXIT_USAGE } from '../exit-codes.ts';
import { describeError, say } from '../messages.ts';
import { formatOption, printJsonError, usageError } from '../output.ts';
import { type ProcessOptions, type VmProcess, runProcess } from '../vm-process.ts';

const EXAMPLES = `
Examples:
  reference-vmm restore /var/tmp/web                       goes on where it was, under its own name
  reference-vmm restore /var/tmp/web --name copy --detach  beside it, in a process of its own
  reference-vmm restore /var/tmp/web --paused --detach && reference-vmm resume web
  reference-vmm restore /var/tmp/web -d /var/tmp/web.img   with a copy of its disk
  reference-vmm restore /var/tmp/web --net user,tcp=8081:80 --name second

Console, standard streams and exit code are as with run. A snapshot of somebody else's may name any file
of yours as a disk or share: see docs/snapshots.md.`;

interface Options extends ProcessOptions {
  readonly name?: string;
  readonly paused?: boolean;
  readonly verify?: boolean;
  readonly track?: boolean;
  readonly disk: readonly string[];
  readonly net: readonly string[];
  readonly share: readonly string[];
  readonly vsock?: string;
  readonly console: string;
  readonly timeout?: string;
  readonly debug?: boolean;
  readonly detach?: boolean;
  readonly interactive?: boolean;
}

export function registerRestore(program: Command): void {
  program
    .command('restore')
    .description('go on with a VM from a snapshot')
    .argument('<directory>', 'with the snapshot')
    .option('-n, --name <name>', 'name of the VM (default: that of the one that was saved)')
    .option('--paused', 'leave the guest as it is, for resume')
    .option('--verify', 'check all of the memory before the guest runs, rather than while it does')
    .option('--track', 'let snapshots be based on this one')
    .option(
      '-d, --disk <file[,option]>',
      'in place of the disks that it had, as many as there were',
      collect,
      [],
    )
    .option('--net <kind[,option]>', 'in place of its networks', collect, [])
    .option('--share <dir[:tag|:path][,ro]>', 'in place of its shared directories', collect, [])
    .option('--vsock <cid[,path=socket]>', 'in place of its vsock device, with the same CID')
    .option('--console <where>', 'stdio, pty, pty=LINK or file=PATH, as with run', 'stdio')
    .option('--timeout <duration>', 'end the VM after 30, 30s, 500ms, 5m …')
    .option(
      '--debug',
      'report kernel messages, undefined instructions and unclaimed accesses on standard error',
    )
    .option('--detach', 'return when the guest goes on; it does so in a process of its own')
    .option('-i, --interactive', "with --detach: keep the command's standard input open for attach")
    .addOption(new Option(BACKGROUND_OPTION).hideHelp())
    .addOption(formatOption())
    .addHelpText('after', EXAMPLES)
    .action(async (directory: string, options: Options) => {
      process.exitCode = await restore(directory, options);
    });
}

async function restore(directory: string, options: Options): Promise<number> {
  let subject: VmProcess;
  try {
    subject = subjectOf(directory, options);
  } catch (error) {
    say(describeError(error));
    if (options.format === 'json') printJsonError(error);
    return EXIT_USAGE;
  }
  return await runProcess(subject, options);
}

/** @throws VmmError `INVALID_CONFIG` */
function subjectOf(directory: string, options: Options): VmProcess {
  const { timeout, paused } = options;
  const target: ConsoleTarget | undefined = parseConsole(options.console);
  const given = replacements(options);
  return {
    detach: options.detach === true,
    interactive: options.interactive === true,
    debug: options.debug === true,
    target,
    timeout: timeout === undefined ? undefined : { milliseconds: parseDuration(timeout), text: timeout },
    // Output that the guest has on its way must not come before there is somebody to take it.
    make: () => Vmm.restore(directory, { ...given, paused: true }),
    begin: async (vm) => {
      if (paused !== true) await vm.resume();
    },
  };
}

function replacements(options: Options): RestoreOptions {
  const { name, verify, track, disk, net, share, vsock } = options;
  const networks = net.map((text) => {
    const network = parseNetwork(text);
    if (network === undefined)
      throw usageError('--net none: a network that the guest has cannot be taken away');
    return network;
  });
  return {
    progress: say,
    ...(options.debug === true ? { debug: say } : {}),
    name,
    verify,
    track,
    ...(disk.length === 0 ? {} : { disks: disk.map(parseDisk) }),
    ...(networks.length === 0 ? {} : { networks }),
    ...(share.length === 0 ? {} : { shares: share.map(parseShare) }),
    ...(vsock === undefined ? {} : { vsock: parseVsock(vsock) }),
  };
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}
