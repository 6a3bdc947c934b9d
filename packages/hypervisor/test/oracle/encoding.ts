/** What kind of place an instruction has in a sequence; the generator treats each kind in its own way. */
export type Group =
  'integer' | 'system' | 'branch' | 'memory' | 'exclusive' | 'fp' | 'simd' | 'simd-memory' | 'crypto';

/** Field values of one instruction, by the names of the pattern. */
export type Fields = Readonly<Record<string, number>>;

/** A memory access, for keeping it inside the data window. */
export interface Access {
  /** Base register, 31 for SP, 'pc' for a literal. */
  readonly base: number | 'pc';
  readonly offset: number;
  readonly index?: { readonly register: number; readonly extend: Extend; readonly shift: number };
  readonly bytes: number;
  /** Alignment that the access needs, in bytes; 1 where none. */
  readonly align: number;
  /** What is added to the base register, or the register that is. */
  readonly writeback?: { readonly by: number } | { readonly register: number };
  /** General registers that the access loads. */
  readonly loads: readonly number[];
}

export type Extend = 'uxtw' | 'lsl' | 'sxtw' | 'sxtx';

export interface Options {
  /** False for combinations that are unallocated, unpredictable, or another row's. */
  readonly allowed?: (f: Fields) => boolean;
  readonly access?: (f: Fields) => Access;
}

interface Field {
  readonly name: string;
  readonly shift: number;
  readonly width: number;
}

/** One row of the table: an A64 encoding with its variable fields. */
export interface Encoding extends Options {
  /** Name in the Arm ARM, with what tells it from its siblings. */
  readonly name: string;
  readonly group: Group;
  /** What a disassembler may call it: its mnemonic and its aliases. */
  readonly mnemonics: readonly string[];
  readonly mask: number;
  readonly value: number;
  readonly fields: readonly Field[];
}

/**
 * Makes a row of a pattern: fixed bits as digits, fields as `name` (one bit) or `name:width`, from bit 31 down.
 * Register fields are known by name (`Rd Rn Rm Ra Rt Rt2 Rs` general with 31 as ZR, `SPd SPn` with 31 as SP,
 * `Vd Vn Vm Va Vt Vt2` vector) and are 5 bits wide.
 */
export function define(
  group: Group,
  name: string,
  mnemonics: string,
  pattern: string,
  options: Options = {},
): Encoding {
  let bit = 32;
  let mask = 0;
  let value = 0;
  const fields: Field[] = [];
  for (const token of pattern.split(/\s+/).filter((text) => text !== '')) {
    if (/^[01]+$/.test(token)) {
      bit -= token.length;
      mask |= (2 ** token.length - 1) * 2 ** bit;
      value |= Number.parseInt(token, 2) * 2 ** bit;
      continue;
    }
    const [label = '', size] = token.split(':');
    const width = size === undefined ? (isRegister(label) ? 5 : 1) : Number(size);
    bit -= width;
    fields.push({ name: label, shift: bit, width });
  }
  if (bit !== 0) throw new Error(`${name}: pattern of ${32 - bit} bits`);
  return {
    ...options,
    group,
    name,
    mnemonics: mnemonics.split(' '),
    mask: mask >>> 0,
    value: value >>> 0,
    fields,
  };
}

export function isRegister(field: string): boolean {
  return /^(R[dnmats]|Rt2|SP[dn]|V[dnmat]|Vt2)$/.test(field);
}

/** The instruction word of a row with these field values. */
export function encode(row: Encoding, values: Fields): number {
  let word = row.value;
  for (const field of row.fields) word |= (values[field.name] ?? 0) * 2 ** field.shift;
  return word >>> 0;
}

/** A value of a field that the pattern must have. */
export function field(f: Fields, name: string): number {
  const value = f[name];
  if (value === undefined) throw new Error(`no field ${name}`);
  return value;
}

export function signed(value: number, width: number): number {
  return value >= 2 ** (width - 1) ? value - 2 ** width : value;
}

/** The field values of a word of this row. */
export function decode(row: Encoding, word: number): Fields {
  return Object.fromEntries(
    row.fields.map(({ name, shift, width }) => [name, (word >>> shift) % 2 ** width]),
  );
}

/** Does the word have the fixed bits of the row, and allowed field values? */
export function matches(row: Encoding, word: number): boolean {
  return (word & row.mask) >>> 0 === row.value && row.allowed?.(decode(row, word)) !== false;
}

/** Fields of ADR at address `pc` that make it load address `to`. */
export function adrFields(register: number, pc: number, to: number): Fields {
  const offset = to - pc;
  return { Rd: register, immlo: offset & 3, immhi: (offset >> 2) & 0x7ffff };
}
