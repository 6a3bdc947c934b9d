/**
 * A small A64 assembler: just the instructions that the compliance guests are written in (Arm ARM C4, C6).
 * Registers are numbers, 31 is XZR or SP as the instruction defines it. All general instructions are the
 * 64-bit forms unless their name ends in `W`.
 */

/** Condition codes, Arm ARM C1.2.4. */
export const CONDITION = {
  eq: 0,
  ne: 1,
  hs: 2,
  lo: 3,
  mi: 4,
  pl: 5,
  hi: 8,
  ls: 9,
  ge: 10,
  lt: 11,
  gt: 12,
  le: 13,
} as const;

export type Condition = keyof typeof CONDITION;

/** The zero register, or the stack pointer where the instruction says so. */
export const XZR = 31;

type Width = 1 | 2 | 4 | 8;

interface Fixup {
  readonly index: number;
  readonly label: string;
  readonly kind: 'branch26' | 'branch19' | 'adr';
}

/** Builds position-dependent or position-independent code; labels may be used before they are defined. */
export class Assembler {
  readonly #words: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];

  /** Bytes emitted so far. */
  get offset(): number {
    return this.#words.length * 4;
  }

  /** Names the present place. */
  label(name: string): this {
    if (this.#labels.has(name)) throw new RangeError(`label '${name}' is defined twice`);
    this.#labels.set(name, this.offset);
    return this;
  }

  /** Byte offset of a label that is already defined. */
  offsetOf(name: string): number {
    const offset = this.#labels.get(name);
    if (offset === undefined) throw new RangeError(`label '${name}' is not defined`);
    return offset;
  }

  /** Fills with NOP up to a multiple of `bytes`. */
  align(bytes: number): this {
    while (this.offset % bytes !== 0) this.nop();
    return this;
  }

  /** A raw instruction or data word. */
  word(value: number): this {
    this.#words.push(value >>> 0);
    return this;
  }

  /** The finished code, little-endian. */
  bytes(): Uint8Array {
    const words = [...this.#words];
    for (const { index, label, kind } of this.#fixups) {
      const distance = this.offsetOf(label) - index * 4;
      const word = words[index] ?? 0;
      if (kind === 'branch26') {
        words[index] = (word | ((distance >> 2) & 0x03ff_ffff)) >>> 0;
      } else if (kind === 'branch19') {
        words[index] = (word | (signed(distance >> 2, 19, label) << 5)) >>> 0;
      } else {
        const value = signed(distance, 21, label);
        words[index] = (word | ((value & 3) << 29) | ((value >> 2) << 5)) >>> 0;
      }
    }
    const bytes = new Uint8Array(words.length * 4);
    const view = new DataView(bytes.buffer);
    words.forEach((word, index) => view.setUint32(index * 4, word, true));
    return bytes;
  }

  // Moves and arithmetic

  movz(rd: number, immediate: number, shift: 0 | 16 | 32 | 48 = 0): this {
    return this.word(0xd280_0000 | ((shift / 16) << 21) | (field(immediate, 16) << 5) | register(rd));
  }

  movk(rd: number, immediate: number, shift: 0 | 16 | 32 | 48 = 0): this {
    return this.word(0xf280_0000 | ((shift / 16) << 21) | (field(immediate, 16) << 5) | register(rd));
  }

  /** Any 64-bit constant, as one MOVZ and the MOVKs that it needs. */
  movImmediate(rd: number, value: number | bigint): this {
    const bits = BigInt.asUintN(64, BigInt(value));
    this.movz(rd, Number(bits & 0xffffn));
    for (const shift of [16, 32, 48] as const) {
      const part = Number((bits >> BigInt(shift)) & 0xffffn);
      if (part !== 0) this.movk(rd, part, shift);
    }
    return this;
  }

  /** MOV between general registers (ORR with XZR). */
  mov(rd: number, rm: number): this {
    return this.orr(rd, XZR, rm);
  }

  orr(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0xaa00_0000, rd, rn, rm);
  }

  and(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0x8a00_0000, rd, rn, rm);
  }

  eor(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0xca00_0000, rd, rn, rm);
  }

  add(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0x8b00_0000, rd, rn, rm);
  }

  sub(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0xcb00_0000, rd, rn, rm);
  }

  mul(rd: number, rn: number, rm: number): this {
    return this.#threeRegisters(0x9b00_7c00, rd, rn, rm);
  }

  cmp(rn: number, rm: number): this {
    return this.#threeRegisters(0xeb00_0000, XZR, rn, rm);
  }

  addImmediate(rd: number, rn: number, immediate: number): this {
    return this.word(0x9100_0000 | (field(immediate, 12) << 10) | (register(rn) << 5) | register(rd));
  }

  subImmediate(rd: number, rn: number, immediate: number): this {
    return this.word(0xd100_0000 | (field(immediate, 12) << 10) | (register(rn) << 5) | register(rd));
  }

  cmpImmediate(rn: number, immediate: number): this {
    return this.word(0xf100_0000 | (field(immediate, 12) << 10) | (register(rn) << 5) | XZR);
  }

  /** LSL by a constant (UBFM). */
  lsl(rd: number, rn: number, shift: number): this {
    const amount = field(shift, 6);
    return this.word(
      0xd340_0000 | (((64 - amount) & 63) << 16) | ((63 - amount) << 10) | (register(rn) << 5) | register(rd),
    );
  }

  // Loads and stores, unsigned scaled offset

  load(width: Width, rt: number, rn: number, offset = 0): this {
    return this.#access(0x3940_0000, width, rt, rn, offset);
  }

  store(width: Width, rt: number, rn: number, offset = 0): this {
    return this.#access(0x3900_0000, width, rt, rn, offset);
  }

  /** LDP of two X registers, signed offset in bytes. */
  loadPair(rt: number, rt2: number, rn: number, offset = 0): this {
    return this.#pair(0xa940_0000, rt, rt2, rn, offset);
  }

  /** STP of two X registers, signed offset in bytes. */
  storePair(rt: number, rt2: number, rn: number, offset = 0): this {
    return this.#pair(0xa900_0000, rt, rt2, rn, offset);
  }

  /** STR of a Q register, unsigned offset. */
  storeVector(vt: number, rn: number, offset = 0): this {
    return this.word(0x3d80_0000 | (scaled(offset, 16, 12) << 10) | (register(rn) << 5) | register(vt));
  }

  /** LDR of a Q register, unsigned offset. */
  loadVector(vt: number, rn: number, offset = 0): this {
    return this.word(0x3dc0_0000 | (scaled(offset, 16, 12) << 10) | (register(rn) << 5) | register(vt));
  }

  /** LDAXR of an X register. */
  loadExclusive(rt: number, rn: number): this {
    return this.word(0xc85f_fc00 | (register(rn) << 5) | register(rt));
  }

  /** STLXR of an X register; `rs` becomes 0 when it stored. */
  storeExclusive(rs: number, rt: number, rn: number): this {
    return this.word(0xc800_fc00 | (register(rs) << 16) | (register(rn) << 5) | register(rt));
  }

  // Branches

  b(label: string): this {
    return this.#fix(0x1400_0000, label, 'branch26');
  }

  bl(label: string): this {
    return this.#fix(0x9400_0000, label, 'branch26');
  }

  bCond(condition: Condition, label: string): this {
    return this.#fix(0x5400_0000 | CONDITION[condition], label, 'branch19');
  }

  cbz(rt: number, label: string): this {
    return this.#fix(0xb400_0000 | register(rt), label, 'branch19');
  }

  cbnz(rt: number, label: string): this {
    return this.#fix(0xb500_0000 | register(rt), label, 'branch19');
  }

  br(rn: number): this {
    return this.word(0xd61f_0000 | (register(rn) << 5));
  }

  ret(): this {
    return this.word(0xd65f_03c0);
  }

  /** Address of a label, within 1 MiB. */
  adr(rd: number, label: string): this {
    return this.#fix(0x1000_0000 | register(rd), label, 'adr');
  }

  // System

  /** @param encoding as {@link sysreg} makes it */
  mrs(rt: number, encoding: number): this {
    return this.word(0xd520_0000 | (systemField(encoding) << 5) | register(rt));
  }

  /** @param encoding as {@link sysreg} makes it */
  msr(encoding: number, rt: number): this {
    return this.word(0xd500_0000 | (systemField(encoding) << 5) | register(rt));
  }

  /** Masks exceptions: bits D 8, A 4, I 2, F 1. */
  daifSet(bits: number): this {
    return this.word(0xd503_40df | (field(bits, 4) << 8));
  }

  /** Unmasks exceptions: bits D 8, A 4, I 2, F 1. */
  daifClear(bits: number): this {
    return this.word(0xd503_40ff | (field(bits, 4) << 8));
  }

  hvc(immediate: number): this {
    return this.word(0xd400_0002 | (field(immediate, 16) << 5));
  }

  svc(immediate: number): this {
    return this.word(0xd400_0001 | (field(immediate, 16) << 5));
  }

  eret(): this {
    return this.word(0xd69f_03e0);
  }

  nop(): this {
    return this.word(0xd503_201f);
  }

  wfi(): this {
    return this.word(0xd503_207f);
  }

  isb(): this {
    return this.word(0xd503_3fdf);
  }

  dsb(): this {
    return this.word(0xd503_3f9f);
  }

  /** The permanently undefined instruction. */
  udf(immediate: number): this {
    return this.word(field(immediate, 16));
  }

  #threeRegisters(base: number, rd: number, rn: number, rm: number): this {
    return this.word(base | (register(rm) << 16) | (register(rn) << 5) | register(rd));
  }

  #access(base: number, width: Width, rt: number, rn: number, offset: number): this {
    const size = Math.log2(width);
    return this.word(
      base | (size << 30) | (scaled(offset, width, 12) << 10) | (register(rn) << 5) | register(rt),
    );
  }

  #pair(base: number, rt: number, rt2: number, rn: number, offset: number): this {
    const immediate = signed(offset / 8, 7, 'pair offset');
    return this.word(base | (immediate << 15) | (register(rt2) << 10) | (register(rn) << 5) | register(rt));
  }

  #fix(word: number, label: string, kind: Fixup['kind']): this {
    this.#fixups.push({ index: this.#words.length, label, kind });
    return this.word(word);
  }
}

function register(value: number): number {
  return field(value, 5);
}

function field(value: number, bits: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits) {
    throw new RangeError(`${value} does not fit in ${bits} bits`);
  }
  return value;
}

function scaled(offset: number, unit: number, bits: number): number {
  if (offset % unit !== 0) throw new RangeError(`offset ${offset} is not a multiple of ${unit}`);
  return field(offset / unit, bits);
}

function signed(value: number, bits: number, what: string): number {
  const limit = 2 ** (bits - 1);
  if (!Number.isInteger(value) || value < -limit || value >= limit) {
    throw new RangeError(`${what}: ${value} does not fit in ${bits} signed bits`);
  }
  return value & (2 ** bits - 1);
}

/** op0:op1:CRn:CRm:op2 are bits 20:5 of MRS and MSR, as in {@link sysreg}. */
function systemField(encoding: number): number {
  return field(encoding, 16);
}
