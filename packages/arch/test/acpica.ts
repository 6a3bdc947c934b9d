import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Both from Debian's acpica-tools: the ACPI code that Linux has, with a compiler. */
const IASL = 'iasl';
const ACPIEXEC = 'acpiexec';

/** What iasl makes of a table. */
export interface RoundTrip {
  /** Disassembly: ASL, or the fields of a data table. */
  readonly source: string;
  /** The disassembly compiled again. */
  readonly bytes: Uint8Array;
  /** Errors, warnings and remarks of disassembler and compiler, a line each. */
  readonly messages: readonly string[];
}

function run(command: string, args: readonly string[], cwd: string): string {
  const { error, status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error !== undefined) {
    throw new Error(`this test needs ${command}: apt-get install acpica-tools`, { cause: error });
  }
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: status ${status}\n${stdout}${stderr}`);
  return stdout + stderr;
}

function inFolder<T>(action: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'vmm-acpica-'));
  try {
    return action(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const MESSAGE = /^.*\b(?:Error|Warning|Remark|Invalid|Could not|[Cc]hecksum)\b.*$/gm;
const SUMMARY = /^Compilation successful\. 0 Errors, 0 Warnings, 0 Remarks\b.*$/gm;

/** Disassembles a table and compiles the result, optimizing nothing. */
export function roundTrip(table: Uint8Array): RoundTrip {
  return inFolder((folder) => {
    writeFileSync(join(folder, 'table.aml'), table);
    const said = [
      run(IASL, ['-p', 'again', '-d', 'table.aml'], folder),
      run(IASL, ['-oa', '-p', 'again', 'again.dsl'], folder),
    ].join('\n');
    const [summary, ...more] = said.match(SUMMARY) ?? [];
    if (summary === undefined || more.length > 0) throw new Error(`iasl compiled nothing:\n${said}`);
    return {
      source: readFileSync(join(folder, 'again.dsl'), 'utf8'),
      bytes: readFileSync(join(folder, 'again.aml')),
      messages: said.replace(SUMMARY, '').match(MESSAGE) ?? [],
    };
  });
}

/** Loads a DSDT into the reference interpreter and gives it commands. */
export function interpret(dsdt: Uint8Array, ...commands: readonly string[]): string {
  return inFolder((folder) => {
    writeFileSync(join(folder, 'dsdt.aml'), dsdt);
    return run(ACPIEXEC, ['-b', commands.join(';'), 'dsdt.aml'], folder);
  });
}

/** A table without what a compiler puts its own into: checksum, creator's name and revision. */
export function withoutCreator(table: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(table);
  copy[9] = 0;
  copy.fill(0, 28, 36);
  return copy;
}
