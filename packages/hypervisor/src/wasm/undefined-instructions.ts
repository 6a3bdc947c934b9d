import type { SharedState, VcpuWords } from './shared.ts';
import { UNDEFINED_TABLE_SIZE } from './shared.ts';

/** An encoding that the engine does not implement, or that is unallocated, and that the guest executed. */
export interface UndefinedInstruction {
  /** The first instruction word seen of this class. */
  readonly instruction: number;
  /** How often one of the class raised the Undefined Instruction exception, modulo 2^32. */
  readonly count: number;
  /** Where the first one was. */
  readonly firstPc: bigint;
}

// Table: number of entries, number of occurrences that found no room, then the entries.
const TABLE_COUNT = 0;
const TABLE_OVERFLOW = 1;
const TABLE_ENTRIES = 2;
const ENTRY_WORDS = 5;
const ENTRY_CLASS = 0;
const ENTRY_INSTRUCTION = 1;
const ENTRY_COUNT = 2;
const ENTRY_PC_LOW = 3;
const ENTRY_PC_HIGH = 4;
const MAX_ENTRIES = Math.floor((UNDEFINED_TABLE_SIZE / 4 - TABLE_ENTRIES) / ENTRY_WORDS);

/**
 * What two instructions must share to be counted as one: all but the register fields Rd, Rn and Rm, or all but Rt
 * for the system instructions (Arm ARM C4.1.90), whose other fields name the register or operation.
 */
export function encodingClass(instruction: number): number {
  const system = instruction >>> 24 === 0xd5;
  return (instruction & (system ? 0xffff_ffe0 : 0xffe0_fc00)) >>> 0;
}

/** Counts an occurrence. Called on the thread that runs the vCPU, which alone writes its table. */
export function countUndefined(
  shared: SharedState,
  vcpu: VcpuWords,
  instruction: number,
  pcLow: number,
  pcHigh: number,
): void {
  const { words } = shared;
  const table = vcpu.undefinedTable;
  const wanted = encodingClass(instruction);
  const count = words[table + TABLE_COUNT]!;
  for (let index = 0; index < count; index++) {
    const entry = table + TABLE_ENTRIES + index * ENTRY_WORDS;
    if (words[entry + ENTRY_CLASS]! >>> 0 === wanted) {
      Atomics.add(words, entry + ENTRY_COUNT, 1);
      return;
    }
  }
  if (count === MAX_ENTRIES) {
    Atomics.add(words, table + TABLE_OVERFLOW, 1);
    return;
  }
  const entry = table + TABLE_ENTRIES + count * ENTRY_WORDS;
  words[entry + ENTRY_CLASS] = wanted;
  words[entry + ENTRY_INSTRUCTION] = instruction;
  words[entry + ENTRY_COUNT] = 1;
  words[entry + ENTRY_PC_LOW] = pcLow;
  words[entry + ENTRY_PC_HIGH] = pcHigh;
  // Published last: the owner may read meanwhile.
  Atomics.store(words, table + TABLE_COUNT, count + 1);
  shared.wakeOwner();
}

/** Number of classes seen so far. */
export function undefinedClasses(shared: SharedState, vcpu: VcpuWords): number {
  return Atomics.load(shared.words, vcpu.undefinedTable + TABLE_COUNT);
}

/** The classes seen from the `first`-th on, in the order of their first occurrence. */
export function readUndefined(shared: SharedState, vcpu: VcpuWords, first = 0): UndefinedInstruction[] {
  const { words } = shared;
  const result: UndefinedInstruction[] = [];
  for (let index = first; index < undefinedClasses(shared, vcpu); index++) {
    const entry = vcpu.undefinedTable + TABLE_ENTRIES + index * ENTRY_WORDS;
    result.push({
      instruction: words[entry + ENTRY_INSTRUCTION]! >>> 0,
      count: Atomics.load(words, entry + ENTRY_COUNT) >>> 0,
      firstPc:
        BigInt(words[entry + ENTRY_PC_LOW]! >>> 0) | (BigInt(words[entry + ENTRY_PC_HIGH]! >>> 0) << 32n),
    });
  }
  return result;
}
