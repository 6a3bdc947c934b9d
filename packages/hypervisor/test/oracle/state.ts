/**
 * What a case is and what comes out of it, and their binary form: runner.c has the other side.
 */

/** Where the code runs and where the data window is, on both sides. */
export const CODE_BASE = 0x10000000;
export const DATA_BASE = 0x10010000;
export const DATA_SIZE = 0x4000;
export const DATA_WORDS: number = DATA_SIZE / 8;
/** Two pages: what a case does not fill with its words is BRK, which ends it. */
export const CODE_WORDS = 0x800;
export const BRK = 0xd4200000;

/** Indices into a state: 64-bit words, in the order of runner.c's `struct state`. */
export const X = 0;
export const SP = 31;
export const PC = 32;
export const NZCV = 33;
export const FPCR = 34;
export const FPSR = 35;
export const TPIDR = 36;
/** Low half of V0; Vn is at V + 2n and V + 2n + 1. */
export const V = 37;
export const STATE_WORDS = 101;

export type State = BigUint64Array;

/** A sequence with everything that it starts from. */
export interface Case {
  readonly words: readonly number[];
  /** Index of the word of the code pages where they start. */
  readonly origin: number;
  /** Starts there too, unless the first words are to be left out. */
  readonly state: State;
  /** Seed of the window's contents. */
  readonly dataSeed: number;
  /** Words of the window that differ from the seed's contents. */
  readonly patches: ReadonlyMap<number, bigint>;
  /** For the engine only: how it is to get through the case. */
  readonly mode: Mode;
}

export interface Mode {
  /** SCTLR_EL1.SA0, which makes the engine execute from instruction words while SP is misaligned. */
  readonly stackCheck: boolean;
  /** Instructions for one call of `run`, 0 for no limit. */
  readonly budget: number;
}

export type Ending = 'break' | 'undefined' | 'fault' | 'alignment' | 'other';

export interface Outcome {
  readonly ending: Ending;
  /** Faulting address, for faults of data accesses. */
  readonly address: bigint;
  readonly state: State;
  /** Words of the window that differ from their initial contents. */
  readonly changed: ReadonlyMap<number, bigint>;
}

/** Address of the word of a case. */
export function addressOf({ origin }: Case, index: number): number {
  return CODE_BASE + (origin + index) * 4;
}

export function newState(): State {
  return new BigUint64Array(STATE_WORDS);
}

/** Values that corner cases are made of; a quarter of the window's words come from here. */
export const FILL_TABLE: BigUint64Array = new BigUint64Array([
  0x0n,
  0xffffffffffffffffn,
  0x8000000000000000n,
  0x7fffffffffffffffn,
  0x0000000080000000n,
  0x000000007fffffffn,
  0x8000000080000000n,
  0x7fffffff7fffffffn,
  0x8000800080008000n,
  0x7fff7fff7fff7fffn,
  0x8080808080808080n,
  0x7f7f7f7f7f7f7f7fn,
  0x0000000000000001n,
  0x0000000100000001n,
  0x0001000100010001n,
  0x0101010101010101n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x4000000000000000n,
  0x3fe0000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0x7ff0000000000001n,
  0xfff4000000001234n,
  0x7ffc0000deadbeefn,
  0x000fffffffffffffn,
  0x0010000000000000n,
  0x8000000000000001n,
  0x7fefffffffffffffn,
  0x43e0000000000000n,
  0x43dfffffffffffffn,
  0x41dfffffffc00000n,
  0x41e0000000000000n,
  0xc1e0000000200000n,
  0x3fdfffffffffffffn,
  0x3f8000003f800000n,
  0xbf80000040000000n,
  0x3f0000003effffffn,
  0x7f800000ff800000n,
  0x7fc000007f800001n,
  0xffa0123400000001n,
  0x007fffff00800000n,
  0x807fffff80800000n,
  0x7f7fffffff7fffffn,
  0x4b0000004b7fffffn,
  0x4f0000004effffffn,
  0x5f0000005effffffn,
  0x36a0000000000000n,
  0x380fffffe0000000n,
  0x3810000000000000n,
  0x47efffffe0000000n,
  0x47effffff0000000n,
  0x3690000000000000n,
  0x3e70000000000000n,
  0x40effc0000000000n,
  0x3c003c00bc000400n,
  0x7c00fc007e007c01n,
  0x03ff000180017bffn,
  0x477fe000477ff000n,
  0x3380000033000000n,
  0x387fc00038800000n,
  0x5555555555555555n,
  0x0123456789abcdefn,
]);

/** The contents that a seed stands for, as pairs of 32-bit halves. */
export function fillWindow(seed: number, into: Uint32Array): void {
  const table = new Uint32Array(FILL_TABLE.buffer);
  let s = (seed | 1) >>> 0;
  const next = (): number => {
    s ^= s << 13;
    s ^= s >>> 17;
    s ^= s << 5;
    return (s >>>= 0);
  };
  for (let i = 0; i < DATA_WORDS; i++) {
    const low = next();
    const high = next();
    const entry = (high % FILL_TABLE.length) * 2;
    const special = low >>> 30 === 0;
    into[2 * i] = special ? (table[entry] ?? 0) : low;
    into[2 * i + 1] = special ? (table[entry + 1] ?? 0) : high;
  }
}

/** Names a word of a state in a report. */
export function nameOf(index: number): string {
  if (index >= V) return `v${(index - V) >> 1}.d[${(index - V) & 1}]`;
  if (index === SP) return 'sp';
  if (index < SP) return `x${index}`;
  return ['pc', 'nzcv', 'fpcr', 'fpsr', 'tpidr'][index - PC] ?? '?';
}
