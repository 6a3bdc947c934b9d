import { type Group, isCrypto } from './groups.ts';
import { type Random } from './random.ts';
import { lanes64, relate } from './values.ts';

/** Layout of a state: `struct state` of runner.c. */
export const STATE_SIZE = 1040;
export const RESULT_SIZE = 48;
export const STATE_X = 512;
const STATE_NZCV = 760;
const STATE_FPCR = 764;
const STATE_FPSR = 768;
const STATE_COUNT = 772;
const STATE_MEMORY = 784;
const MEMORY_ADDRESS = 0x10000000n;
export const MEMORY_END = MEMORY_ADDRESS + 256n;

const INSTRUCTIONS_PER_STATE = 48;
const INSTRUCTIONS_PER_RELATED_STATE = 12;

/** FPCR.RMode, FZ, DN and AHP; half of all states have the reset value. */
function fpcr(random: Random): number {
  if (random.below(2) === 0) return 0;
  return (random.u32() & 0x07c00000) >>> 0;
}

function fpsr(random: Random): number {
  return random.pick([0, 0, 0x10, random.u32() & 0x0800009f]);
}

/** Whether a general-purpose register is an operand, and so must be one that runner.c loads and stores. */
function usesX(insn: number): boolean {
  return (
    (insn & 0x9fe08400) >>> 0 === 0x0e000400 ||
    (insn & 0x5f200000) === 0x1e000000 ||
    (insn & 0x5f20fc00) === 0x1e200000
  );
}

function instruction(random: Random, group: Group): number {
  for (;;) {
    let insn = ((random.u32() & ~group.mask) | group.value) >>> 0;
    if ((insn & 0x0e000000) === 0x0c000000) {
      // Structures: X0 or X1 is the base, and half of the accesses without post-index are well-formed.
      insn &= ~0x3c0;
      insn &= ~0x200;
      if (random.below(4) === 0) insn |= 0x1f0000;
      else if ((insn & 0x00800000) === 0) insn &= random.below(8) === 0 ? -1 : ~0x1f0000;
      else if ((insn & 0x1f0000) !== 0x1f0000) insn &= ~0x100000;
    } else if (usesX(insn)) {
      if ((insn & 0x1f) !== 0x1f) insn &= ~0x10;
      if ((insn & 0x3e0) !== 0x3e0) insn &= ~0x200;
    }
    insn >>>= 0;
    if (!isCrypto(insn)) return insn;
  }
}

/** One state with instructions of the group, each to be executed on it. */
function batch(random: Random, group: Group, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(STATE_SIZE + 4 * count);
  const view = new DataView(bytes.buffer);
  const kind = random.pick(group.kinds);
  for (let i = 0; i < 64; i++) view.setBigUint64(8 * i, lanes64(random, kind), true);
  if (group.related) relate(random, kind, view);
  for (let i = 0; i < 16; i++) {
    view.setBigUint64(STATE_X + 8 * i, lanes64(random, random.pick(['i64', 'i32', kind])), true);
  }
  if (group.name.startsWith('load/store')) {
    view.setBigUint64(STATE_X, MEMORY_ADDRESS + BigInt(random.below(192)), true);
    view.setBigUint64(STATE_X + 8, MEMORY_ADDRESS + BigInt(random.below(192)), true);
  }
  view.setUint32(STATE_NZCV, (random.below(16) << 28) >>> 0, true);
  view.setUint32(STATE_FPCR, fpcr(random), true);
  view.setUint32(STATE_FPSR, fpsr(random), true);
  view.setUint32(STATE_COUNT, count, true);
  for (let at = STATE_MEMORY; at < STATE_SIZE; at += 4) view.setUint32(at, random.u32(), true);
  for (let i = 0; i < count; i++) view.setUint32(STATE_SIZE + 4 * i, instruction(random, group), true);
  return bytes;
}

/** At least `count` cases of a group. */
export function casesOf(random: Random, group: Group, count: number): readonly Uint8Array<ArrayBuffer>[] {
  const batches: Uint8Array<ArrayBuffer>[] = [];
  const perState = group.related ? INSTRUCTIONS_PER_RELATED_STATE : INSTRUCTIONS_PER_STATE;
  for (let done = 0; done < count; done += perState) batches.push(batch(random, group, perState));
  return batches;
}
