import { type CpioEntry, buildCpio } from './cpio.ts';
import { SHELL_PROFILE } from './console.ts';
import type { LoadableModule } from './guest.ts';
import { COMMAND_FILE, HOSTNAME_FILE, MODULES_FILE, SETUP_FILE, commandScript, lines } from './init.ts';

/** What one run wants of the built-in guest. */
export interface GuestRun {
  readonly hostname: string;
  /** To be loaded in this order. */
  readonly modules: readonly LoadableModule[];
  /** Shell commands of the first process, before the command or the shell. */
  readonly setup: readonly string[];
  readonly command?: readonly string[] | undefined;
  /** More files; directories come before what they hold. */
  readonly files?: readonly CpioEntry[] | undefined;
}

/** The archive that follows the initial RAM filesystem and says what this run wants of the guest. */
export function runArchive(run: GuestRun): Uint8Array {
  const text = new TextEncoder();
  const file = (path: string, content: string): CpioEntry => ({
    type: 'file',
    path,
    data: text.encode(content),
  });
  return buildCpio([
    ...run.modules.flatMap(({ name, data }): CpioEntry[] =>
      data === undefined ? [] : [{ type: 'file', path: `lib/modules/${name}.ko`, data }],
    ),
    file(HOSTNAME_FILE, lines([run.hostname])),
    file(MODULES_FILE, lines(run.modules.map(({ name }) => name))),
    ...(run.setup.length === 0 ? [] : [file(SETUP_FILE, lines(run.setup))]),
    ...(run.command === undefined
      ? [file('etc/profile', SHELL_PROFILE)]
      : [file(COMMAND_FILE, commandScript(run.command))]),
    ...(run.files ?? []),
  ]);
}
