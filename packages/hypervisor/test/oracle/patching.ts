import { adrFields, encode, type Encoding, type Fields } from './encoding.ts';

/** Registers for the new instruction and for its address; no base is among them. */
const WORD = 5;
const PLACE = 28;
const DSB_ISH: Fields = { CRm: 11 };

/** An instruction word with its row. */
export interface Chosen {
  readonly row: Encoding;
  readonly word: number;
}

/**
 * Code that replaces the instruction at its end and executes the new one, with the maintenance that Arm ARM B2.4.4 asks
 * for. `pc` is where it starts.
 */
export function patchingItem(
  row: (name: string) => Encoding,
  pc: number,
  old: Chosen,
  fresh: Chosen,
): Chosen[] {
  const code: Chosen[] = [];
  const emit = (name: string, fields: Fields): void => {
    code.push({ row: row(name), word: encode(row(name), fields) });
  };
  const length = 9;
  emit('MOVZ', { sf: 0, hw: 0, imm16: fresh.word & 0xffff, Rd: WORD });
  emit('MOVK', { sf: 0, hw: 1, imm16: fresh.word >>> 16, Rd: WORD });
  emit('ADR', adrFields(PLACE, pc + 8, pc + length * 4));
  emit('X size 10 opc 00 (unsigned immediate)', { imm12: 0, SPn: PLACE, Rt: WORD });
  emit('DC CVAU', { SPn: PLACE });
  emit('DSB', DSB_ISH);
  emit('IC IVAU', { SPn: PLACE });
  emit('DSB', DSB_ISH);
  emit('ISB', {});
  if (code.length !== length) throw new Error('the address of the replaced instruction is wrong');
  return [...code, old];
}
