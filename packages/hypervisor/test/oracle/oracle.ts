import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FILL_TABLE, newState, STATE_WORDS, type Case, type Ending, type Outcome } from './state.ts';

const SOURCE: URL = new URL('runner.c', import.meta.url);
const COMPILER = 'aarch64-linux-gnu-gcc';
const EMULATOR = 'qemu-aarch64-static';

/** Cases handed to one process. */
const BATCH = 4096;

const SIGNALS: Readonly<Record<number, Ending>> = { 4: 'undefined', 5: 'break', 7: 'alignment', 11: 'fault' };

/** Builds the runner once per version of its source and answers where it is. */
export function buildRunner(): string {
  const source = readFileSync(SOURCE);
  const folder = join(
    tmpdir(),
    `vmm-oracle-${createHash('sha256').update(source).digest('hex').slice(0, 16)}`,
  );
  const program = join(folder, 'runner');
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  // Built under a name of its own, so that a test process beside this one never runs half a file.
  const building = `${program}.${process.pid}`;
  const { error, status, stderr } = spawnSync(
    COMPILER,
    [
      '-O2',
      '-static',
      '-nostdlib',
      '-ffreestanding',
      '-fno-stack-protector',
      '-Wall',
      '-Wextra',
      '-Werror',
    ].concat(['-x', 'c', '-o', building, '-']),
    { input: source, encoding: 'utf8' },
  );
  if (error)
    throw new Error(`${COMPILER} is needed: install Debian package gcc-aarch64-linux-gnu`, { cause: error });
  if (status !== 0) throw new Error(`${COMPILER} could not build the oracle runner:\n${stderr}`);
  renameSync(building, program);
  return program;
}

/** Runs the cases on the emulated Cortex-A57. */
export function runOracle(cases: readonly Case[]): Outcome[] {
  const outcomes: Outcome[] = [];
  for (let from = 0; from < cases.length; from += BATCH)
    outcomes.push(...runBatch(cases.slice(from, from + BATCH)));
  return outcomes;
}

function runBatch(cases: readonly Case[]): Outcome[] {
  const { stdout, stderr, status, signal, error } = spawnSync(
    EMULATOR,
    ['-cpu', 'cortex-a57', buildRunner()],
    { input: serialize(cases), maxBuffer: 2 ** 31 },
  );
  if (error) {
    if ('code' in error && error.code === 'ENOENT')
      throw new Error(`${EMULATOR} is needed: install Debian package qemu-user-static`, { cause: error });
    throw error;
  }
  if (status !== 0) throw new Error(`the oracle runner ended with ${signal ?? status}: ${stderr.toString()}`);
  return parse(stdout, cases.length);
}

function serialize(cases: readonly Case[]): Uint8Array {
  let size = FILL_TABLE.byteLength;
  for (const { words, patches } of cases) size += 16 + STATE_WORDS * 8 + patches.size * 16 + words.length * 4;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(new Uint8Array(FILL_TABLE.buffer));
  let at = FILL_TABLE.byteLength;
  for (const { words, origin, state, dataSeed, patches } of cases) {
    view.setUint32(at, words.length, true);
    view.setUint32(at + 4, dataSeed, true);
    view.setUint32(at + 8, patches.size, true);
    view.setUint32(at + 12, origin, true);
    at += 16;
    bytes.set(new Uint8Array(state.buffer), at);
    at += STATE_WORDS * 8;
    for (const [index, value] of patches) {
      view.setBigUint64(at, BigInt(index), true);
      view.setBigUint64(at + 8, value, true);
      at += 16;
    }
    for (const word of words) {
      view.setUint32(at, word, true);
      at += 4;
    }
  }
  return bytes;
}

function parse(output: Uint8Array, count: number): Outcome[] {
  const view = new DataView(output.buffer, output.byteOffset, output.byteLength);
  const outcomes: Outcome[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const ending = SIGNALS[view.getUint32(at, true)] ?? 'other';
    const changedWords = view.getUint32(at + 8, true);
    const address = view.getBigUint64(at + 16, true);
    at += 24;
    const state = newState();
    for (let word = 0; word < STATE_WORDS; word++) state[word] = view.getBigUint64(at + word * 8, true);
    at += STATE_WORDS * 8;
    const changed = new Map<number, bigint>();
    for (let word = 0; word < changedWords; word++, at += 16)
      changed.set(Number(view.getBigUint64(at, true)), view.getBigUint64(at + 8, true));
    outcomes.push({ ending, address, state, changed });
  }
  if (at !== output.byteLength) throw new Error('the oracle answered more than was asked');
  return outcomes;
}
