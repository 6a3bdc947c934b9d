import { type Command, Option } from 'commander';
import type { VmBuilder } from '../../builder.ts';
import { DEFAULT_CMDLINES } from '../../machine/platform.ts';
import { parseDuration } from '../../units.ts';
import { BACKGROUND_OPTION } from '../background.ts';
import { type ConsoleTarget } from '../console.ts';
import { say } from '../messages.ts';
import { type FormatOption, formatOption, usageError } from '../output.ts';
import { builderOf } from '../run-config/builder.ts';
import { environmentName, longName } from '../run-config/flags.ts';
import { CONFIG_VARIABLE, effectiveConfig } from '../run-config/layers.ts';
import { type RunConfig, type Setting, SETTINGS } from '../run-config/schema.ts';

/** What `run` was told on its command line; what it means together with file and environment tells {@link settle}. */
export interface RunOptions extends FormatOption {
  readonly config?: string;
  /** The process that `detach` starts. */
  readonly background?: boolean;
  /** The keys of {@link RunConfig}, as text. */
  readonly [key: string]: unknown;
}

/** What `run` is to do. */
export interface Plan {
  readonly config: RunConfig;
  readonly builder: VmBuilder;
  /** Where the console is, unless it is standard input and output. */
  readonly target: ConsoleTarget | undefined;
  /** Milliseconds. */
  readonly timeout: number | undefined;
}

/** @throws VmmError `INVALID_CONFIG`, `FILE_NOT_FOUND`, `FILE_UNREADABLE` */
export function settle(command: readonly string[], options: RunOptions): Plan {
  const config = effectiveConfig(options, command);
  const { interactive, tty, detach } = config;
  if (interactive && tty && !detach && config.console === 'stdio' && !process.stdin.isTTY)
    throw usageError('-i with -t needs a terminal as standard input: leave -t out');
  const builder = builderOf(config);
  builder.host({ progress: say, ...(config.debug ? { debug: say } : {}) });
  return {
    config,
    builder,
    target: config.console === 'stdio' ? undefined : config.console,
    timeout: config.timeout === undefined ? undefined : parseDuration(String(config.timeout)),
  };
}

export const EXAMPLES = `
Examples:
  reference-vmm run                                    a busybox shell on Debian's kernel
  reference-vmm run -- sh -c 'echo hi; exit 7'         one command; its output and exit code
  tar c . | reference-vmm run -- tar t                 standard input goes to the command
  reference-vmm run -it -- vi /etc/profile             a command with a terminal
  echo 'uname -a' | reference-vmm run -i               a script for sh
  reference-vmm run -d disk.img,ro -- mount -o ro /dev/vda /mnt
  reference-vmm run -d disk.img,overlay=changes.img,iops=500 -- mount /dev/vda /mnt
  reference-vmm run --net user,tcp=8080:80 -- httpd -f -p 80
  reference-vmm run --share .:/work -- ls -l /work
  reference-vmm run --net tap=vmtap0,ip=10.0.0.2/24,gateway=10.0.0.1 --transport pci --ring packed
  reference-vmm run --vsock 42,path=vm.sock --balloon on -m 1G
  reference-vmm run -k Image --initrd initrd.cpio -p 'console=ttyAMA0'
  reference-vmm run --hypervisor kvm -c 4 -m 4G
  reference-vmm run --detach --name web --net user,tcp=8080:80 -- httpd -f -p 80
  reference-vmm run --config web.json -m 1G

Exit code: the guest command's own; 126 not executable, 127 not found in the guest; 2 wrong usage;
124 --timeout ran out; 125 the VMM or the guest's kernel failed; 128+n ended by signal n.
With --format json standard output is one object, and the guest's output goes to standard error.`;

/** Declares the options of `run`. */
export function declareOptions(command: Command): Command {
  for (const setting of SETTINGS) {
    if (setting.flags === undefined) continue;
    command.addOption(optionOf(setting.flags, setting));
    // What a file or the environment turned on.
    if (setting.on === true) command.addOption(new Option(`--no-${longName(setting)}`).hideHelp());
  }
  return command
    .option(
      '--config <file>',
      'JSON with the same keys in camel case; flags win over it (config.schema.json)',
    )
    .addOption(new Option(BACKGROUND_OPTION).hideHelp())
    .addOption(formatOption());
}

function optionOf(flags: string, { help, description, choices, list, default: value }: Setting): Option {
  const shown = typeof value === 'string' || typeof value === 'number' ? ` (default: ${value})` : '';
  const option = new Option(flags, `${help ?? description}${shown}`);
  if (choices !== undefined) option.choices(choices);
  if (list === true) {
    option.argParser((text: string, previous: readonly string[] | undefined) => [...(previous ?? []), text]);
  }
  return option;
}

/** The end of the help: the variables, and how sources go together. */
export function environmentHelp(): string {
  const names = SETTINGS.map(environmentName).filter((name) => name !== undefined);
  return `
Environment: REFERENCE_VMM_ and the name of an option in capitals, with _ for -. Options win over the file
of --config, the file over the environment. Several disks, networks or shares stand on a line each;
1 or 0 turn options without a value on and off. An option that is on is turned off by --no-NAME.
${columns([...names, CONFIG_VARIABLE, 'REFERENCE_VMM_FORMAT'])}

Default kernel command line:
${Object.entries(DEFAULT_CMDLINES)
  .map(([arch, cmdline]) => `  ${arch}: ${cmdline}`)
  .join('\n')}`;
}

function columns(names: readonly string[]): string {
  const lines: string[] = [];
  for (let index = 0; index < names.length; index += 2) {
    lines.push(
      `  ${names
        .slice(index, index + 2)
        .map((name) => name.padEnd(36))
        .join('')
        .trimEnd()}`,
    );
  }
  return lines.join('\n');
}
