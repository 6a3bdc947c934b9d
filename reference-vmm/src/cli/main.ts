#!/usr/bin/env node
import { CommanderError } from 'commander';
import { VmmError } from '../errors.ts';
import { EXIT_FAILURE, EXIT_USAGE } from './exit-codes.ts';
import { describeError, say } from './messages.ts';
import { asksForJson, printJson, printJsonError } from './output.ts';
import { commandOf, createProgram } from './program.ts';

const args = process.argv.slice(2);
const json = asksForJson(args);

// A reader that goes away early, as `head` does, is no failure of the VMM's.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  const program = await createProgram(commandOf(args));
  let help = '';
  for (const each of [program, ...program.commands]) {
    each.configureOutput({
      writeOut: (text) => {
        if (json) help += text;
        else process.stdout.write(text);
      },
      writeErr: (text) => void process.stderr.write(text),
    });
  }
  try {
    await program.parseAsync(process.argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (json && error.exitCode === 0) printJson({ text: help });
    else if (json) printJson({ error: { code: 'USAGE', message: error.message.replace(/^error: /, '') } });
  }
} catch (error) {
  say(describeError(error));
  if (json) printJsonError(error);
  process.exitCode = error instanceof VmmError && error.code === 'INVALID_CONFIG' ? EXIT_USAGE : EXIT_FAILURE;
}
// What an ended run left unfinished, such as a download, must not keep the process.
process.exit();
