import { decode, type Encoding } from './encoding.ts';
import { DATA_WORDS, nameOf, STATE_WORDS, V, type Outcome } from './state.ts';

export interface Difference {
  readonly what: string;
  readonly oracle: string;
  readonly engine: string;
}

/** What an access that faults leaves unknown. */
interface Unknown {
  readonly registers: ReadonlySet<number>;
  /** Stores may have been done in part: the words at both ends of the window. */
  readonly edges: boolean;
}

const NOTHING: Unknown = { registers: new Set(), edges: false };
/** The widest access is LD4 of four 16-byte registers. */
const EDGE_WORDS = 8;

/** The state words that the last access of a sequence, which faults, leaves unknown. */
export function unknownAfterFault(row: Encoding, word: number): Unknown {
  const fields = decode(row, word);
  const registers = new Set<number>(row.access?.(fields).loads ?? []);
  for (const name of ['Vt', 'Vt2']) {
    const first = fields[name];
    if (first === undefined) continue;
    for (let i = 0; i < 4; i++) for (const half of [0, 1]) registers.add(V + 2 * ((first + i) % 32) + half);
  }
  return { registers, edges: true };
}

/** Every way in which the engine's outcome differs from the oracle's. */
export function compare(oracle: Outcome, engine: Outcome, unknown: Unknown = NOTHING): Difference[] {
  const differences: Difference[] = [];
  const check = (what: string, expected: string, got: string): void => {
    if (expected !== got) differences.push({ what, oracle: expected, engine: got });
  };
  check('ending', oracle.ending, engine.ending);
  if (oracle.ending === 'fault' || oracle.ending === 'alignment')
    check('fault address', hex(oracle.address), hex(engine.address));
  for (let i = 0; i < STATE_WORDS; i++)
    if (oracle.state[i] !== engine.state[i] && !unknown.registers.has(i))
      check(nameOf(i), hex(oracle.state[i]), hex(engine.state[i]));
  const edge = (index: number): boolean => index < EDGE_WORDS || index >= DATA_WORDS - EDGE_WORDS;
  for (const index of new Set([...oracle.changed.keys(), ...engine.changed.keys()])) {
    if (unknown.edges && edge(index)) continue;
    check(
      `window+0x${(index * 8).toString(16)}`,
      hex(oracle.changed.get(index)),
      hex(engine.changed.get(index)),
    );
  }
  return differences;
}

export function hex(value: bigint | undefined): string {
  return value === undefined ? 'unchanged' : `0x${value.toString(16)}`;
}
