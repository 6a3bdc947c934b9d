import { compare, hex, type Difference } from './compare.ts';
import { disassemble } from './disassemble.ts';
import type { EngineRunner } from './engine.ts';
import { runOracle } from './oracle.ts';
import { addressOf, DATA_BASE, FPCR, FPSR, nameOf, NZCV, PC, SP, V, type Case } from './state.ts';

const NOP = 0xd503201f;

/** The smallest failing case that was found, and how it fails. */
export interface Shrunk {
  readonly case: Case;
  readonly differences: readonly Difference[];
}

/** Reduces a failing case: first to the shortest failing prefix, then to its last instruction or to what it needs. */
export function shrink(engine: EngineRunner, failing: Case): Shrunk {
  const { words } = failing;
  const prefixes = words.map((_, i) => ({ ...failing, words: words.slice(0, i + 1) }));
  const outcomes = runOracle(prefixes);
  let at = prefixes.length - 1;
  for (let i = 0; i < prefixes.length; i++) {
    if (compare(outcomes[i]!, engine.run(prefixes[i]!)).length > 0) {
      at = i;
      break;
    }
  }
  let current: Case = prefixes[at] ?? failing;
  const before = at === 0 ? undefined : outcomes[at - 1];
  if (before?.ending === 'break' && before.state[PC] === BigInt(addressOf(failing, at))) {
    const alone: Case = {
      ...current,
      words: current.words.map((word, i) => (i === at ? word : NOP)),
      state: before.state,
      patches: new Map([...current.patches, ...before.changed]),
    };
    const result = judge(engine, alone);
    if (result.differences.length > 0) return result;
  }
  for (let i = 0; i < current.words.length; i++) {
    const without = { ...current, words: current.words.map((word, j) => (i === j ? NOP : word)) };
    if (judge(engine, without).differences.length > 0) current = without;
  }
  return judge(engine, current);
}

function judge(engine: EngineRunner, given: Case): Shrunk {
  const [outcome] = runOracle([given]);
  if (outcome === undefined) throw new Error('the oracle did not answer');
  return { case: given, differences: compare(outcome, engine.run(given)) };
}

/** A report to reproduce and to understand a failure with. */
export function report(title: string, { case: given, differences }: Shrunk): string {
  const listing = disassemble(given.words, addressOf(given, 0));
  const lines = [title];
  given.words.forEach((word, i) => {
    if (word !== NOP)
      lines.push(
        `  ${addressOf(given, i).toString(16)}: ${word.toString(16).padStart(8, '0')}  ${listing[i]?.text ?? ''}`,
      );
  });
  lines.push('  from:');
  const text = listing.map((line) => line.text).join(' ');
  for (let i = 0; i < 32; i++) {
    const value = given.state[i];
    if (i < 31 && new RegExp(`\\b[xw]${i}\\b`).test(text)) lines.push(`    ${nameOf(i)} = ${hex(value)}`);
  }
  if (/\bw?sp\b/.test(text)) lines.push(`    sp = ${hex(given.state[SP])}`);
  for (let i = 0; i < 32; i++)
    if (new RegExp(`\\b[vbhsdq]${i}\\b`).test(text))
      lines.push(`    v${i} = ${hex(given.state[V + 2 * i + 1])} ${hex(given.state[V + 2 * i])}`);
  for (const i of [NZCV, FPCR, FPSR]) lines.push(`    ${nameOf(i)} = ${hex(given.state[i])}`);
  lines.push(
    `    start = ${hex(given.state[PC])}, window at 0x${DATA_BASE.toString(16)}, data seed ${given.dataSeed}`,
  );
  const { stackCheck, budget } = given.mode;
  lines.push(`    SP alignment check ${stackCheck ? 'on' : 'off'}, budget ${budget}`);
  lines.push('  differs:');
  for (const { what, oracle, engine } of differences)
    lines.push(`    ${what}: oracle ${oracle}, engine ${engine}`);
  return lines.join('\n');
}
