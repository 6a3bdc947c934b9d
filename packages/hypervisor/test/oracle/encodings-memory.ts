import {
  define,
  signed,
  type Access,
  type Encoding,
  type Extend,
  type Fields,
  type Group,
} from './encoding.ts';

/** One kind of register transfer: size and opc as in the load/store encodings. */
interface Transfer {
  readonly stem: string;
  readonly size: string;
  readonly opc: string;
  readonly vector: boolean;
  readonly load: boolean;
  readonly bytes: number;
  readonly prefetch?: boolean;
}

const GENERAL: readonly Transfer[] = [
  { stem: 'str b', size: '00', opc: '00', vector: false, load: false, bytes: 1 },
  { stem: 'ldr b', size: '00', opc: '01', vector: false, load: true, bytes: 1 },
  { stem: 'ldrs b', size: '00', opc: '10', vector: false, load: true, bytes: 1 },
  { stem: 'ldrs b', size: '00', opc: '11', vector: false, load: true, bytes: 1 },
  { stem: 'str h', size: '01', opc: '00', vector: false, load: false, bytes: 2 },
  { stem: 'ldr h', size: '01', opc: '01', vector: false, load: true, bytes: 2 },
  { stem: 'ldrs h', size: '01', opc: '10', vector: false, load: true, bytes: 2 },
  { stem: 'ldrs h', size: '01', opc: '11', vector: false, load: true, bytes: 2 },
  { stem: 'str ', size: '10', opc: '00', vector: false, load: false, bytes: 4 },
  { stem: 'ldr ', size: '10', opc: '01', vector: false, load: true, bytes: 4 },
  { stem: 'ldrs w', size: '10', opc: '10', vector: false, load: true, bytes: 4 },
  { stem: 'str ', size: '11', opc: '00', vector: false, load: false, bytes: 8 },
  { stem: 'ldr ', size: '11', opc: '01', vector: false, load: true, bytes: 8 },
];

const PREFETCH: Transfer = {
  stem: 'prf m',
  size: '11',
  opc: '10',
  vector: false,
  load: false,
  bytes: 1,
  prefetch: true,
};

const VECTOR: readonly Transfer[] = [
  { stem: 'str ', size: '00', opc: '00', vector: true, load: false, bytes: 1 },
  { stem: 'ldr ', size: '00', opc: '01', vector: true, load: true, bytes: 1 },
  { stem: 'str ', size: '00', opc: '10', vector: true, load: false, bytes: 16 },
  { stem: 'ldr ', size: '00', opc: '11', vector: true, load: true, bytes: 16 },
  { stem: 'str ', size: '01', opc: '00', vector: true, load: false, bytes: 2 },
  { stem: 'ldr ', size: '01', opc: '01', vector: true, load: true, bytes: 2 },
  { stem: 'str ', size: '10', opc: '00', vector: true, load: false, bytes: 4 },
  { stem: 'ldr ', size: '10', opc: '01', vector: true, load: true, bytes: 4 },
  { stem: 'str ', size: '11', opc: '00', vector: true, load: false, bytes: 8 },
  { stem: 'ldr ', size: '11', opc: '01', vector: true, load: true, bytes: 8 },
];

/** `ldr b`, `ldur`: LDRB or LDURB by the letters put in between. */
function mnemonic(transfer: Transfer, kind: '' | 'u' | 't'): string {
  const [stem = '', letter = ''] = transfer.stem.split(' ');
  // LDR LDUR LDTR, LDRS LDURS LDTRS, PRFM PRFUM
  if (transfer.prefetch) return `prf${kind}m`;
  const base = stem.slice(0, 2);
  return `${base}${kind}${stem.slice(2)}${letter}`;
}

function group(transfer: Transfer): Group {
  return transfer.vector ? 'simd-memory' : 'memory';
}

function loads(transfer: Transfer, f: Fields): number[] {
  return transfer.load && !transfer.vector ? [f['Rt']!] : [];
}

function describe(transfer: Transfer): string {
  return `${transfer.vector ? 'V' : 'X'} size ${transfer.size} opc ${transfer.opc}`;
}

/** The transferred register; a prefetch has an operation there, which random bits are for. */
function target(transfer: Transfer): string {
  return transfer.prefetch ? 'prfop:5' : transfer.vector ? 'Vt' : 'Rt';
}

/** Write-back with the base among the loaded or stored registers is unpredictable (31 is ZR as one, SP as the other). */
function apart(f: Fields): boolean {
  return f['SPn'] === 31 || (f['SPn'] !== f['Rt'] && f['SPn'] !== f['Rt2']);
}

/** The status register of a store-exclusive must not be the base (31 is ZR as one, SP as the other). */
function statusApart(f: Fields): boolean {
  return f['SPn'] === 31 || f['Rs'] !== f['SPn'];
}

function single(transfer: Transfer): Encoding[] {
  const v = transfer.vector ? '1' : '0';
  const { size, opc, bytes } = transfer;
  const rt = target(transfer);
  const head = `${size} 111 ${v}`;
  const name = describe(transfer);
  const at = (offset: number, f: Fields, writeback = 0): Access => ({
    base: f['SPn']!,
    offset,
    bytes,
    align: 1,
    loads: loads(transfer, f),
    ...(writeback === 0 ? {} : { writeback: { by: writeback } }),
  });
  const imm9 = (f: Fields) => signed(f['imm9']!, 9);
  const rows = [
    define(
      group(transfer),
      `${name} (unsigned immediate)`,
      mnemonic(transfer, ''),
      `${head} 01 ${opc} imm12:12 SPn ${rt}`,
      { access: (f) => at(f['imm12']! * bytesOf(transfer), f) },
    ),
    define(
      group(transfer),
      `${name} (unscaled)`,
      mnemonic(transfer, 'u'),
      `${head} 00 ${opc} 0 imm9:9 00 SPn ${rt}`,
      { access: (f) => at(imm9(f), f) },
    ),
    define(
      group(transfer),
      `${name} (register)`,
      // objdump 2.40 knows the prefetch hints of RPRFM, which are in this space.
      mnemonic(transfer, '') + (transfer.prefetch ? ' rprfm' : ''),
      `${head} 00 ${opc} 1 Rm option:3 S 10 SPn ${rt}`,
      {
        allowed: (f) => (f['option']! & 2) !== 0,
        access: (f) => ({
          ...at(0, f),
          index: {
            register: f['Rm']!,
            extend: EXTENDS[f['option']!] ?? 'lsl',
            shift: f['S'] === 1 ? Math.log2(bytesOf(transfer)) : 0,
          },
        }),
      },
    ),
  ];
  if (transfer.prefetch) return rows;
  rows.push(
    define(
      group(transfer),
      `${name} (post-index)`,
      mnemonic(transfer, ''),
      `${head} 00 ${opc} 0 imm9:9 01 SPn ${rt}`,
      { allowed: apart, access: (f) => at(0, f, imm9(f)) },
    ),
    define(
      group(transfer),
      `${name} (pre-index)`,
      mnemonic(transfer, ''),
      `${head} 00 ${opc} 0 imm9:9 11 SPn ${rt}`,
      { allowed: apart, access: (f) => at(imm9(f), f, imm9(f)) },
    ),
  );
  if (!transfer.vector)
    rows.push(
      define(
        'memory',
        `${name} (unprivileged)`,
        mnemonic(transfer, 't'),
        `${head} 00 ${opc} 0 imm9:9 10 SPn ${rt}`,
        { access: (f) => at(imm9(f), f) },
      ),
    );
  return rows;
}

const EXTENDS: Readonly<Record<number, Extend>> = { 2: 'uxtw', 3: 'lsl', 6: 'sxtw', 7: 'sxtx' };

/** The scale of an offset: a prefetch counts in 8 bytes. */
function bytesOf(transfer: Transfer): number {
  return transfer.prefetch ? 8 : transfer.bytes;
}

/** LDP and STP in their four forms. */
function pairs(): Encoding[] {
  const kinds = [
    { opc: '00', v: '0', scale: 4, signed: false },
    { opc: '01', v: '0', scale: 4, signed: true },
    { opc: '10', v: '0', scale: 8, signed: false },
    { opc: '00', v: '1', scale: 4, signed: false },
    { opc: '01', v: '1', scale: 8, signed: false },
    { opc: '10', v: '1', scale: 16, signed: false },
  ] as const;
  const forms = [
    { bits: '000', name: 'non-temporal', writeback: false, before: true },
    { bits: '001', name: 'post-index', writeback: true, before: false },
    { bits: '010', name: 'offset', writeback: false, before: true },
    { bits: '011', name: 'pre-index', writeback: true, before: true },
  ] as const;
  return kinds.flatMap((kind) =>
    forms.flatMap((form) =>
      [false, true].flatMap((load) => {
        if (kind.signed && (!load || form.bits === '000')) return [];
        const vector = kind.v === '1';
        const offset = (f: Fields) => signed(f['imm7']!, 7) * kind.scale;
        const name = `${load ? 'load' : 'store'} pair ${vector ? 'V' : 'X'} opc ${kind.opc} (${form.name})`;
        const mnemonics = kind.signed ? 'ldpsw' : (load ? 'ld' : 'st') + (form.bits === '000' ? 'np' : 'p');
        return define(
          vector ? 'simd-memory' : 'memory',
          name,
          mnemonics,
          `${kind.opc} 101 ${kind.v} ${form.bits} ${load ? '1' : '0'} imm7:7 ${vector ? 'Vt2' : 'Rt2'} SPn ${vector ? 'Vt' : 'Rt'}`,
          {
            allowed: (f) =>
              (!load || (vector ? f['Vt'] !== f['Vt2'] : f['Rt'] !== f['Rt2'])) &&
              (!form.writeback || vector || apart(f)),
            access: (f) => ({
              base: f['SPn']!,
              offset: form.before ? offset(f) : 0,
              bytes: kind.scale * 2,
              align: 1,
              loads: load && !vector ? [f['Rt']!, f['Rt2']!] : [],
              ...(form.writeback && offset(f) !== 0 ? { writeback: { by: offset(f) } } : {}),
            }),
          },
        );
      }),
    ),
  );
}

const LITERALS: readonly Encoding[] = [
  ['LDR (literal, 32-bit)', 'ldr', '00', '0', 'Rt', 4],
  ['LDR (literal, 64-bit)', 'ldr', '01', '0', 'Rt', 8],
  ['LDRSW (literal)', 'ldrsw', '10', '0', 'Rt', 4],
  ['PRFM (literal)', 'prfm', '11', '0', 'prfop:5', 1],
  ['LDR (literal, S)', 'ldr', '00', '1', 'Vt', 4],
  ['LDR (literal, D)', 'ldr', '01', '1', 'Vt', 8],
  ['LDR (literal, Q)', 'ldr', '10', '1', 'Vt', 16],
].map(([name, mnemonics, opc, v, rt, bytes]) =>
  define(
    v === '1' ? 'simd-memory' : 'memory',
    String(name),
    String(mnemonics),
    `${String(opc)} 011 ${String(v)} 00 imm19:19 ${String(rt)}`,
    {
      access: (f) => ({
        base: 'pc',
        offset: signed(f['imm19']!, 19) * 4,
        bytes: Number(bytes),
        align: 1,
        loads: f['Rt'] === undefined ? [] : [f['Rt']],
      }),
    },
  ),
);

const SUFFIX = ['b', 'h', '', ''] as const;

/** Load-exclusive, store-exclusive, load-acquire, store-release. The generator joins exclusive pairs. */
function ordered(): Encoding[] {
  const rows: Encoding[] = [];
  for (let size = 0; size < 4; size++) {
    const bits = size.toString(2).padStart(2, '0');
    const bytes = 2 ** size;
    const suffix = SUFFIX[size] ?? '';
    const make = (kind: Group, name: string, o: string, l: string, rs: string, o0: string, load: boolean) =>
      define(
        kind,
        `${name.toUpperCase()} size ${bits}`,
        name,
        `${bits} 001000 ${o} ${l} 0 ${rs} ${o0} 11111 SPn Rt`,
        {
          allowed: (f) => f['Rs'] === undefined || (f['Rs'] !== f['Rt'] && statusApart(f)),
          access: (f) => ({
            base: f['SPn']!,
            offset: 0,
            bytes,
            align: bytes,
            loads: load ? [f['Rt']!] : f['Rs'] === undefined ? [] : [f['Rs']],
          }),
        },
      );
    rows.push(
      make('exclusive', `stxr${suffix}`, '0', '0', 'Rs', '0', false),
      make('exclusive', `stlxr${suffix}`, '0', '0', 'Rs', '1', false),
      make('exclusive', `ldxr${suffix}`, '0', '1', '11111', '0', true),
      make('exclusive', `ldaxr${suffix}`, '0', '1', '11111', '1', true),
      make('memory', `stlr${suffix}`, '1', '0', '11111', '1', false),
      make('memory', `ldar${suffix}`, '1', '1', '11111', '1', true),
    );
    if (size < 2) continue;
    const pair = (name: string, l: string, rs: string, o0: string, load: boolean) =>
      define(
        'exclusive',
        `${name.toUpperCase()} size ${bits}`,
        name,
        `${bits} 001000 0 ${l} 1 ${rs} ${o0} Rt2 SPn Rt`,
        {
          allowed: (f) =>
            load ? f['Rt'] !== f['Rt2'] : f['Rs'] !== f['Rt'] && f['Rs'] !== f['Rt2'] && statusApart(f),
          access: (f) => ({
            base: f['SPn']!,
            offset: 0,
            bytes: bytes * 2,
            align: bytes * 2,
            loads: load ? [f['Rt']!, f['Rt2']!] : [f['Rs']!],
          }),
        },
      );
    rows.push(
      pair('stxp', '0', 'Rs', '0', false),
      pair('stlxp', '0', 'Rs', '1', false),
      pair('ldxp', '1', '11111', '0', true),
      pair('ldaxp', '1', '11111', '1', true),
    );
  }
  return rows;
}

/** Advanced SIMD load/store of structures, without and with post-index. */
function structures(): Encoding[] {
  const rows: Encoding[] = [];
  const both = (
    name: string,
    mnemonics: string,
    head: (post: boolean) => string,
    tail: string,
    bytes: (f: Fields) => number,
    allowed: (f: Fields) => boolean,
  ) => {
    const access = (f: Fields): Access => ({
      base: f['SPn']!,
      offset: 0,
      bytes: bytes(f),
      align: 1,
      loads: [],
    });
    rows.push(
      define('simd-memory', name, mnemonics, `${head(false)} 00000 ${tail}`, { allowed, access }),
      define('simd-memory', `${name} (post-index immediate)`, mnemonics, `${head(true)} 11111 ${tail}`, {
        allowed,
        access: (f) => ({ ...access(f), writeback: { by: bytes(f) } }),
      }),
      define('simd-memory', `${name} (post-index register)`, mnemonics, `${head(true)} Rm ${tail}`, {
        allowed: (f) => allowed(f) && f['Rm'] !== 31,
        access: (f) => ({ ...access(f), writeback: { register: f['Rm']! } }),
      }),
    );
  };
  const multiple = [
    ['0000', 4, 4],
    ['0010', 1, 4],
    ['0100', 3, 3],
    ['0110', 1, 3],
    ['0111', 1, 1],
    ['1000', 2, 2],
    ['1010', 1, 2],
  ] as const;
  for (const l of [0, 1] as const) {
    const verb = l === 1 ? 'ld' : 'st';
    for (const [opcode, structure, registers] of multiple)
      both(
        `${verb.toUpperCase()}${structure} (${registers} registers)`,
        `${verb}${structure}`,
        (post) => `0 Q 001100 ${post ? 1 : 0} ${l} 0`,
        `${opcode} size:2 SPn Vt`,
        (f) => registers * (f['Q'] === 1 ? 16 : 8),
        (f) => structure === 1 || f['size'] !== 3 || f['Q'] === 1,
      );
    for (const count of [1, 2, 3, 4] as const) {
      const r = count % 2 === 0 ? 1 : 0;
      const high = count > 2 ? 1 : 0;
      const lane = (opcode: string, sizeBits: string, bytes: number) => {
        both(
          `${verb.toUpperCase()}${count} (lane of ${bytes} bytes)`,
          `${verb}${count}`,
          (post) => `0 Q 001101 ${post ? 1 : 0} ${l} ${r}`,
          `${opcode}${high} ${sizeBits} SPn Vt`,
          () => bytes * count,
          () => true,
        );
      };
      lane('00', 'S size:2', 1);
      lane('01', 'S sizehigh 0', 2);
      lane('10', 'S 00', 4);
      lane('10', '0 01', 8);
      if (l === 1)
        both(
          `LD${count}R`,
          `ld${count}r`,
          (post) => `0 Q 001101 ${post ? 1 : 0} 1 ${r}`,
          `11${high} 0 size:2 SPn Vt`,
          (f) => 2 ** f['size']! * count,
          () => true,
        );
    }
  }
  return rows;
}

export const MEMORY: readonly Encoding[] = [
  ...GENERAL.flatMap(single),
  ...single(PREFETCH),
  ...VECTOR.flatMap(single),
  ...pairs(),
  ...LITERALS,
  ...ordered(),
  ...structures(),
];
