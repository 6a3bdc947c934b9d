import { compare, hex } from './compare.ts';
import { disassemble } from './disassemble.ts';
import { matches } from './encoding.ts';
import { EngineRunner } from './engine.ts';
import { probes, type Probe } from './fuzz.ts';
import { runOracle } from './oracle.ts';
import { report } from './shrink.ts';
import type { Outcome } from './state.ts';
import { TABLE } from './table.ts';
import { isUnpredictable } from './unpredictable.ts';

const seed = Number(process.env['VMM_ORACLE_SEED'] ?? 1);
const count = Number(process.env['VMM_ORACLE_PROBES'] ?? 20000);
const REPORTS = 20;

function take(number: number): Probe[] {
  const source = probes(TABLE, seed);
  const taken: Probe[] = [];
  while (taken.length < number) {
    const { value } = source.next();
    if (!isUnpredictable(value.word)) taken.push(value);
  }
  return taken;
}

function isCryptographic(word: number): boolean {
  return TABLE.some((row) => row.group === 'crypto' && matches(row, word));
}

describe('words that nobody chose', () => {
  let chosen: Probe[] = [];
  let outcomes: Outcome[] = [];
  beforeAll(() => {
    chosen = take(count);
    outcomes = runOracle(chosen.map((probe) => probe.case));
  });

  it('are defined on the oracle exactly when the table has them', () => {
    const wrong = chosen.filter(({ word }, i) => {
      const known = TABLE.some((row) => matches(row, word));
      return known !== (outcomes[i]!.ending !== 'undefined');
    });
    expect(disassemble(wrong.map(({ word }) => word)).map(({ text }) => text)).toEqual([]);
  });

  it('are undefined on the engine exactly when they are on the oracle, and else do the same', async () => {
    const engine = await EngineRunner.load();
    const reports: string[] = [];
    for (const [i, probe] of chosen.entries()) {
      const outcome = outcomes[i]!;
      const own = engine.run(probe.case);
      if (!engine.hasCryptography && isCryptographic(probe.word)) {
        if (own.ending !== 'undefined')
          reports.push(`probe ${i} of seed ${seed}: ${hex(BigInt(probe.word))} is not undefined`);
        continue;
      }
      const differences =
        probe.comparison === 'state'
          ? compare(outcome, own)
          : [outcome, own].filter(({ ending }) => ending === 'undefined').length === 1
            ? [{ what: 'ending', oracle: outcome.ending, engine: own.ending }]
            : [];
      if (differences.length > 0)
        reports.push(report(`probe ${i} of seed ${seed}`, { case: probe.case, differences }));
      if (reports.length >= REPORTS) break;
    }
    expect(reports.join('\n\n')).toBe('');
    expect(outcomes.some(({ ending }) => ending === 'undefined')).toBe(true);
    expect(outcomes.some(({ ending }) => ending === 'break')).toBe(true);
  });
});
