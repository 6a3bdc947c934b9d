#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { registerDoctor } from './commands/doctor.ts';
import { registerRun } from './commands/run.ts';
import { EXIT_USAGE, EXIT_VMM } from './exit-codes.ts';
import { describeError, say } from './messages.ts';

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown';
}

const program = new Command('reference-vmm')
  .description('Boots Linux in a VM on any machine that has Node')
  .version(version())
  .exitOverride()
  .configureOutput({ writeErr: (text) => process.stderr.write(text) })
  .showHelpAfterError('(try reference-vmm --help)')
  .enablePositionalOptions();
registerRun(program);
registerDoctor(program);

// A reader that goes away early, as `head` does, is no failure of the VMM's.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

try {
  await program.parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else {
    say(describeError(error));
    process.exitCode = EXIT_VMM;
  }
}
// What an ended run left unfinished, such as a download, must not keep the process.
process.exit();
