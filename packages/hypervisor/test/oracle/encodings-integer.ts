import { define, type Encoding, type Fields, type Options } from './encoding.ts';

/** DecodeBitMasks of the Arm ARM: is (N, immr, imms) a bitmask immediate for this register size? */
function isBitmask(f: Fields): boolean {
  const n = f['N'] ?? 0;
  const imms = f['imms'] ?? 0;
  if (f['sf'] === 0 && n === 1) return false;
  const length = 31 - Math.clz32((n << 6) | (~imms & 0x3f));
  if (length < 1) return false;
  const levels = 2 ** length - 1;
  return (imms & levels) !== levels;
}

const low5 = (name: string) => (f: Fields) => f['sf'] === 1 || (f[name] ?? 0) < 32;

function row(name: string, mnemonics: string, pattern: string, options: Options = {}): Encoding {
  return define('integer', name, mnemonics, pattern, options);
}

const immediate: Encoding[] = [
  row('ADR', 'adr', '0 immlo:2 10000 immhi:19 Rd'),
  row('ADRP', 'adrp', '1 immlo:2 10000 immhi:19 Rd'),
  row('ADD (immediate)', 'add mov', 'sf 00 100010 sh imm12:12 SPn SPd'),
  row('ADDS (immediate)', 'adds cmn', 'sf 01 100010 sh imm12:12 SPn Rd'),
  row('SUB (immediate)', 'sub', 'sf 10 100010 sh imm12:12 SPn SPd'),
  row('SUBS (immediate)', 'subs cmp', 'sf 11 100010 sh imm12:12 SPn Rd'),
  row('AND (immediate)', 'and', 'sf 00 100100 N immr:6 imms:6 Rn SPd', { allowed: isBitmask }),
  row('ORR (immediate)', 'orr mov', 'sf 01 100100 N immr:6 imms:6 Rn SPd', { allowed: isBitmask }),
  row('EOR (immediate)', 'eor', 'sf 10 100100 N immr:6 imms:6 Rn SPd', { allowed: isBitmask }),
  row('ANDS (immediate)', 'ands tst', 'sf 11 100100 N immr:6 imms:6 Rn Rd', { allowed: isBitmask }),
  ...(
    [
      ['MOVN', 'movn mov', '00'],
      ['MOVZ', 'movz mov', '10'],
      ['MOVK', 'movk', '11'],
    ] as const
  ).map(([name, mnemonics, opc]) =>
    row(name, mnemonics, `sf ${opc} 100101 hw:2 imm16:16 Rd`, {
      allowed: (f) => f['sf'] === 1 || f['hw']! < 2,
    }),
  ),
  ...(
    [
      ['SBFM', 'sbfm asr sbfiz sbfx sxtb sxth sxtw', '00'],
      ['BFM', 'bfm bfi bfxil bfc', '01'],
      ['UBFM', 'ubfm lsl lsr ubfiz ubfx uxtb uxth', '10'],
    ] as const
  ).map(([name, mnemonics, opc]) =>
    row(name, mnemonics, `sf ${opc} 100110 N immr:6 imms:6 Rn Rd`, {
      allowed: (f) => f['N'] === f['sf'] && low5('immr')(f) && low5('imms')(f),
    }),
  ),
  row('EXTR', 'extr ror', 'sf 00 100111 N 0 Rm imms:6 Rn Rd', {
    allowed: (f) => f['N'] === f['sf'] && low5('imms')(f),
  }),
];

const register: Encoding[] = [
  ...(
    [
      ['AND', 'and', '00', '0'],
      ['BIC', 'bic', '00', '1'],
      ['ORR', 'orr mov', '01', '0'],
      ['ORN', 'orn mvn', '01', '1'],
      ['EOR', 'eor', '10', '0'],
      ['EON', 'eon', '10', '1'],
      ['ANDS', 'ands tst', '11', '0'],
      ['BICS', 'bics', '11', '1'],
    ] as const
  ).map(([name, mnemonics, opc, n]) =>
    row(`${name} (shifted register)`, mnemonics, `sf ${opc} 01010 shift:2 ${n} Rm imm6:6 Rn Rd`, {
      allowed: low5('imm6'),
    }),
  ),
  ...(
    [
      ['ADD', 'add', '00', 'SPd'],
      ['ADDS', 'adds cmn', '01', 'Rd'],
      ['SUB', 'sub neg', '10', 'SPd'],
      ['SUBS', 'subs cmp negs', '11', 'Rd'],
    ] as const
  ).flatMap(([name, mnemonics, op, rd]) => [
    row(`${name} (shifted register)`, mnemonics, `sf ${op} 01011 shift:2 0 Rm imm6:6 Rn Rd`, {
      allowed: (f) => f['shift'] !== 3 && low5('imm6')(f),
    }),
    row(`${name} (extended register)`, mnemonics, `sf ${op} 01011 00 1 Rm option:3 imm3:3 SPn ${rd}`, {
      allowed: (f) => f['imm3']! <= 4,
    }),
  ]),
  row('ADC', 'adc', 'sf 00 11010000 Rm 000000 Rn Rd'),
  row('ADCS', 'adcs', 'sf 01 11010000 Rm 000000 Rn Rd'),
  row('SBC', 'sbc ngc', 'sf 10 11010000 Rm 000000 Rn Rd'),
  row('SBCS', 'sbcs ngcs', 'sf 11 11010000 Rm 000000 Rn Rd'),
  row('CCMN (register)', 'ccmn', 'sf 01 11010010 Rm cond:4 00 Rn 0 nzcv:4'),
  row('CCMP (register)', 'ccmp', 'sf 11 11010010 Rm cond:4 00 Rn 0 nzcv:4'),
  row('CCMN (immediate)', 'ccmn', 'sf 01 11010010 imm5:5 cond:4 10 Rn 0 nzcv:4'),
  row('CCMP (immediate)', 'ccmp', 'sf 11 11010010 imm5:5 cond:4 10 Rn 0 nzcv:4'),
  row('CSEL', 'csel', 'sf 00 11010100 Rm cond:4 00 Rn Rd'),
  row('CSINC', 'csinc cset cinc', 'sf 00 11010100 Rm cond:4 01 Rn Rd'),
  row('CSINV', 'csinv csetm cinv', 'sf 10 11010100 Rm cond:4 00 Rn Rd'),
  row('CSNEG', 'csneg cneg', 'sf 10 11010100 Rm cond:4 01 Rn Rd'),
  row('RBIT', 'rbit', 'sf 10 11010110 00000 000000 Rn Rd'),
  row('REV16', 'rev16', 'sf 10 11010110 00000 000001 Rn Rd'),
  row('REV (32-bit)', 'rev', '0 10 11010110 00000 000010 Rn Rd'),
  row('REV32', 'rev32', '1 10 11010110 00000 000010 Rn Rd'),
  row('REV (64-bit)', 'rev rev64', '1 10 11010110 00000 000011 Rn Rd'),
  row('CLZ', 'clz', 'sf 10 11010110 00000 000100 Rn Rd'),
  row('CLS', 'cls', 'sf 10 11010110 00000 000101 Rn Rd'),
  row('UDIV', 'udiv', 'sf 00 11010110 Rm 000010 Rn Rd'),
  row('SDIV', 'sdiv', 'sf 00 11010110 Rm 000011 Rn Rd'),
  row('LSLV', 'lsl', 'sf 00 11010110 Rm 001000 Rn Rd'),
  row('LSRV', 'lsr', 'sf 00 11010110 Rm 001001 Rn Rd'),
  row('ASRV', 'asr', 'sf 00 11010110 Rm 001010 Rn Rd'),
  row('RORV', 'ror', 'sf 00 11010110 Rm 001011 Rn Rd'),
  ...['b', 'h', 'w', 'x'].flatMap((size, i) => {
    const sf = size === 'x' ? '1' : '0';
    const sz = i.toString(2).padStart(2, '0');
    return [
      row(`CRC32${size.toUpperCase()}`, `crc32${size}`, `${sf} 00 11010110 Rm 0100${sz} Rn Rd`),
      row(`CRC32C${size.toUpperCase()}`, `crc32c${size}`, `${sf} 00 11010110 Rm 0101${sz} Rn Rd`),
    ];
  }),
  row('MADD', 'madd mul', 'sf 00 11011 000 Rm 0 Ra Rn Rd'),
  row('MSUB', 'msub mneg', 'sf 00 11011 000 Rm 1 Ra Rn Rd'),
  row('SMADDL', 'smaddl smull', '1 00 11011 001 Rm 0 Ra Rn Rd'),
  row('SMSUBL', 'smsubl smnegl', '1 00 11011 001 Rm 1 Ra Rn Rd'),
  row('SMULH', 'smulh', '1 00 11011 010 Rm 0 11111 Rn Rd'),
  row('UMADDL', 'umaddl umull', '1 00 11011 101 Rm 0 Ra Rn Rd'),
  row('UMSUBL', 'umsubl umnegl', '1 00 11011 101 Rm 1 Ra Rn Rd'),
  row('UMULH', 'umulh', '1 00 11011 110 Rm 0 11111 Rn Rd'),
];

/** Branches: the generator fills the displacement so that they go forward inside the sequence. */
const branches: Encoding[] = [
  ['B', 'b', '0 00101 imm26:26'],
  ['BL', 'bl', '1 00101 imm26:26'],
  [
    'B.cond',
    'b.eq b.ne b.cs b.cc b.mi b.pl b.vs b.vc b.hi b.ls b.ge b.lt b.gt b.le b.al b.nv',
    '01010100 imm19:19 0 cond:4',
  ],
  ['CBZ', 'cbz', 'sf 011010 0 imm19:19 Rt'],
  ['CBNZ', 'cbnz', 'sf 011010 1 imm19:19 Rt'],
  ['TBZ', 'tbz', 'b5 011011 0 b40:5 imm14:14 Rt'],
  ['TBNZ', 'tbnz', 'b5 011011 1 b40:5 imm14:14 Rt'],
  ['BR', 'br', '1101011 0000 11111 000000 Rn 00000'],
  ['BLR', 'blr', '1101011 0001 11111 000000 Rn 00000'],
  ['RET', 'ret', '1101011 0010 11111 000000 Rn 00000'],
].map(([name = '', mnemonics = '', pattern = '']) => define('branch', name, mnemonics, pattern));

/** Hints that touch nothing. WFE and WFI are left out: they wait. */
const HINTS: readonly (readonly [string, string])[] = [
  ['nop', '0000000'],
  ['yield', '0000001'],
  ['sev', '0000100'],
  ['sevl', '0000101'],
  ['xpaclri', '0000111'],
  ['pacia1716', '0001000'],
  ['autia1716', '0001100'],
  ['paciaz', '0011000'],
  ['paciasp', '0011001'],
  ['autiaz', '0011100'],
  ['autiasp', '0011101'],
  ['csdb', '0010100'],
  ['bti', '0100000'],
  ['hint', '1010101'],
];

function system(name: string, mnemonics: string, pattern: string, options: Options = {}): Encoding {
  return define('system', name, mnemonics, pattern, options);
}

const systemRows: Encoding[] = [
  ...HINTS.map(([name, imm]) => system(name.toUpperCase(), name, `11010101000000110010 ${imm} 11111`)),
  system('CLREX', 'clrex', '11010101000000110011 CRm:4 010 11111'),
  // A zero or four in CRm of DSB is SSBB or PSSBB.
  system('DSB', 'dsb ssbb pssbb', '11010101000000110011 CRm:4 100 11111'),
  system('DMB', 'dmb', '11010101000000110011 CRm:4 101 11111'),
  system('ISB', 'isb', '11010101000000110011 1111 110 11111'),
  system('MSR NZCV', 'msr', '1101010100011011 0100 0010 000 Rn'),
  system('MRS NZCV', 'mrs', '1101010100111011 0100 0010 000 Rd'),
  system('MSR FPCR', 'msr', '1101010100011011 0100 0100 000 11010'),
  system('MRS FPCR', 'mrs', '1101010100111011 0100 0100 000 Rd'),
  system('MSR FPSR', 'msr', '1101010100011011 0100 0100 001 11011'),
  system('MRS FPSR', 'mrs', '1101010100111011 0100 0100 001 Rd'),
  system('MSR TPIDR_EL0', 'msr', '1101010100011011 1101 0000 010 Rn'),
  system('MRS TPIDR_EL0', 'mrs', '1101010100111011 1101 0000 010 Rd'),
  system('MRS TPIDRRO_EL0', 'mrs', '1101010100111011 1101 0000 011 Rd'),
  system('MRS DCZID_EL0', 'mrs', '1101010100111011 0000 0000 111 Rd'),
];

/** Cache maintenance by address: DC ZVA writes the 64-byte block that holds the address. */
const cache: Encoding[] = (
  [
    ['DC ZVA', 'dc', '0100', '001', 64],
    ['DC CVAC', 'dc', '1010', '001', 1],
    ['DC CVAU', 'dc', '1011', '001', 1],
    ['DC CIVAC', 'dc', '1110', '001', 1],
    ['IC IVAU', 'ic', '0101', '001', 1],
  ] as const
).map(([name, mnemonic, crm, op2, bytes]) =>
  define('memory', name, mnemonic, `1101010100001011 0111 ${crm} ${op2} SPn`, {
    // Register 31 is XZR here.
    allowed: (f) => f['SPn'] !== 31,
    access: (f) => ({ base: f['SPn']!, offset: 0, bytes, align: bytes, loads: [] }),
  }),
);

export const INTEGER: readonly Encoding[] = [...immediate, ...register, ...branches, ...systemRows, ...cache];
