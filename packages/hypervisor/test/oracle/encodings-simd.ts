import { define, type Encoding, type Fields, type Options } from './encoding.ts';

function row(name: string, mnemonics: string, pattern: string, options: Options = {}): Encoding {
  return define('simd', name, mnemonics, pattern, options);
}

/** Element sizes by the letters of the Arm ARM's arrangement tables: b 0, h 1, s 2, d 3. */
function sizes(letters: string): (f: Fields) => boolean {
  const allowed = letters.split('').map((letter) => 'bhsd'.indexOf(letter));
  return (f) => allowed.includes(f['size']!);
}

/** A vector of 64-bit elements has two of them. */
const notOneD = (f: Fields): boolean => f['size'] !== 3 || f['Q'] === 1;
const fpLanes = (f: Fields): boolean => f['sz'] === 0 || f['Q'] === 1;

/** `both('shadd', 'S', 'U')` style tables: name for U = 0, name for U = 1, '' where unallocated. */
type Pair = readonly [zero: string, one: string, opcode: string, sizes: string];

function forPairs(
  table: readonly Pair[],
  make: (name: string, u: string, opcode: string, letters: string) => Encoding[],
): Encoding[] {
  return table.flatMap(([zero, one, opcode, letters]) => [
    ...(zero === '' ? [] : make(zero, '0', opcode, letters)),
    ...(one === '' ? [] : make(one, '1', opcode, letters)),
  ]);
}

const THREE_SAME: readonly Pair[] = [
  ['shadd', 'uhadd', '00000', 'bhs'],
  ['sqadd', 'uqadd', '00001', 'bhsd'],
  ['srhadd', 'urhadd', '00010', 'bhs'],
  ['shsub', 'uhsub', '00100', 'bhs'],
  ['sqsub', 'uqsub', '00101', 'bhsd'],
  ['cmgt', 'cmhi', '00110', 'bhsd'],
  ['cmge', 'cmhs', '00111', 'bhsd'],
  ['sshl', 'ushl', '01000', 'bhsd'],
  ['sqshl', 'uqshl', '01001', 'bhsd'],
  ['srshl', 'urshl', '01010', 'bhsd'],
  ['sqrshl', 'uqrshl', '01011', 'bhsd'],
  ['smax', 'umax', '01100', 'bhs'],
  ['smin', 'umin', '01101', 'bhs'],
  ['sabd', 'uabd', '01110', 'bhs'],
  ['saba', 'uaba', '01111', 'bhs'],
  ['add', 'sub', '10000', 'bhsd'],
  ['cmtst', 'cmeq', '10001', 'bhsd'],
  ['mla', 'mls', '10010', 'bhs'],
  ['mul', '', '10011', 'bhs'],
  ['', 'pmul', '10011', 'b'],
  ['smaxp', 'umaxp', '10100', 'bhs'],
  ['sminp', 'uminp', '10101', 'bhs'],
  ['sqdmulh', 'sqrdmulh', '10110', 'hs'],
  ['addp', '', '10111', 'bhsd'],
];

const THREE_SAME_SCALAR: readonly Pair[] = [
  ['sqadd', 'uqadd', '00001', 'bhsd'],
  ['sqsub', 'uqsub', '00101', 'bhsd'],
  ['cmgt', 'cmhi', '00110', 'd'],
  ['cmge', 'cmhs', '00111', 'd'],
  ['sshl', 'ushl', '01000', 'd'],
  ['sqshl', 'uqshl', '01001', 'bhsd'],
  ['srshl', 'urshl', '01010', 'd'],
  ['sqrshl', 'uqrshl', '01011', 'bhsd'],
  ['add', 'sub', '10000', 'd'],
  ['cmtst', 'cmeq', '10001', 'd'],
  ['sqdmulh', 'sqrdmulh', '10110', 'hs'],
];

/** Floating point: the high bit of size belongs to the opcode, the low one says single or double. */
type FpPair = readonly [zero: string, one: string, high: string, opcode: string];

const THREE_SAME_FP: readonly FpPair[] = [
  ['fmaxnm', 'fmaxnmp', '0', '11000'],
  ['fminnm', 'fminnmp', '1', '11000'],
  ['fmla', '', '0', '11001'],
  ['fmls', '', '1', '11001'],
  ['fadd', 'faddp', '0', '11010'],
  ['fsub', 'fabd', '1', '11010'],
  ['fmulx', 'fmul', '0', '11011'],
  ['fcmeq', 'fcmge', '0', '11100'],
  ['', 'fcmgt', '1', '11100'],
  ['', 'facge', '0', '11101'],
  ['', 'facgt', '1', '11101'],
  ['fmax', 'fmaxp', '0', '11110'],
  ['fmin', 'fminp', '1', '11110'],
  ['frecps', 'fdiv', '0', '11111'],
  ['frsqrts', '', '1', '11111'],
];

const SCALAR_FP = new Set([
  'fmulx',
  'fcmeq',
  'fcmge',
  'fcmgt',
  'facge',
  'facgt',
  'frecps',
  'frsqrts',
  'fabd',
]);

function forFp(
  table: readonly FpPair[],
  make: (name: string, u: string, high: string, opcode: string) => Encoding[],
): Encoding[] {
  return table.flatMap(([zero, one, high, opcode]) => [
    ...(zero === '' ? [] : make(zero, '0', high, opcode)),
    ...(one === '' ? [] : make(one, '1', high, opcode)),
  ]);
}

const threeSame: Encoding[] = [
  ...forPairs(THREE_SAME, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (vector)`, name, `0 Q ${u} 01110 size:2 1 Vm ${opcode} 1 Vn Vd`, {
      allowed: (f) => sizes(letters)(f) && notOneD(f),
    }),
  ]),
  ...forPairs(THREE_SAME_SCALAR, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (scalar)`, name, `01 ${u} 11110 size:2 1 Vm ${opcode} 1 Vn Vd`, {
      allowed: sizes(letters),
    }),
  ]),
  ...(
    [
      ['and', '0', '00'],
      ['bic', '0', '01'],
      ['orr mov', '0', '10'],
      ['orn', '0', '11'],
      ['eor', '1', '00'],
      ['bsl', '1', '01'],
      ['bit', '1', '10'],
      ['bif', '1', '11'],
    ] as const
  ).map(([names, u, size]) =>
    row(`${names.slice(0, 3).toUpperCase()} (vector)`, names, `0 Q ${u} 01110 ${size} 1 Vm 00011 1 Vn Vd`),
  ),
  ...forFp(THREE_SAME_FP, (name, u, high, opcode) => [
    row(`${name.toUpperCase()} (vector)`, name, `0 Q ${u} 01110 ${high} sz 1 Vm ${opcode} 1 Vn Vd`, {
      allowed: fpLanes,
    }),
    ...(SCALAR_FP.has(name)
      ? [row(`${name.toUpperCase()} (scalar, SIMD)`, name, `01 ${u} 11110 ${high} sz 1 Vm ${opcode} 1 Vn Vd`)]
      : []),
  ]),
];

const THREE_DIFFERENT: readonly Pair[] = [
  ['saddl', 'uaddl', '0000', 'bhs'],
  ['saddw', 'uaddw', '0001', 'bhs'],
  ['ssubl', 'usubl', '0010', 'bhs'],
  ['ssubw', 'usubw', '0011', 'bhs'],
  ['addhn', 'raddhn', '0100', 'bhs'],
  ['sabal', 'uabal', '0101', 'bhs'],
  ['subhn', 'rsubhn', '0110', 'bhs'],
  ['sabdl', 'uabdl', '0111', 'bhs'],
  ['smlal', 'umlal', '1000', 'bhs'],
  ['sqdmlal', '', '1001', 'hs'],
  ['smlsl', 'umlsl', '1010', 'bhs'],
  ['sqdmlsl', '', '1011', 'hs'],
  ['smull', 'umull', '1100', 'bhs'],
  ['sqdmull', '', '1101', 'hs'],
  ['pmull', '', '1110', 'b'],
];

/** `saddl` has the second form `saddl2`, which Q selects. */
const two = (name: string): string => `${name} ${name}2`;

const threeDifferent: Encoding[] = [
  ...forPairs(THREE_DIFFERENT, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (different)`, two(name), `0 Q ${u} 01110 size:2 1 Vm ${opcode} 00 Vn Vd`, {
      allowed: sizes(letters),
    }),
    ...(name.startsWith('sqdm')
      ? [
          row(`${name.toUpperCase()} (scalar)`, name, `01 ${u} 11110 size:2 1 Vm ${opcode} 00 Vn Vd`, {
            allowed: sizes(letters),
          }),
        ]
      : []),
  ]),
];

const TWO_MISC: readonly Pair[] = [
  ['rev64', '', '00000', 'bhs'],
  ['', 'rev32', '00000', 'bh'],
  ['rev16', '', '00001', 'b'],
  ['saddlp', 'uaddlp', '00010', 'bhs'],
  ['suqadd', 'usqadd', '00011', 'bhsd'],
  ['cls', 'clz', '00100', 'bhs'],
  ['cnt', 'not mvn', '00101', 'b'],
  ['', 'rbit', '00101', 'h'],
  ['sadalp', 'uadalp', '00110', 'bhs'],
  ['sqabs', 'sqneg', '00111', 'bhsd'],
  ['cmgt', 'cmge', '01000', 'bhsd'],
  ['cmeq', 'cmle', '01001', 'bhsd'],
  ['cmlt', '', '01010', 'bhsd'],
  ['abs', 'neg', '01011', 'bhsd'],
];

const TWO_MISC_NARROW: readonly Pair[] = [
  ['xtn', 'sqxtun', '10010', 'bhs'],
  ['', 'shll', '10011', 'bhs'],
  ['sqxtn', 'uqxtn', '10100', 'bhs'],
];

const TWO_MISC_SCALAR: readonly Pair[] = [
  ['suqadd', 'usqadd', '00011', 'bhsd'],
  ['sqabs', 'sqneg', '00111', 'bhsd'],
  ['cmgt', 'cmge', '01000', 'd'],
  ['cmeq', 'cmle', '01001', 'd'],
  ['cmlt', '', '01010', 'd'],
  ['abs', 'neg', '01011', 'd'],
  ['', 'sqxtun', '10010', 'bhs'],
  ['sqxtn', 'uqxtn', '10100', 'bhs'],
];

const TWO_MISC_FP: readonly FpPair[] = [
  ['frintn', 'frinta', '0', '11000'],
  ['frintm', 'frintx', '0', '11001'],
  ['fcvtns', 'fcvtnu', '0', '11010'],
  ['fcvtms', 'fcvtmu', '0', '11011'],
  ['fcvtas', 'fcvtau', '0', '11100'],
  ['scvtf', 'ucvtf', '0', '11101'],
  ['frintp', '', '1', '11000'],
  ['frintz', 'frinti', '1', '11001'],
  ['fcvtps', 'fcvtpu', '1', '11010'],
  ['fcvtzs', 'fcvtzu', '1', '11011'],
  ['frecpe', 'frsqrte', '1', '11101'],
  ['fcmgt', 'fcmge', '1', '01100'],
  ['fcmeq', 'fcmle', '1', '01101'],
  ['fcmlt', '', '1', '01110'],
  ['fabs', 'fneg', '1', '01111'],
  ['', 'fsqrt', '1', '11111'],
];

const NOT_SCALAR = /^(frint.|fabs|fneg|fsqrt)$/;

const twoMisc: Encoding[] = [
  ...forPairs(TWO_MISC, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (vector, misc)`, name, `0 Q ${u} 01110 size:2 10000 ${opcode} 10 Vn Vd`, {
      allowed: (f) => sizes(letters)(f) && notOneD(f),
    }),
  ]),
  ...forPairs(TWO_MISC_NARROW, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (vector)`, two(name), `0 Q ${u} 01110 size:2 10000 ${opcode} 10 Vn Vd`, {
      allowed: sizes(letters),
    }),
  ]),
  ...forPairs(TWO_MISC_SCALAR, (name, u, opcode, letters) => [
    row(`${name.toUpperCase()} (scalar, misc)`, name, `01 ${u} 11110 size:2 10000 ${opcode} 10 Vn Vd`, {
      allowed: sizes(letters),
    }),
  ]),
  ...forFp(TWO_MISC_FP, (name, u, high, opcode) => [
    row(`${name.toUpperCase()} (vector, misc)`, name, `0 Q ${u} 01110 ${high} sz 10000 ${opcode} 10 Vn Vd`, {
      allowed: fpLanes,
    }),
    ...(NOT_SCALAR.test(name)
      ? []
      : [
          row(
            `${name.toUpperCase()} (scalar, misc)`,
            name,
            `01 ${u} 11110 ${high} sz 10000 ${opcode} 10 Vn Vd`,
          ),
        ]),
  ]),
  row('FCVTN', two('fcvtn'), '0 Q 0 01110 0 sz 10000 10110 10 Vn Vd'),
  row('FCVTL', two('fcvtl'), '0 Q 0 01110 0 sz 10000 10111 10 Vn Vd'),
  row('FCVTXN (vector)', two('fcvtxn'), '0 Q 1 01110 01 10000 10110 10 Vn Vd'),
  row('FCVTXN (scalar)', 'fcvtxn', '01 1 11110 01 10000 10110 10 Vn Vd'),
  row('URECPE', 'urecpe', '0 Q 0 01110 10 10000 11100 10 Vn Vd'),
  row('URSQRTE', 'ursqrte', '0 Q 1 01110 10 10000 11100 10 Vn Vd'),
  row('FRECPX', 'frecpx', '01 0 11110 1 sz 10000 11111 10 Vn Vd'),
];

const ACROSS: readonly Pair[] = [
  ['saddlv', 'uaddlv', '00011', 'bhs'],
  ['smaxv', 'umaxv', '01010', 'bhs'],
  ['sminv', 'uminv', '11010', 'bhs'],
  ['addv', '', '11011', 'bhs'],
];

const FP_REDUCE: readonly FpPair[] = [
  ['', 'fmaxnm', '0', '01100'],
  ['', 'fminnm', '1', '01100'],
  ['', 'fmax', '0', '01111'],
  ['', 'fmin', '1', '01111'],
];

const reductions: Encoding[] = [
  ...forPairs(ACROSS, (name, u, opcode, letters) => [
    row(name.toUpperCase(), name, `0 Q ${u} 01110 size:2 11000 ${opcode} 10 Vn Vd`, {
      allowed: (f) => sizes(letters)(f) && (f['size'] !== 2 || f['Q'] === 1),
    }),
  ]),
  ...forFp(FP_REDUCE, (name, u, high, opcode) => [
    row(`${name.toUpperCase()}V`, `${name}v`, `0 1 ${u} 01110 ${high} 0 11000 ${opcode} 10 Vn Vd`),
    row(`${name.toUpperCase()}P (scalar)`, `${name}p`, `01 ${u} 11110 ${high} sz 11000 ${opcode} 10 Vn Vd`),
  ]),
  row('FADDP (scalar)', 'faddp', '01 1 11110 0 sz 11000 01101 10 Vn Vd'),
  row('ADDP (scalar)', 'addp', '01 0 11110 11 11000 11011 10 Vn Vd'),
];

/** imm5 holds the element size in its lowest set bit and the index above it. */
const imm5Size = (f: Fields): number => Math.log2(f['imm5']! & -f['imm5']!);
const imm5Up = (largest: number) => (f: Fields) => f['imm5'] !== 0 && imm5Size(f) <= largest;

const copies: Encoding[] = [
  row('DUP (element)', 'dup', '0 Q 0 01110000 imm5:5 0 0000 1 Vn Vd', {
    allowed: (f) => imm5Up(3)(f) && (imm5Size(f) !== 3 || f['Q'] === 1),
  }),
  row('DUP (general)', 'dup', '0 Q 0 01110000 imm5:5 0 0001 1 Rn Vd', {
    allowed: (f) => imm5Up(3)(f) && (imm5Size(f) !== 3 || f['Q'] === 1),
  }),
  row('DUP (scalar)', 'dup mov', '01 0 11110000 imm5:5 0 0000 1 Vn Vd', { allowed: imm5Up(3) }),
  row('SMOV', 'smov', '0 Q 0 01110000 imm5:5 0 0101 1 Vn Rd', {
    allowed: (f) => imm5Up(f['Q'] === 1 ? 2 : 1)(f),
  }),
  row('UMOV', 'umov mov', '0 Q 0 01110000 imm5:5 0 0111 1 Vn Rd', {
    allowed: (f) => imm5Up(3)(f) && (imm5Size(f) === 3) === (f['Q'] === 1),
  }),
  row('INS (general)', 'ins mov', '0 1 0 01110000 imm5:5 0 0011 1 Rn Vd', { allowed: imm5Up(3) }),
  row('INS (element)', 'ins mov', '0 1 1 01110000 imm5:5 0 imm4:4 1 Vn Vd', { allowed: imm5Up(3) }),
];

const permutes: Encoding[] = [
  ...(
    [
      ['uzp1', '001'],
      ['trn1', '010'],
      ['zip1', '011'],
      ['uzp2', '101'],
      ['trn2', '110'],
      ['zip2', '111'],
    ] as const
  ).map(([name, opcode]) =>
    row(name.toUpperCase(), name, `0 Q 001110 size:2 0 Vm 0 ${opcode} 10 Vn Vd`, { allowed: notOneD }),
  ),
  row('TBL', 'tbl', '0 Q 001110 00 0 Vm 0 len:2 0 00 Vn Vd'),
  row('TBX', 'tbx', '0 Q 001110 00 0 Vm 0 len:2 1 00 Vn Vd'),
  row('EXT', 'ext', '0 Q 101110 00 0 Vm 0 imm4:4 0 Vn Vd', {
    allowed: (f) => f['Q'] === 1 || f['imm4']! < 8,
  }),
];

const modifiedImmediates: Encoding[] = (
  [
    ['MOVI (32-bit)', 'movi', 'Q', '0', '0 shift:2 0'],
    ['MVNI (32-bit)', 'mvni', 'Q', '1', '0 shift:2 0'],
    ['ORR (immediate, 32-bit)', 'orr', 'Q', '0', '0 shift:2 1'],
    ['BIC (immediate, 32-bit)', 'bic', 'Q', '1', '0 shift:2 1'],
    ['MOVI (16-bit)', 'movi', 'Q', '0', '10 shift 0'],
    ['MVNI (16-bit)', 'mvni', 'Q', '1', '10 shift 0'],
    ['ORR (immediate, 16-bit)', 'orr', 'Q', '0', '10 shift 1'],
    ['BIC (immediate, 16-bit)', 'bic', 'Q', '1', '10 shift 1'],
    ['MOVI (32-bit, ones)', 'movi', 'Q', '0', '110 shift'],
    ['MVNI (32-bit, ones)', 'mvni', 'Q', '1', '110 shift'],
    ['MOVI (8-bit)', 'movi', 'Q', '0', '1110'],
    ['MOVI (64-bit)', 'movi', 'Q', '1', '1110'],
    ['FMOV (vector, immediate, single)', 'fmov', 'Q', '0', '1111'],
    ['FMOV (vector, immediate, double)', 'fmov', '1', '1', '1111'],
  ] as const
).map(([name, mnemonic, q, op, cmode]) =>
  row(name, mnemonic, `0 ${q} ${op} 0111100000 abc:3 ${cmode} 0 1 defgh:5 Vd`),
);

/** [U = 0, U = 1, opcode]; vector and scalar forms of the shifts that keep the element size. */
const SHIFTS: readonly (readonly [string, string, string])[] = [
  ['sshr', 'ushr', '00000'],
  ['ssra', 'usra', '00010'],
  ['srshr', 'urshr', '00100'],
  ['srsra', 'ursra', '00110'],
  ['', 'sri', '01000'],
  ['shl', 'sli', '01010'],
  ['', 'sqshlu', '01100'],
  ['sqshl', 'uqshl', '01110'],
];
const SHIFTS_NARROW: readonly (readonly [string, string, string])[] = [
  ['shrn', 'sqshrun', '10000'],
  ['rshrn', 'sqrshrun', '10001'],
  ['sqshrn', 'uqshrn', '10010'],
  ['sqrshrn', 'uqrshrn', '10011'],
];
const FIXED_POINT: readonly (readonly [string, string, string])[] = [
  ['scvtf', 'ucvtf', '11100'],
  ['fcvtzs', 'fcvtzu', '11111'],
];

function shifts(
  table: readonly (readonly [string, string, string])[],
  make: (name: string, u: string, opcode: string) => Encoding[],
): Encoding[] {
  return forPairs(
    table.map(([zero, one, opcode]) => [zero, one, opcode, '']),
    make,
  );
}

const immh = (f: Fields): number => f['immh']!;
const d = (f: Fields): boolean => immh(f) >= 8;
const narrow = (f: Fields): boolean => immh(f) !== 0 && immh(f) < 8;

const shiftImmediates: Encoding[] = [
  ...shifts(SHIFTS, (name, u, opcode) => [
    row(
      `${name.toUpperCase()} (vector, immediate)`,
      name,
      `0 Q ${u} 011110 immh:4 immb:3 ${opcode} 1 Vn Vd`,
      {
        allowed: (f) => immh(f) !== 0 && (!d(f) || f['Q'] === 1),
      },
    ),
    row(`${name.toUpperCase()} (scalar, immediate)`, name, `01 ${u} 111110 immh:4 immb:3 ${opcode} 1 Vn Vd`, {
      allowed: /^.*qshl/.test(name) ? (f) => immh(f) !== 0 : d,
    }),
  ]),
  ...shifts(SHIFTS_NARROW, (name, u, opcode) => [
    row(`${name.toUpperCase()} (vector)`, two(name), `0 Q ${u} 011110 immh:4 immb:3 ${opcode} 1 Vn Vd`, {
      allowed: narrow,
    }),
    ...(name.includes('q')
      ? [
          row(`${name.toUpperCase()} (scalar)`, name, `01 ${u} 111110 immh:4 immb:3 ${opcode} 1 Vn Vd`, {
            allowed: narrow,
          }),
        ]
      : []),
  ]),
  ...shifts(FIXED_POINT, (name, u, opcode) => [
    row(
      `${name.toUpperCase()} (vector, fixed-point)`,
      name,
      `0 Q ${u} 011110 immh:4 immb:3 ${opcode} 1 Vn Vd`,
      {
        allowed: (f) => immh(f) >= 4 && (!d(f) || f['Q'] === 1),
      },
    ),
    row(
      `${name.toUpperCase()} (SIMD scalar, fixed-point)`,
      name,
      `01 ${u} 111110 immh:4 immb:3 ${opcode} 1 Vn Vd`,
      {
        allowed: (f) => immh(f) >= 4,
      },
    ),
  ]),
  row('SSHLL', 'sshll sshll2 sxtl sxtl2', '0 Q 0 011110 immh:4 immb:3 10100 1 Vn Vd', { allowed: narrow }),
  row('USHLL', 'ushll ushll2 uxtl uxtl2', '0 Q 1 011110 immh:4 immb:3 10100 1 Vn Vd', { allowed: narrow }),
];

/** [U = 0, U = 1, opcode, long form?, scalar form?] by element of 16 or 32 bits. */
const BY_ELEMENT: readonly (readonly [string, string, string, boolean, boolean])[] = [
  ['smlal', 'umlal', '0010', true, false],
  ['sqdmlal', '', '0011', true, true],
  ['smlsl', 'umlsl', '0110', true, false],
  ['sqdmlsl', '', '0111', true, true],
  ['mul', '', '1000', false, false],
  ['smull', 'umull', '1010', true, false],
  ['sqdmull', '', '1011', true, true],
  ['sqdmulh', '', '1100', false, true],
  ['sqrdmulh', '', '1101', false, true],
  ['', 'mla', '0000', false, false],
  ['', 'mls', '0100', false, false],
];
const BY_ELEMENT_FP: readonly (readonly [string, string, string])[] = [
  ['fmla', '', '0001'],
  ['fmls', '', '0101'],
  ['fmul', 'fmulx', '1001'],
];

const byElement: Encoding[] = [
  ...BY_ELEMENT.flatMap(([zero, one, opcode, long, scalar]) =>
    forPairs([[zero, one, opcode, 'hs']], (name, u) => [
      row(
        `${name.toUpperCase()} (by element)`,
        long ? two(name) : name,
        `0 Q ${u} 01111 size:2 L M Rmx:4 ${opcode} H 0 Vn Vd`,
        { allowed: sizes('hs') },
      ),
      ...(scalar
        ? [
            row(
              `${name.toUpperCase()} (scalar, by element)`,
              name,
              `01 ${u} 11111 size:2 L M Rmx:4 ${opcode} H 0 Vn Vd`,
              { allowed: sizes('hs') },
            ),
          ]
        : []),
    ]),
  ),
  ...BY_ELEMENT_FP.flatMap(([zero, one, opcode]) =>
    forPairs([[zero, one, opcode, '']], (name, u) => [
      row(`${name.toUpperCase()} (by element)`, name, `0 Q ${u} 01111 1 sz L M Rmx:4 ${opcode} H 0 Vn Vd`, {
        allowed: (f) => f['sz'] === 0 || (f['L'] === 0 && f['Q'] === 1),
      }),
      row(
        `${name.toUpperCase()} (scalar, by element)`,
        name,
        `01 ${u} 11111 1 sz L M Rmx:4 ${opcode} H 0 Vn Vd`,
        { allowed: (f) => f['sz'] === 0 || f['L'] === 0 },
      ),
    ]),
  ),
];

function crypto(name: string, mnemonics: string, pattern: string): Encoding {
  return define('crypto', name, mnemonics, pattern);
}

const cryptography: Encoding[] = [
  crypto('AESE', 'aese', '01001110 00 10100 00100 10 Vn Vd'),
  crypto('AESD', 'aesd', '01001110 00 10100 00101 10 Vn Vd'),
  crypto('AESMC', 'aesmc', '01001110 00 10100 00110 10 Vn Vd'),
  crypto('AESIMC', 'aesimc', '01001110 00 10100 00111 10 Vn Vd'),
  ...['sha1c', 'sha1p', 'sha1m', 'sha1su0', 'sha256h', 'sha256h2', 'sha256su1'].map((name, i) =>
    crypto(name.toUpperCase(), name, `01011110 00 0 Vm 0 ${i.toString(2).padStart(3, '0')} 00 Vn Vd`),
  ),
  ...['sha1h', 'sha1su1', 'sha256su0'].map((name, i) =>
    crypto(name.toUpperCase(), name, `01011110 00 10100 ${i.toString(2).padStart(5, '0')} 10 Vn Vd`),
  ),
  crypto('PMULL (64-bit)', two('pmull'), '0 Q 0 01110 11 1 Vm 1110 00 Vn Vd'),
];

export const SIMD: readonly Encoding[] = [
  ...threeSame,
  ...threeDifferent,
  ...twoMisc,
  ...reductions,
  ...copies,
  ...permutes,
  ...modifiedImmediates,
  ...shiftImmediates,
  ...byElement,
  ...cryptography,
];
