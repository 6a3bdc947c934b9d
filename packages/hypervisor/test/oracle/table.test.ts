import { disassemble } from './disassemble.ts';
import { encode, matches } from './encoding.ts';
import { Random } from './random.ts';
import { TABLE } from './table.ts';
import { WITHOUT_ORACLE, WORKLOAD } from './workload-mnemonics.ts';

const SAMPLES = 60;

/** Random allowed words of every row. */
function samples() {
  const random = new Random(11);
  return TABLE.flatMap((row) =>
    Array.from({ length: SAMPLES }, () => {
      const values = Object.fromEntries(row.fields.map(({ name, width }) => [name, random.bits(width)]));
      return { row, word: encode(row, values) };
    }).filter(({ word }) => matches(row, word)),
  );
}

describe('the table of encodings', () => {
  it('names every row once', () => {
    expect(new Set(TABLE.map((row) => row.name)).size).toBe(TABLE.length);
  });

  it('is read by objdump as it is meant', () => {
    const words = samples();
    const listing = disassemble(words.map(({ word }) => word));
    const wrong = words
      .map(({ row }, i) => ({ row, line: listing[i]! }))
      .filter(({ row, line }) => !row.mnemonics.includes(line.mnemonic))
      .map(({ row, line }) => `${row.name}: ${line.text}`);
    expect(wrong).toEqual([]);
    expect(new Set(words.map(({ row }) => row)).size).toBe(TABLE.length);
  });

  it('gives no word to two rows', () => {
    const twice = samples().flatMap(({ row, word }) =>
      TABLE.filter((other) => other !== row && matches(other, word)).map(
        (other) => `${row.name} / ${other.name}`,
      ),
    );
    expect([...new Set(twice)]).toEqual([]);
  });

  it('has every mnemonic that a kernel boot and a start of Node execute, but for a named few', () => {
    const known = new Set([...TABLE.flatMap((row) => row.mnemonics), ...WITHOUT_ORACLE]);
    expect(WORKLOAD.filter((mnemonic) => !known.has(mnemonic))).toEqual([]);
    expect(WITHOUT_ORACLE.filter((mnemonic) => !WORKLOAD.includes(mnemonic))).toEqual([]);
  });
});
