import { type LaneKind } from './values.ts';

/** An encoding group: the bits of `mask` have the values of `value`, the others are anything. */
export type Group = {
  readonly name: string;
  readonly mask: number;
  readonly value: number;
  readonly kinds: readonly LaneKind[];
  /** Relative number of cases. */
  readonly weight: number;
  /** V0 to V7 hold numbers that make exact results, ties and cancellations of each other. */
  readonly related: boolean;
};

const INTEGERS: readonly LaneKind[] = ['i8', 'i16', 'i32', 'i64'];
const FLOATS: readonly LaneKind[] = ['f32', 'f64'];
const CONVERTED: readonly LaneKind[] = ['f16', 'f32', 'f64', 'i32', 'i64'];

/** `pattern`: 32 characters from the top bit, 0, 1 or x for anything; spaces are ignored. */
function group(
  name: string,
  pattern: string,
  kinds: readonly LaneKind[],
  weight = 1,
  related = false,
): Group {
  const bits = pattern.replaceAll(' ', '');
  if (bits.length !== 32) throw new Error(`${name}: ${bits.length} bits`);
  return {
    name,
    mask: parseInt(bits.replaceAll('0', '1').replaceAll('x', '0'), 2),
    value: parseInt(bits.replaceAll('x', '0'), 2),
    kinds,
    weight,
    related,
  };
}

/** Arm ARM C4.1.96 and C4.1.94, group by group. */
export const GROUPS: readonly Group[] = [
  group('three same, integer', '0xx01110 xx1xxxxx 0xxxx1xx xxxxxxxx', INTEGERS, 3),
  group('three same, integer (multiply)', '0xx01110 xx1xxxxx 10xxx1xx xxxxxxxx', INTEGERS),
  group('three same, floating point', '0xx01110 xx1xxxxx 11xxx1xx xxxxxxxx', FLOATS, 4),
  group('three different', '0xx01110 xx1xxxxx xxxx00xx xxxxxxxx', INTEGERS, 2),
  group('two-register miscellaneous, integer', '0xx01110 xx100000 xxxx10xx xxxxxxxx', INTEGERS, 2),
  group('two-register miscellaneous, compare', '0xx01110 1x100000 11xx10xx xxxxxxxx', FLOATS),
  group('two-register miscellaneous, floating point', '0xx01110 xx100001 xxxx10xx xxxxxxxx', CONVERTED, 3),
  group('across lanes', '0xx01110 xx11000x xxxx10xx xxxxxxxx', [...INTEGERS, 'f32']),
  group('copy', '0xx01110 000xxxxx 0xxxx1xx xxxxxxxx', INTEGERS),
  group('table', '00x01110 000xxxxx 0xxx00xx xxxxxxxx', ['i8']),
  group('permute', '00x01110 xx0xxxxx 0xxx10xx xxxxxxxx', INTEGERS),
  group('extract', '0x101110 xx0xxxxx 0xxxx0xx xxxxxxxx', INTEGERS),
  group('modified immediate', '0xx01111 00000xxx xxxxx1xx xxxxxxxx', INTEGERS),
  group('shift by immediate', '0xx01111 0xxxxxxx xxxxx1xx xxxxxxxx', INTEGERS, 3),
  group('fixed-point conversion', '0xx01111 0xxxxxxx 111xx1xx xxxxxxxx', CONVERTED),
  group('by element', '0xx01111 xxxxxxxx xxxxx0xx xxxxxxxx', INTEGERS, 2),
  group('by element, floating point', '0xx01111 1xxxxxxx xx01x0xx xxxxxxxx', FLOATS),
  group('scalar three same, integer', '01x11110 xx1xxxxx xxxxx1xx xxxxxxxx', INTEGERS, 2),
  group('scalar three same, floating point', '01x11110 xx1xxxxx 11xxx1xx xxxxxxxx', FLOATS),
  group('scalar three different', '01x11110 xx1xxxxx xxxx00xx xxxxxxxx', INTEGERS),
  group(
    'scalar two-register miscellaneous',
    '01x11110 xx10000x xxxx10xx xxxxxxxx',
    [...INTEGERS, ...FLOATS],
    3,
  ),
  group('scalar pairwise', '01x11110 xx11000x xxxx10xx xxxxxxxx', ['i64', ...FLOATS]),
  group('scalar copy', '01x11110 000xxxxx 0xxxx1xx xxxxxxxx', INTEGERS),
  group('scalar shift by immediate', '01x11111 0xxxxxxx xxxxx1xx xxxxxxxx', [...INTEGERS, ...FLOATS], 2),
  group('scalar by element', '01x11111 xxxxxxxx xxxxx0xx xxxxxxxx', [...INTEGERS, ...FLOATS], 2),
  group('vector space', '0xx0111x xxxxxxxx xxxxxxxx xxxxxxxx', INTEGERS, 2),
  group('scalar space', '01x1111x xxxxxxxx xxxxxxxx xxxxxxxx', INTEGERS, 2),
  group('fixed point <-> floating point', 'x0011110 xx0xxxxx xxxxxxxx xxxxxxxx', CONVERTED, 2),
  group('integer <-> floating point', 'x0011110 xx1xxxxx 000000xx xxxxxxxx', CONVERTED, 3),
  group('data processing, 1 source', '00011110 0x1xxxxx x10000xx xxxxxxxx', ['f16', ...FLOATS], 4),
  group('data processing, 1 source, half', '00011110 xx1xxxxx x10000xx xxxxxxxx', ['f16', ...FLOATS]),
  group('compare', '00011110 xx1xxxxx xx1000xx xxxxxxxx', FLOATS),
  group('immediate', '00011110 xx1xxxxx xxx100xx xxxxxxxx', FLOATS),
  group('conditional compare', '00011110 xx1xxxxx xxxx01xx xxxxxxxx', FLOATS),
  group('data processing, 2 source', '00011110 0x1xxxxx xxxx10xx xxxxxxxx', FLOATS, 4),
  group('conditional select', '00011110 xx1xxxxx xxxx11xx xxxxxxxx', FLOATS),
  group('data processing, 3 source', '00011111 0xxxxxxx xxxxxxxx xxxxxxxx', FLOATS, 4),
  group('related operands, 2 source', '00011110 0x100xxx 00xx1000 xxx00xxx', FLOATS, 2, true),
  group('related operands, 3 source', '00011111 0xx00xxx x00xxx00 xxx00xxx', FLOATS, 3, true),
  group('related operands, square root', '00011110 0x100001 11000000 xxx00xxx', FLOATS, 1, true),
  group('related operands, conversions', '00011110 0x10001x x1000000 xxx00xxx', FLOATS, 1, true),
  group('related operands, vectors', '0xx01110 xx100xxx 11xxx100 xxx00xxx', FLOATS, 3, true),
  group('scalar floating-point space', 'xxx1111x xxxxxxxx xxxxxxxx xxxxxxxx', FLOATS, 2),
  group('load/store multiple structures', '0x001100 xxxxxxxx xxxxxxxx xxxxxxxx', ['i8'], 2),
  group('load/store single structure', '0x001101 xxxxxxxx xxxxxxxx xxxxxxxx', ['i8'], 2),
];

/** AES, SHA and 64-bit PMULL: the oracle's Cortex-A57 has them, the engine's ID registers say that it does not. */
export function isCrypto(insn: number): boolean {
  return (
    (insn & 0xff3e0c00) >>> 0 === 0x4e280800 ||
    (insn & 0xff3e0c00) >>> 0 === 0x5e280800 ||
    (insn & 0xff208c00) >>> 0 === 0x5e000000 ||
    (insn & 0xbfe0fc00) >>> 0 === 0x0ee0e000
  );
}
