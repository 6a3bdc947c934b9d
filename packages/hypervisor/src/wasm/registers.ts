import { HypervisorError } from '../errors.ts';

/** Register ids of the engine (ENGINE.md, "Exports"). */
const SPECIAL_IDS: Readonly<Record<string, number>> = {
  sp_el0: 31,
  sp_el1: 32,
  pc: 33,
  pstate: 34,
  fpcr: 35,
  fpsr: 36,
};
const FIRST_VECTOR_ID = 64;

/** Id of PSTATE, whose value is checked. */
export const PSTATE_ID = 34;

/** A core register: its engine id (of the low half, when it is a vector) and its width. */
export interface CoreRegister {
  readonly id: number;
  readonly bits: 64 | 128;
}

/** @throws HypervisorError `INVALID_ARGUMENT` for a name that is not a core register. */
export function coreRegister(name: string): CoreRegister {
  const special = Object.hasOwn(SPECIAL_IDS, name) ? SPECIAL_IDS[name] : undefined;
  if (special !== undefined) return { id: special, bits: 64 };
  const match = /^([xv])(0|[1-9]\d?)$/.exec(name);
  const number = Number(match?.[2]);
  if (match?.[1] === 'x' && number <= 30) return { id: number, bits: 64 };
  if (match?.[1] === 'v' && number <= 31) return { id: FIRST_VECTOR_ID + 2 * number, bits: 128 };
  throw new HypervisorError('INVALID_ARGUMENT', `'${name}' is not an AArch64 core register`);
}
