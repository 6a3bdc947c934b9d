import type { Random } from './random.ts';
import { DATA_BASE, DATA_SIZE, FPCR, FPSR, NZCV, newState, PC, SP, TPIDR, V, type State } from './state.ts';
import { interesting, interestingVector } from './values.ts';

/** What the general registers are used for, so that values flow and addresses stay inside the window. */
export const DESTINATIONS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 29, 30, 31];
export const BASES: readonly number[] = [16, 17, 18, 19, SP];
/** Bases that are multiples of 64 and never change. */
export const ALIGNED: readonly number[] = [20, 21];
export const INDICES: readonly number[] = [22, 23, 24, 25];
/** X26 and X27 hold values for FPCR and FPSR: the table's MSR rows name them. */
const FPCR_SOURCE = 26;
const FPSR_SOURCE = 27;
export const LINK_SCRATCH: readonly number[] = [28, 30, 5];
export const VECTOR_DESTINATIONS: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7, 30, 31];

/** Contents of the index registers: positive, negative, and two with a high half that only 32-bit extends ignore. */
const INDEX_VALUES: readonly bigint[] = [
  0x18n,
  0xffff_ffff_ffff_ffc0n,
  0xdead_beef_0000_0020n,
  0x1234_5678_ffff_ffc8n,
];

/** FPCR bits that a Cortex-A57 has: AHP, DN, FZ, RMode. FPSR: QC, IDC, IXC, UFC, OFC, DZC, IOC. */
const FPCR_BITS = 0x07c0_0000;
const FPSR_BITS = 0x0800_009f;

export function inWindow(low: number, high: number, bytes: number): boolean {
  return low >= DATA_BASE && high + bytes <= DATA_BASE + DATA_SIZE;
}

export function indexValue(register: number): bigint {
  return register === 31 ? 0n : (INDEX_VALUES[register - 22] ?? 0n);
}

/** An address in the middle half of the window, often close to the border of two pages. */
export function somewhere(random: Random): number {
  const middle = DATA_BASE + DATA_SIZE / 4;
  return random.chance(0.5)
    ? middle + random.below(DATA_SIZE / 2)
    : middle + random.below(3) * 0x1000 + random.below(64) - 32;
}

/** What a sequence starts from. Bases point into the window. */
export function initialState(random: Random, pc: number): State {
  const state = newState();
  for (let i = 0; i < 31; i++) state[i] = interesting(random);
  for (const base of [...BASES, ...ALIGNED]) {
    const at = somewhere(random);
    state[base] = BigInt(ALIGNED.includes(base) ? at - (at % 64) : at);
  }
  INDICES.forEach((register, i) => (state[register] = INDEX_VALUES[i] ?? 0n));
  state[FPCR_SOURCE] = BigInt(random.u32() & FPCR_BITS);
  state[FPSR_SOURCE] = BigInt(random.u32() & FPSR_BITS);
  state[PC] = BigInt(pc);
  state[NZCV] = BigInt(random.below(16)) << 28n;
  state[FPCR] = random.chance(0.5) ? 0n : BigInt(random.u32() & FPCR_BITS);
  state[FPSR] = random.chance(0.7) ? 0n : BigInt(random.u32() & FPSR_BITS);
  state[TPIDR] = random.u64();
  for (let i = 0; i < 32; i++) {
    state[V + 2 * i] = interestingVector(random);
    state[V + 2 * i + 1] = random.chance(0.3) ? (state[V + 2 * i] ?? 0n) : interestingVector(random);
  }
  return state;
}
