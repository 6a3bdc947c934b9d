import { compare, unknownAfterFault } from './compare.ts';
import type { Encoding } from './encoding.ts';
import type { EngineRunner } from './engine.ts';
import { Generator, type Sequence } from './generator.ts';
import { runOracle } from './oracle.ts';
import { report, shrink } from './shrink.ts';
import { addressOf, PC, type Outcome } from './state.ts';

/** Sequences that are handed to the oracle at once. */
const BATCH = 1000;

export interface CampaignResult {
  readonly sequences: number;
  /** Instructions that the sequences hold. */
  readonly instructions: number;
  /** How often each row was executed for certain. */
  readonly executed: ReadonlyMap<Encoding, number>;
  /** One report for each failure, up to the limit. */
  readonly reports: readonly string[];
}

/** Runs `count` sequences of a seed on both sides; stops after `limit` failures. */
export function campaign(
  engine: EngineRunner,
  table: readonly Encoding[],
  seed: number,
  count: number,
  limit = 5,
): CampaignResult {
  const generator = new Generator(table, seed);
  const executed = new Map<Encoding, number>();
  const reports: string[] = [];
  let sequences = 0;
  let instructions = 0;
  while (sequences < count && reports.length < limit) {
    const batch = Array.from({ length: Math.min(BATCH, count - sequences) }, () => generator.next());
    const outcomes = runOracle(batch.map((sequence) => sequence.case));
    for (const [i, sequence] of batch.entries()) {
      const outcome = outcomes[i]!;
      sequences++;
      instructions += sequence.case.words.length;
      const title = `seed ${seed}, sequence ${sequence.index} (${sequence.profile})`;
      const unexpected = misbehaves(sequence, outcome);
      if (unexpected !== undefined) throw new Error(`${title}: the generator is wrong: ${unexpected}`);
      countExecuted(executed, sequence, outcome);
      const { words } = sequence.case;
      const last = sequence.rows.at(-1)!.row;
      const unknown = sequence.ending !== 'break' ? unknownAfterFault(last, words.at(-1)!) : undefined;
      const differences = compare(outcome, engine.run(sequence.case), unknown);
      if (differences.length === 0) continue;
      const shrunk = shrink(engine, sequence.case);
      reports.push(
        report(title, shrunk.differences.length > 0 ? shrunk : { case: sequence.case, differences }),
      );
      if (reports.length >= limit) break;
    }
  }
  return { sequences, instructions, executed, reports };
}

function countExecuted(executed: Map<Encoding, number>, sequence: Sequence, outcome: Outcome): void {
  const reached = wordAt(sequence, outcome);
  sequence.rows.forEach(({ row, certain }, i) => {
    if (certain && i < reached) executed.set(row, (executed.get(row) ?? 0) + 1);
  });
}

/** A sequence must run to its end, or to its fault, on the oracle. */
function misbehaves(sequence: Sequence, outcome: Outcome): string | undefined {
  const { ending: wanted, rows } = sequence;
  const { ending } = outcome;
  const { length } = sequence.case.words;
  const jump = wanted !== 'break' && rows.at(-1)?.row.group === 'branch';
  const at = wordAt(sequence, outcome);
  if (ending === wanted && (jump || at === (wanted === 'break' ? length : length - 1))) return undefined;
  return `it ended with ${ending} instead of ${wanted} at instruction ${at} of ${length}`;
}

/** Index of the word that PC is at. */
function wordAt(sequence: Sequence, { state }: Outcome): number {
  return (Number(state[PC]) - addressOf(sequence.case, 0)) / 4;
}
