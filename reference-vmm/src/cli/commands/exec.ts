import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { collectOutput } from '../../agent/output.ts';
import type { ExecOptions } from '../../agent/guest-process.ts';
import type { CommandExit } from '../../agent/messages.ts';
import type { RemoteProcess } from '../../control/remote-process.ts';
import { VmmError, isErrno } from '../../errors.ts';
import { parseDuration } from '../../units.ts';
import { CommandSignals, codeOfExit } from '../command-signals.ts';
import { EXIT_TIMEOUT, EXIT_USAGE, EXIT_VMM } from '../exit-codes.ts';
import { describeError, say } from '../messages.ts';
import { printJson, printJsonError, usageError } from '../output.ts';
import { type TargetOptions, connectTarget, targetCommand } from '../target.ts';
import { RawTerminal } from '../terminal.ts';
import { followSize, terminalSize } from '../terminal-size.ts';

const EXAMPLES = `
Examples:
  reference-vmm exec web -- uname -a
  reference-vmm exec -it web -- sh                     a shell with a terminal; exit or Ctrl-D ends it
  tar c . | reference-vmm exec -i web -- tar x -C /srv
  reference-vmm exec -u nobody -w /tmp -e LANG=C web -- sh -c 'id; pwd'
  reference-vmm exec --timeout 5s -n web -- make test

Exit code: the command's own; 128+n when signal n ended it; 126 not executable, 127 not found in the guest;
124 --timeout ran out; 125 the VM, its agent or the connection failed; 2 wrong usage.
SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the command; the third one ends only this client, and kills the command.
With --format json standard output is one object with what the command printed, at most 16 MiB of each stream.`;

interface ExecCommandOptions extends TargetOptions {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly timeout?: string;
}

export function registerExec(program: Command): void {
  targetCommand(program, 'exec', 'run a command in a running VM')
    .argument('[command...]', 'program and arguments, after --')
    .option('-i, --interactive', 'pass standard input on, and keep it open')
    .option('-t, --tty', 'give the command a terminal, of the size of this one')
    .option(
      '-e, --env <name[=value]>',
      "a variable of the command's environment; without a value this one's",
      (value: string, previous: readonly string[]) => [...previous, value],
      [],
    )
    .option('-w, --workdir <directory>', "where it runs (default: the user's home directory)")
    .option('-u, --user <user>', 'who it runs as: a name of the guest, UID or UID:GID (default: root)')
    .option('--timeout <duration>', 'kill it after 30, 30s, 500ms, 5m …')
    .addHelpText('after', EXAMPLES)
    .action(async (name: string | undefined, command: string[], options: ExecCommandOptions) => {
      process.exitCode = await exec(name, command, options);
    });
}

async function exec(
  name: string | undefined,
  command: readonly string[],
  options: ExecCommandOptions,
): Promise<number> {
  try {
    // With -n the first word is the command's.
    const argv = options.name === undefined || name === undefined ? command : [name, ...command];
    const client = connectTarget(options.name === undefined ? name : undefined, options);
    const execOptions = settle(argv, options);
    return await drive(
      client.name,
      (signal) => client.exec(argv, { ...execOptions, signal }),
      options,
      execOptions,
    );
  } catch (error) {
    say(describeError(error));
    if (options.format === 'json') printJsonError(error);
    return exitCodeOf(error);
  }
}

/** @throws VmmError `INVALID_CONFIG` */
function settle(argv: readonly string[], options: ExecCommandOptions): ExecOptions {
  if (argv.length === 0) throw usageError('the command is missing: exec NAME -- COMMAND');
  const { tty = false, interactive = false, format, workdir, user, timeout } = options;
  if (tty && format === 'json') throw usageError('--tty and --format json exclude each other');
  if (tty && interactive && !process.stdin.isTTY)
    throw usageError('-i with -t needs a terminal as standard input: leave -t out');
  const env = environment(options.env);
  if (tty && process.env['TERM'] !== undefined) env['TERM'] ??= process.env['TERM'];
  return {
    env,
    ...(tty ? { tty: terminalSize() ?? true } : {}),
    ...(workdir === undefined ? {} : { cwd: workdir }),
    ...(user === undefined ? {} : { user }),
    ...(timeout === undefined ? {} : { timeout: parseDuration(timeout) }),
  };
}

/** @throws VmmError `INVALID_CONFIG` */
function environment(texts: readonly string[]): Record<string, string> {
  const found: Record<string, string> = {};
  for (const text of texts) {
    const end = text.indexOf('=');
    if (end === 0 || text === '') throw usageError(`-e ${text}: NAME=VALUE or NAME`);
    const value = end < 0 ? process.env[text] : text.slice(end + 1);
    if (value !== undefined) found[end < 0 ? text : text.slice(0, end)] = value;
  }
  return found;
}

/** Milliseconds that the VM's process has for saying that the time is over. */
const LATE = 2_000;

async function drive(
  name: string,
  start: (signal: AbortSignal) => RemoteProcess,
  options: ExecCommandOptions,
  { timeout }: ExecOptions,
): Promise<number> {
  const leave = new AbortController();
  const remote = start(leave.signal);
  using signals = new CommandSignals(
    (signal) => remote.kill(signal),
    (reason) => leave.abort(reason),
  );
  const late = timeout === undefined ? undefined : setTimeout(() => leave.abort(timedOut()), timeout + LATE);
  try {
    using terminal = connectInput(remote, options);
    if (options.format === 'json') {
      const { exit, stdout, stderr } = await collectOutput(remote, 'the command', (error) =>
        leave.abort(error),
      );
      printJson({ name, exit, exitCode: codeOfExit(exit), stdout, stderr });
      return codeOfExit(exit);
    }
    const exit = await show(remote);
    terminal[Symbol.dispose]();
    return codeOfExit(exit);
  } catch (error) {
    if (error === signals.reason) {
      if (options.format === 'json')
        printJson({ error: { code: 'INTERRUPTED', message: 'the client was interrupted' } });
      say('interrupted');
      return signals.code;
    }
    throw error;
  } finally {
    clearTimeout(late);
    process.stdin.destroy();
  }
}

function timedOut(): VmmError {
  return new VmmError('TIMED_OUT', 'the time is over, and the VM did not say so');
}

/** @returns what restores the terminal */
function connectInput(remote: RemoteProcess, { interactive, tty }: ExecCommandOptions): Disposable {
  const ends: (() => void)[] = [];
  if (interactive === true) {
    if (tty === true) {
      const raw = new RawTerminal(process.stdin);
      ends.push(() => raw[Symbol.dispose]());
    }
    // What the command does not read is nobody's failure.
    pipeline(process.stdin, remote.stdin).catch(() => undefined);
  } else if (tty !== true) {
    // A terminal has no end that could be told without typing it.
    remote.stdin.end();
  }
  if (tty === true) ends.push(followSize((size) => remote.resize(size)));
  return {
    [Symbol.dispose]: () => {
      for (const end of ends.splice(0)) end();
    },
  };
}

/** Prints what it prints, and tells how it ended. */
async function show(remote: RemoteProcess): Promise<CommandExit> {
  const output = Promise.all([
    pipeline(remote.stdout, process.stdout, { end: false }),
    pipeline(remote.stderr, process.stderr, { end: false }),
  ]).catch((error: unknown) => {
    // A reader that goes away early has what it wanted; the command learns of it as it would here.
    if (!isErrno(error, 'EPIPE') && remote.stdout.errored === null)
      say(`standard output: ${describeError(error)}`);
  });
  const exit = await remote.exit;
  await output;
  return exit;
}

function exitCodeOf(error: unknown): number {
  if (!(error instanceof VmmError)) return EXIT_VMM;
  if (error.code === 'TIMED_OUT') return EXIT_TIMEOUT;
  if (error.code === 'INVALID_CONFIG') return EXIT_USAGE;
  if (error.code !== 'GUEST_ERROR') return EXIT_VMM;
  if (isErrno(error.cause, 'ENOENT')) return 127;
  return isErrno(error.cause, 'EACCES') || isErrno(error.cause, 'ENOEXEC') ? 126 : EXIT_VMM;
}
