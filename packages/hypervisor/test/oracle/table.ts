import type { Encoding } from './encoding.ts';
import { FP } from './encodings-fp.ts';
import { INTEGER } from './encodings-integer.ts';
import { MEMORY } from './encodings-memory.ts';
import { SIMD } from './encodings-simd.ts';

/** Every encoding of the Armv8.0 A64 instruction set that user mode may execute, but for SVC and the waiting hints. */
export const TABLE: readonly Encoding[] = [...INTEGER, ...MEMORY, ...FP, ...SIMD];

/** The part of the table that an engine with or without the cryptographic extension has. */
export function tableFor(hasCryptography: boolean): readonly Encoding[] {
  return hasCryptography ? TABLE : TABLE.filter((row) => row.group !== 'crypto');
}
