import { encode, type Encoding } from './encoding.ts';
import { Random } from './random.ts';
import { CODE_BASE, DATA_BASE, DATA_SIZE, newState, PC, SP, V, type Case } from './state.ts';

/** What may be compared after a word that nobody chose. */
export type Comparison =
  /** It touches registers only: everything. */
  | 'state'
  /** It may access memory in ways that the architecture leaves open: whether it is undefined. */
  | 'allocation';

export interface Probe {
  readonly word: number;
  readonly comparison: Comparison;
  readonly case: Case;
}

/** Every general register points at these: loads and stores hit the window, branches to registers the BRK. */
const IN_WINDOW = BigInt(DATA_BASE + DATA_SIZE / 2);
const AT_BREAK = BigInt(CODE_BASE + 4);

/**
 * Words that are uniformly random, or an encoding of the table with one to three bits flipped, in the classes that can
 * be run blindly: data processing, SIMD and floating point, loads and stores, branches to registers.
 */
export function* probes(table: readonly Encoding[], seed: number): Generator<Probe, never> {
  const random = new Random(seed);
  while (true) {
    const word = random.chance(0.3) ? random.u32() : mutated(table, random);
    const kind = classOf(word);
    if (kind === undefined) continue;
    const state = newState();
    for (let i = 0; i < 31; i++)
      state[i] = kind === 'registers' ? random.u64() : kind === 'memory' ? IN_WINDOW : AT_BREAK;
    state[SP] = IN_WINDOW;
    state[PC] = BigInt(CODE_BASE);
    for (let i = 0; i < 64; i++) state[V + i] = random.u64();
    yield {
      word,
      comparison: kind === 'registers' ? 'state' : 'allocation',
      case: {
        words: [word],
        origin: 0,
        state,
        dataSeed: 1,
        patches: new Map(),
        mode: { stackCheck: false, budget: 0 },
      },
    };
  }
}

function mutated(table: readonly Encoding[], random: Random): number {
  const row = random.pick(table);
  let word = encode(row, Object.fromEntries(row.fields.map(({ name, width }) => [name, random.bits(width)])));
  for (let flips = 1 + random.below(3); flips > 0; flips--) word = (word ^ (1 << random.below(32))) >>> 0;
  return word;
}

/** By op0 of the A64 encoding index (Arm ARM C4.1), bits 28:25. */
function classOf(word: number): 'registers' | 'memory' | 'branch' | undefined {
  switch ((word >>> 25) & 15) {
    case 0b1000:
    case 0b1001:
    case 0b0101:
    case 0b1101:
    case 0b0111:
    case 0b1111:
      return 'registers';
    case 0b0100:
    case 0b0110:
    case 0b1100:
    case 0b1110:
      return 'memory';
    case 0b1011:
      return word >>> 25 === 0b1101011 ? 'branch' : undefined;
    case 0b0000:
    case 0b0001:
    case 0b0010:
    case 0b0011:
      return 'registers';
    default:
      return undefined;
  }
}
