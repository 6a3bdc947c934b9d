import { define, type Encoding, type Fields, type Options } from './encoding.ts';

function row(name: string, mnemonics: string, pattern: string, options: Options = {}): Encoding {
  return define('fp', name, mnemonics, pattern, options);
}

/** ftype 0 single, 1 double. */
const sd = 'ftype:2';
const isSD = (f: Fields): boolean => f['ftype']! < 2;
const onlySD: Options = { allowed: isSD };

const conversions: Encoding[] = [
  ...(
    [
      ['FCVTNS', '00 000'],
      ['FCVTNU', '00 001'],
      ['FCVTAS', '00 100'],
      ['FCVTAU', '00 101'],
      ['FCVTPS', '01 000'],
      ['FCVTPU', '01 001'],
      ['FCVTMS', '10 000'],
      ['FCVTMU', '10 001'],
      ['FCVTZS', '11 000'],
      ['FCVTZU', '11 001'],
    ] as const
  ).map(([name, bits]) =>
    row(`${name} (scalar, integer)`, name.toLowerCase(), `sf 0011110 ${sd} 1 ${bits} 000000 Vn Rd`, onlySD),
  ),
  row('SCVTF (scalar, integer)', 'scvtf', `sf 0011110 ${sd} 1 00 010 000000 Rn Vd`, onlySD),
  row('UCVTF (scalar, integer)', 'ucvtf', `sf 0011110 ${sd} 1 00 011 000000 Rn Vd`, onlySD),
  row('SCVTF (scalar, fixed-point)', 'scvtf', `sf 0011110 ${sd} 0 00 010 scale:6 Rn Vd`, {
    allowed: (f) => isSD(f) && (f['sf'] === 1 || f['scale']! >= 32),
  }),
  row('UCVTF (scalar, fixed-point)', 'ucvtf', `sf 0011110 ${sd} 0 00 011 scale:6 Rn Vd`, {
    allowed: (f) => isSD(f) && (f['sf'] === 1 || f['scale']! >= 32),
  }),
  row('FCVTZS (scalar, fixed-point)', 'fcvtzs', `sf 0011110 ${sd} 0 11 000 scale:6 Vn Rd`, {
    allowed: (f) => isSD(f) && (f['sf'] === 1 || f['scale']! >= 32),
  }),
  row('FCVTZU (scalar, fixed-point)', 'fcvtzu', `sf 0011110 ${sd} 0 11 001 scale:6 Vn Rd`, {
    allowed: (f) => isSD(f) && (f['sf'] === 1 || f['scale']! >= 32),
  }),
  row('FMOV (S to W)', 'fmov', '0 0011110 00 1 00 110 000000 Vn Rd'),
  row('FMOV (W to S)', 'fmov', '0 0011110 00 1 00 111 000000 Rn Vd'),
  row('FMOV (D to X)', 'fmov', '1 0011110 01 1 00 110 000000 Vn Rd'),
  row('FMOV (X to D)', 'fmov', '1 0011110 01 1 00 111 000000 Rn Vd'),
  row('FMOV (D[1] to X)', 'fmov', '1 0011110 10 1 01 110 000000 Vn Rd'),
  row('FMOV (X to D[1])', 'fmov', '1 0011110 10 1 01 111 000000 Rn Vd'),
];

const oneSource: Encoding[] = [
  ...(
    [
      ['FMOV', '000000'],
      ['FABS', '000001'],
      ['FNEG', '000010'],
      ['FSQRT', '000011'],
      ['FRINTN', '001000'],
      ['FRINTP', '001001'],
      ['FRINTM', '001010'],
      ['FRINTZ', '001011'],
      ['FRINTA', '001100'],
      ['FRINTX', '001110'],
      ['FRINTI', '001111'],
    ] as const
  ).map(([name, opcode]) =>
    row(`${name} (register)`, name.toLowerCase(), `00011110 ${sd} 1 ${opcode} 10000 Vn Vd`, onlySD),
  ),
  ...(
    [
      ['S to D', '00', '01'],
      ['S to H', '00', '11'],
      ['D to S', '01', '00'],
      ['D to H', '01', '11'],
      ['H to S', '11', '00'],
      ['H to D', '11', '01'],
    ] as const
  ).map(([name, from, to]) => row(`FCVT (${name})`, 'fcvt', `00011110 ${from} 1 0001${to} 10000 Vn Vd`)),
];

const twoSource: Encoding[] = (
  ['FMUL', 'FDIV', 'FADD', 'FSUB', 'FMAX', 'FMIN', 'FMAXNM', 'FMINNM', 'FNMUL'] as const
).map((name, i) =>
  row(
    `${name} (scalar)`,
    name.toLowerCase(),
    `00011110 ${sd} 1 Vm ${i.toString(2).padStart(4, '0')} 10 Vn Vd`,
    onlySD,
  ),
);

const rest: Encoding[] = [
  row('FCMP', 'fcmp', `00011110 ${sd} 1 Vm 001000 Vn 00000`, onlySD),
  row('FCMP (zero)', 'fcmp', `00011110 ${sd} 1 00000 001000 Vn 01000`, onlySD),
  row('FCMPE', 'fcmpe', `00011110 ${sd} 1 Vm 001000 Vn 10000`, onlySD),
  row('FCMPE (zero)', 'fcmpe', `00011110 ${sd} 1 00000 001000 Vn 11000`, onlySD),
  row('FCCMP', 'fccmp', `00011110 ${sd} 1 Vm cond:4 01 Vn 0 nzcv:4`, onlySD),
  row('FCCMPE', 'fccmpe', `00011110 ${sd} 1 Vm cond:4 01 Vn 1 nzcv:4`, onlySD),
  row('FCSEL', 'fcsel', `00011110 ${sd} 1 Vm cond:4 11 Vn Vd`, onlySD),
  row('FMOV (scalar, immediate)', 'fmov', `00011110 ${sd} 1 imm8:8 100 00000 Vd`, onlySD),
  row('FMADD', 'fmadd', `00011111 ${sd} 0 Vm 0 Va Vn Vd`, onlySD),
  row('FMSUB', 'fmsub', `00011111 ${sd} 0 Vm 1 Va Vn Vd`, onlySD),
  row('FNMADD', 'fnmadd', `00011111 ${sd} 1 Vm 0 Va Vn Vd`, onlySD),
  row('FNMSUB', 'fnmsub', `00011111 ${sd} 1 Vm 1 Va Vn Vd`, onlySD),
];

export const FP: readonly Encoding[] = [...conversions, ...oneSource, ...twoSource, ...rest];
