import {
  adrFields,
  encode,
  field,
  signed,
  type Access,
  type Encoding,
  type Fields,
  type Group,
} from './encoding.ts';
import { exceptionalItem } from './exceptional.ts';
import { patchingItem, type Chosen } from './patching.ts';
import { Random } from './random.ts';
import {
  ALIGNED,
  BASES,
  DESTINATIONS,
  INDICES,
  indexValue,
  initialState,
  inWindow,
  LINK_SCRATCH,
  somewhere,
  VECTOR_DESTINATIONS,
} from './registers.ts';
import { CODE_BASE, SP, type Case, type Ending, type Mode } from './state.ts';

/** Which groups a sequence draws from. */
const PROFILES: Readonly<Record<string, readonly Group[]>> = {
  integer: ['integer', 'system', 'branch'],
  memory: ['integer', 'memory', 'exclusive', 'branch'],
  fp: ['fp', 'system'],
  simd: ['simd'],
  structures: ['simd', 'simd-memory', 'integer'],
  mixed: ['integer', 'system', 'branch', 'memory', 'exclusive', 'fp', 'simd', 'simd-memory', 'crypto'],
};

const MAX_ATTEMPTS = 60;
/** Items (of mostly one word) of a sequence. */
const LENGTH = 20;
/** Words of a page of code. */
const PAGE_WORDS = 1024;
/** Share of sequences that end in a fault, a misaligned access or a jump to nowhere. */
const EXCEPTIONAL = 0.06;
/** Share of items that replace an instruction before it is executed. */
const PATCHING = 0.005;

/** Values that a base register may have, as an inclusive range. */
type Range = readonly [low: number, high: number];

interface Item {
  words: number[];
  readonly rows: readonly Encoding[];
  /** A word to be completed once the place of item `target` is known. */
  readonly link?: {
    readonly word: number;
    readonly row: Encoding;
    readonly fields: Fields;
    readonly target: number;
  };
  /** No branch may jump over it. */
  readonly certain: boolean;
  /** Its last instruction is replaced before it is reached. */
  readonly replaced?: true;
}

/** A generated case with what is needed to judge its outcome. */
export interface Sequence {
  readonly index: number;
  readonly profile: string;
  readonly case: Case;
  /** Row of each word; 'certain' when no branch can skip it. */
  readonly rows: readonly { readonly row: Encoding; readonly certain: boolean }[];
  /** Other than 'break', its last instruction ends it so. */
  readonly ending: Ending;
}

/** Makes sequences from a table; the same table and seed give the same sequences. */
export class Generator {
  private readonly random: Random;
  private readonly table: readonly Encoding[];
  private readonly decks = new Map<string, Encoding[]>();
  private readonly byName: ReadonlyMap<string, Encoding>;
  private count = 0;
  private items: Item[] = [];
  private known = new Map<number, Range>();
  /** Index of the farthest item that a branch so far may go to. */
  private skipTo = 0;
  private address = 0;

  constructor(table: readonly Encoding[], seed: number) {
    this.table = table;
    this.random = new Random(seed);
    this.byName = new Map(table.map((row) => [row.name, row]));
  }

  next(): Sequence {
    const random = this.random;
    const names = Object.keys(PROFILES);
    const profile = names[this.count % names.length] ?? 'mixed';
    this.items = [];
    this.known = new Map();
    this.skipTo = 0;
    // Every other sequence runs from one page into the next.
    const origin = this.count % 2 === 0 ? 0 : PAGE_WORDS - random.below(LENGTH);
    this.address = CODE_BASE + origin * 4;
    const state = initialState(random, this.address);
    for (const base of [...BASES, ...ALIGNED]) {
      const at = Number(state[base]);
      this.known.set(base, [at, at]);
    }
    const mode: Mode = {
      stackCheck: random.chance(0.3),
      budget: random.chance(0.3) ? 1 + random.below(8) : 0,
    };
    if (mode.stackCheck) {
      // Accesses by a misaligned SP would fault on the engine, and not on the oracle.
      this.known.delete(SP);
      state[SP] = random.chance(0.8) ? random.u64() : (state[SP] ?? 0n);
    }
    while (this.items.length < LENGTH) {
      if (random.chance(PATCHING)) this.addPatch();
      else this.add(this.draw(profile));
    }
    const ending = this.end();
    const words = this.link(ending === 'break' ? this.items.length : LENGTH);
    const rows = this.items.flatMap((item) =>
      item.rows.map((row, i) => ({
        row,
        certain: item.certain && !(item.replaced && i === item.rows.length - 1),
      })),
    );
    return {
      index: this.count++,
      profile,
      case: { words, origin, state, dataSeed: random.u32(), patches: new Map(), mode },
      rows,
      ending,
    };
  }

  /** The next row of the profile's shuffled deck: every row comes once before any comes twice. */
  private draw(profile: string): Encoding {
    let deck = this.decks.get(profile) ?? [];
    if (deck.length === 0) {
      const groups = PROFILES[profile] ?? [];
      deck = this.random.shuffle(this.table.filter((row) => groups.includes(row.group)));
      this.decks.set(profile, deck);
    }
    const row = deck.pop();
    if (row === undefined) throw new Error(`no rows for ${profile}`);
    return row;
  }

  private add(row: Encoding): void {
    const before = new Map(this.known);
    const item =
      row.group === 'branch'
        ? this.branch(row)
        : row.group === 'exclusive'
          ? this.exclusive(row)
          : row.access !== undefined
            ? this.memory(row)
            : this.plain(row);
    this.items.push(item);
    this.address += item.words.length * 4;
    if (!item.certain) this.join(before);
  }

  /** Any two instructions that touch registers only; whether the first or the second is executed must not vary. */
  private addPatch(): void {
    const rows = this.table.filter((row) => /^(integer|fp|simd)$/.test(row.group));
    const choose = (): Chosen => {
      const row = this.random.pick(rows);
      const values = this.fill(row);
      if (values['SPd'] === SP) this.known.delete(SP);
      return { row, word: encode(row, values) };
    };
    const code = patchingItem((name) => this.row(name), this.address, choose(), choose());
    this.items.push({
      words: code.map(({ word }) => word),
      rows: code.map(({ row }) => row),
      certain: this.certain,
      // The instruction at the end is not the one that is executed.
      replaced: true,
    });
    this.address += code.length * 4;
  }

  private get certain(): boolean {
    return this.items.length >= this.skipTo;
  }

  /** After an item that may have been skipped, a base has its old or its new value. */
  private join(before: ReadonlyMap<number, Range>): void {
    for (const [register, range] of this.known) {
      const old = before.get(register);
      if (old === undefined) this.known.delete(register);
      else this.known.set(register, [Math.min(old[0], range[0]), Math.max(old[1], range[1])]);
    }
  }

  /** Field values for a row that neither branches nor accesses memory. */
  private fill(row: Encoding): Fields {
    for (let attempt = 0; attempt < 1000; attempt++) {
      const values: Record<string, number> = {};
      for (const { name, width } of row.fields) values[name] = this.fieldValue(name, width);
      if (row.allowed === undefined || row.allowed(values)) return values;
    }
    throw new Error(`no allowed fields found for ${row.name}`);
  }

  private fieldValue(name: string, width: number): number {
    const random = this.random;
    switch (name) {
      case 'Rd':
      case 'Rt':
      case 'Rt2':
      case 'Rs':
      case 'SPd':
        return random.pick(DESTINATIONS);
      case 'Rn':
      case 'Rm':
      case 'Ra':
      case 'SPn':
        return random.chance(0.7) ? random.pick(DESTINATIONS) : random.below(32);
      case 'Vd':
        return random.pick(VECTOR_DESTINATIONS);
      case 'Vn':
      case 'Vm':
      case 'Va':
      case 'Vt':
      case 'Vt2':
        return random.chance(0.6) ? random.pick(VECTOR_DESTINATIONS) : random.below(32);
      default:
        return random.bits(width);
    }
  }

  private plain(row: Encoding): Item {
    const values = this.fill(row);
    if (values['SPd'] === SP) this.known.delete(SP);
    return { words: [encode(row, values)], rows: [row], certain: this.certain };
  }

  private branch(row: Encoding): Item {
    const certain = this.certain;
    const target = this.items.length + 1 + this.random.below(4);
    this.skipTo = Math.max(this.skipTo, target);
    const values: Record<string, number> = { ...this.fill(row) };
    if (values['Rn'] === undefined)
      return { words: [0], rows: [row], link: { word: 0, row, fields: values, target }, certain };
    const register = this.random.pick(LINK_SCRATCH);
    const adr = this.row('ADR');
    return {
      words: [0, encode(row, { Rn: register })],
      rows: [adr, row],
      link: { word: 0, row: adr, fields: { Rd: register }, target },
      certain,
    };
  }

  private row(name: string): Encoding {
    const row = this.byName.get(name);
    if (row === undefined) throw new Error(`the table lacks ${name}`);
    return row;
  }

  /** Load-exclusive, up to two integer instructions, store-exclusive of the same size; one row of them is given. */
  private exclusive(row: Encoding): Item {
    const random = this.random;
    // Bits 31:30 are the size, bit 22 tells loads from stores, bit 21 pairs from single registers.
    const same = this.table.filter(
      (other) =>
        other.group === 'exclusive' &&
        (other.value ^ row.value) >>> 30 === 0 &&
        ((other.value ^ row.value) & (1 << 21)) === 0,
    );
    const isLoad = (other: Encoding): boolean => (other.value & (1 << 22)) !== 0;
    const load = isLoad(row) ? row : random.pick(same.filter(isLoad));
    const store = isLoad(row) ? random.pick(same.filter((other) => !isLoad(other))) : row;
    const base = random.pick(ALIGNED);
    const plain = this.table.filter((other) => other.group === 'integer');
    const rows: Encoding[] = [];
    const words: number[] = [];
    const emit = (other: Encoding): void => {
      const values: Record<string, number> = { ...this.fill(other) };
      if (other.group === 'exclusive') {
        do Object.assign(values, this.fill(other), { SPn: base });
        while (other.allowed?.(values) === false);
      }
      if (values['SPd'] === SP) this.known.delete(SP);
      rows.push(other);
      words.push(encode(other, values));
    };
    if (!random.chance(0.1)) emit(load);
    for (let i = random.below(3); i > 0; i--) emit(random.pick(plain));
    if (random.chance(0.1)) emit(this.row('CLREX'));
    emit(store);
    return { words, rows, certain: this.certain };
  }

  private memory(row: Encoding): Item {
    const certain = this.certain;
    const values = this.fitting(row, this.address);
    if (values !== undefined) {
      this.retire(row, values);
      return { words: [encode(row, values)], rows: [row], certain };
    }
    const base = this.random.pick(BASES.filter((register) => register !== SP));
    const at = somewhere(this.random);
    this.known.set(base, [at, at]);
    const adr = this.row('ADR');
    const setBase = encode(adr, adrFields(base, this.address, at));
    const again = this.fitting(row, this.address + 4, base);
    if (again === undefined) return { words: [setBase], rows: [adr], certain };
    this.retire(row, again);
    return { words: [setBase, encode(row, again)], rows: [adr, row], certain };
  }

  /** Field values whose access stays in the window for all values that the base may have. */
  private fitting(row: Encoding, pc: number, base?: number): Fields | undefined {
    const random = this.random;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const values: Record<string, number> = { ...this.fill(row) };
      if (values['imm19'] !== undefined) values['imm19'] = this.literal(pc);
      else values['SPn'] = base ?? random.pick([...this.known.keys()]);
      if (values['Rm'] !== undefined) values['Rm'] = random.chance(0.1) ? 31 : random.pick(INDICES);
      // Now and then a load overwrites its own base.
      if (values['Rt'] !== undefined && random.chance(0.06)) values['Rt'] = values['SPn'] ?? 0;
      if (row.allowed?.(values) === false) continue;
      const access = row.access?.(values);
      if (access === undefined || !this.fits(access, pc)) continue;
      return values;
    }
    return undefined;
  }

  private fits(access: Access, pc: number): boolean {
    if (access.base === 'pc') {
      const at = pc + access.offset;
      return inWindow(at, at, access.bytes) || (at >= CODE_BASE && at + access.bytes <= CODE_BASE + 0x800);
    }
    if (access.writeback !== undefined && ALIGNED.includes(access.base)) return false;
    if (access.loads.some((register) => ALIGNED.includes(register))) return false;
    const range = this.known.get(access.base);
    if (range === undefined) return false;
    const index = access.index === undefined ? 0 : extended(access.index);
    const low = range[0] + access.offset + index;
    const high = range[1] + access.offset + index;
    if (access.align > 1 && (low !== high || low % access.align !== 0)) return false;
    if (!inWindow(low, high, access.bytes)) return false;
    return access.writeback === undefined || this.written(range, access) !== undefined;
  }

  /** The base after write-back; undefined when it leaves the window. */
  private written(range: Range, { writeback }: Access): Range | undefined {
    if (writeback === undefined) return range;
    const by = 'by' in writeback ? writeback.by : Number(signed64(indexValue(writeback.register)));
    const after: Range = [range[0] + by, range[1] + by];
    return inWindow(after[0], after[1], 16) ? after : undefined;
  }

  private retire(row: Encoding, values: Fields): void {
    const access = row.access?.(values);
    if (access === undefined || access.base === 'pc') {
      for (const register of access?.loads ?? []) this.known.delete(register);
      return;
    }
    const range = this.known.get(access.base);
    const after = range && this.written(range, access);
    if (after) this.known.set(access.base, after);
    // 31 as a loaded register is ZR.
    for (const register of access.loads) if (register !== 31) this.known.delete(register);
  }

  private literal(pc: number): number {
    const target = this.random.chance(0.7)
      ? somewhere(this.random)
      : CODE_BASE + this.random.below(0x100) * 4;
    return ((target - pc) >> 2) & 0x7ffff;
  }

  /** Now and then a last item whose instruction does not complete; no branch goes beyond it. */
  private end(): Ending {
    const item = this.random.chance(EXCEPTIONAL)
      ? exceptionalItem(this.random, this.table, this.address)
      : undefined;
    if (item === undefined) return 'break';
    this.items.push({ words: item.words, rows: item.rows, certain: this.certain });
    return item.ending;
  }

  /** Completes the branches, now that the places of their targets are known. */
  private link(last: number): number[] {
    const starts: number[] = [];
    let words = 0;
    for (const item of this.items) {
      starts.push(words);
      words += item.words.length;
    }
    this.items.forEach((item, i) => {
      if (item.link === undefined) return;
      const { word, row, fields, target } = item.link;
      const from = (starts[i] ?? 0) + word;
      const distance = (starts[Math.min(target, last)] ?? words) - from;
      const values: Record<string, number> = { ...fields };
      if (row.name === 'ADR') Object.assign(values, adrFields(field(fields, 'Rd'), 0, distance * 4));
      for (const name of ['imm14', 'imm19', 'imm26']) if (values[name] !== undefined) values[name] = distance;
      item.words[word] = encode(row, values);
    });
    return this.items.flatMap((item) => item.words);
  }
}

function signed64(value: bigint): bigint {
  return BigInt.asIntN(64, value);
}

/** ExtendReg of the Arm ARM; far away when it does not fit a number that addresses are counted in. */
function extended({ register, extend, shift }: NonNullable<Access['index']>): number {
  const value = indexValue(register);
  const low = Number(BigInt.asUintN(32, value));
  const wide = extend === 'uxtw' ? low : extend === 'sxtw' ? signed(low, 32) : Number(signed64(value));
  return wide * 2 ** shift;
}
