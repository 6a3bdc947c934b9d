#!/usr/bin/env node
import { constants } from 'node:os';
import { CommanderError } from 'commander';
import { VmmError } from '../errors.ts';
import { endedFromOutside } from './ending.ts';
import { EXIT_FAILURE, EXIT_SIGNAL, EXIT_USAGE, EXIT_VMM } from './exit-codes.ts';
import { HELP_WIDTH, fitHelp } from './help-text.ts';
import { describeError, say } from './messages.ts';
import { asksForJson, outputTaken, printJson, printJsonError } from './output.ts';
import { commandOf, createProgram, version } from './program.ts';

const args = process.argv.slice(2);
const json = asksForJson(args);
/** Milliseconds for which a command that was ended waits for a reader of its output. */
const OUTPUT_LIMIT = 1000;
/** Only output is left to be taken. */
let over = false;

// A reader that goes away early, as `head` does, is no failure of the VMM's, and neither is a terminal that is closed.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
  });
if (json) answerWhateverHappens();

try {
  const program = await createProgram(commandOf(args));
  let help = '';
  for (const each of [program, ...program.commands]) {
    each.configureOutput({
      writeOut: (text) => {
        if (json) help += text;
        else process.stdout.write(fitHelp(text, process.stdout.columns || HELP_WIDTH));
      },
      writeErr: (text) => void process.stderr.write(text),
    });
  }
  try {
    await program.parseAsync(process.argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (json) printJson(answerOf(error, help));
  }
} catch (error) {
  say(describeError(error));
  if (json) printJsonError(error);
  process.exitCode = error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_FAILURE;
}
over = true;
await outputTaken(endedFromOutside() ? OUTPUT_LIMIT : undefined);
// What an ended run left unfinished, such as a download, must not keep the process.
process.exit();

/** The object for what commander does by itself: help, version, wrong usage. */
function answerOf({ code, exitCode, message }: CommanderError, help: string): object {
  if (code === 'commander.version') return { version: version() };
  if (exitCode === 0) return { text: help };
  const missing = code === 'commander.help';
  return {
    error: { code: 'USAGE', message: missing ? 'a command is missing' : message.replace(/^error: /, '') },
  };
}

/** A program that asked for an object gets one, also when the command is interrupted or fails as nobody expected. */
function answerWhateverHappens(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // A command that has its own way to end takes it.
      if (process.listenerCount(signal) > 1) return;
      if (!over) say(`ended by ${signal}`);
      printJson({ error: { code: 'INTERRUPTED', message: `ended by ${signal}` } });
      process.exit(EXIT_SIGNAL + constants.signals[signal]);
    });
  }
  process.on('uncaughtException', (error) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    printJsonError(error);
    process.exit(args[0] === 'run' || args[0] === 'restore' ? EXIT_VMM : EXIT_FAILURE);
  });
}
