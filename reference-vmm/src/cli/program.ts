import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { formatOption } from './output.ts';

type Register = (program: Command) => void;

/**
 * By name, in the order of the help. Each is loaded when it is asked for: what a VM is made of takes longer to load than a
 * running one takes to answer.
 */
const COMMANDS: Readonly<Record<string, () => Promise<Register>>> = {
  run: async () => (await import('./commands/run.ts')).registerRun,
  list: async () => (await import('./commands/list.ts')).registerList,
  inspect: async () => (await import('./commands/inspect.ts')).registerInspect,
  stats: async () => (await import('./commands/stats.ts')).registerStats,
  logs: async () => (await import('./commands/logs.ts')).registerLogs,
  exec: async () => (await import('./commands/exec.ts')).registerExec,
  cp: async () => (await import('./commands/cp.ts')).registerCp,
  attach: async () => (await import('./commands/attach.ts')).registerAttach,
  pause: async () => (await import('./commands/pause.ts')).registerPause,
  resume: async () => (await import('./commands/resume.ts')).registerResume,
  reset: async () => (await import('./commands/reset.ts')).registerReset,
  stop: async () => (await import('./commands/stop.ts')).registerStop,
  kill: async () => (await import('./commands/kill.ts')).registerKill,
  snapshot: async () => (await import('./commands/snapshot.ts')).registerSnapshot,
  restore: async () => (await import('./commands/restore.ts')).registerRestore,
  doctor: async () => (await import('./commands/doctor.ts')).registerDoctor,
  completion: async () => (await import('./commands/completion.ts')).registerCompletion,
};

/** The command with its subcommands: the one that is named, or all. */
export async function createProgram(name?: string): Promise<Command> {
  const program = new Command('reference-vmm')
    .description('Boots Linux in a VM on any machine that has Node')
    .version(version())
    .exitOverride()
    .showHelpAfterError('(try reference-vmm --help)')
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: (command) => [command.name(), ...command.aliases()].join(', ') })
    .addOption(formatOption().hideHelp());
  const only = name === undefined || !Object.hasOwn(COMMANDS, name) ? undefined : COMMANDS[name];
  for (const load of only === undefined ? Object.values(COMMANDS) : [only]) (await load())(program);
  return program;
}

/** The subcommand of a command line; undefined where an option comes first. */
export function commandOf(args: readonly string[]): string | undefined {
  return args[0]?.startsWith('-') === false ? args[0] : undefined;
}

/** Of this package. */
export function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}
