// Just enough of an A64 assembler for the programs of these tests. Registers are numbers; 31 is XZR or SP as the
// instruction has it.

/** Encoding of a system register or instruction, op0:op1:CRn:CRm:op2. */
export function system(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

export const SCTLR_EL1: number = system(3, 0, 1, 0, 0);
export const CPACR_EL1: number = system(3, 0, 1, 0, 2);
export const TTBR0_EL1: number = system(3, 0, 2, 0, 0);
export const TTBR1_EL1: number = system(3, 0, 2, 0, 1);
export const TCR_EL1: number = system(3, 0, 2, 0, 2);
export const SPSR_EL1: number = system(3, 0, 4, 0, 0);
export const ELR_EL1: number = system(3, 0, 4, 0, 1);
export const SP_EL0: number = system(3, 0, 4, 1, 0);
export const ESR_EL1: number = system(3, 0, 5, 2, 0);
export const FAR_EL1: number = system(3, 0, 6, 0, 0);
export const PAR_EL1: number = system(3, 0, 7, 4, 0);
export const MAIR_EL1: number = system(3, 0, 10, 2, 0);
export const VBAR_EL1: number = system(3, 0, 12, 0, 0);
export const ICC_IAR1_EL1: number = system(3, 0, 12, 12, 0);
export const ICC_IGRPEN1_EL1: number = system(3, 0, 12, 12, 7);
export const ICC_PMR_EL1: number = system(3, 0, 4, 6, 0);
export const CNTKCTL_EL1: number = system(3, 0, 14, 1, 0);
export const CTR_EL0: number = system(3, 3, 0, 0, 1);
export const TPIDR_EL0: number = system(3, 3, 13, 0, 2);
export const CNTFRQ_EL0: number = system(3, 3, 14, 0, 0);
export const CNTVCT_EL0: number = system(3, 3, 14, 0, 2);
export const CNTP_CTL_EL0: number = system(3, 3, 14, 2, 1);
export const CNTP_CVAL_EL0: number = system(3, 3, 14, 2, 2);
export const CNTV_TVAL_EL0: number = system(3, 3, 14, 3, 0);
export const CNTV_CTL_EL0: number = system(3, 3, 14, 3, 1);
export const CNTV_CVAL_EL0: number = system(3, 3, 14, 3, 2);
export const IC_IVAU: number = system(1, 3, 7, 5, 1);
export const IC_IALLUIS: number = system(1, 0, 7, 1, 0);
export const IC_IALLU: number = system(1, 0, 7, 5, 0);
export const DC_ZVA: number = system(1, 3, 7, 4, 1);
export const DC_CVAC: number = system(1, 3, 7, 10, 1);
export const AT_S1E0R: number = system(1, 0, 7, 8, 2);
export const AT_S1E1R: number = system(1, 0, 7, 8, 0);
export const AT_S1E1W: number = system(1, 0, 7, 8, 1);
export const TLBI_VMALLE1: number = system(1, 0, 8, 7, 0);
export const TLBI_VAE1: number = system(1, 0, 8, 7, 1);
export const TLBI_VAE1IS: number = system(1, 0, 8, 3, 1);
export const TLBI_ASIDE1: number = system(1, 0, 8, 7, 2);

export type Condition = 'eq' | 'ne' | 'cs' | 'cc' | 'mi' | 'pl' | 'hi' | 'ls' | 'ge' | 'lt' | 'gt' | 'le';
const CONDITIONS: Readonly<Record<Condition, number>> = {
  eq: 0,
  ne: 1,
  cs: 2,
  cc: 3,
  mi: 4,
  pl: 5,
  hi: 8,
  ls: 9,
  ge: 10,
  lt: 11,
  gt: 12,
  le: 13,
};

/** A program at an address, written instruction by instruction. */
export class Assembler {
  readonly origin: number;
  readonly #words: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: { at: number; label: string; width: 14 | 19 | 26; shift: number }[] = [];

  constructor(origin: number) {
    this.origin = origin;
  }

  /** Address of the next instruction. */
  get here(): number {
    return this.origin + this.#words.length * 4;
  }

  word(...words: number[]): this {
    for (const word of words) this.#words.push(word >>> 0);
    return this;
  }

  label(name: string): this {
    this.#labels.set(name, this.#words.length);
    return this;
  }

  address(label: string): number {
    return this.origin + this.#index(label) * 4;
  }

  /** Fills up with NOP to an address. */
  until(address: number): this {
    while (this.here < address) this.nop();
    return this;
  }

  /** MOVZ and MOVK, four instructions whatever the value. */
  mov(rd: number, value: number | bigint): this {
    const bits = BigInt.asUintN(64, BigInt(value));
    for (let hw = 0; hw < 4; hw++) {
      const part = Number((bits >> BigInt(16 * hw)) & 0xffffn);
      this.word((hw === 0 ? 0xd2800000 : 0xf2800000) | (hw << 21) | (part << 5) | rd);
    }
    return this;
  }

  movReg(rd: number, rm: number): this {
    return this.word(0xaa0003e0 | (rm << 16) | rd);
  }

  /** ADD or SUB (immediate): ±4095. */
  add(rd: number, rn: number, immediate: number): this {
    return this.word(
      (immediate < 0 ? 0xd1000000 : 0x91000000) | (Math.abs(immediate) << 10) | (rn << 5) | rd,
    );
  }

  subs(rd: number, rn: number, immediate: number): this {
    return this.word(0xf1000000 | (immediate << 10) | (rn << 5) | rd);
  }

  cmp(rn: number, immediate: number): this {
    return this.subs(31, rn, immediate);
  }

  cset(rd: number, condition: Condition): this {
    return this.word(0x9a9f07e0 | ((CONDITIONS[condition] ^ 1) << 12) | rd);
  }

  /** LDR or STR of 1 << size bytes, unsigned offset. */
  ldr(rt: number, rn: number, offset = 0, size = 3): this {
    return this.word(0x39400000 | (size << 30) | ((offset >> size) << 10) | (rn << 5) | rt);
  }

  str(rt: number, rn: number, offset = 0, size = 3): this {
    return this.word(0x39000000 | (size << 30) | ((offset >> size) << 10) | (rn << 5) | rt);
  }

  ldp(rt: number, rt2: number, rn: number): this {
    return this.word(0xa9400000 | (rt2 << 10) | (rn << 5) | rt);
  }

  stp(rt: number, rt2: number, rn: number): this {
    return this.word(0xa9000000 | (rt2 << 10) | (rn << 5) | rt);
  }

  ldxr(rt: number, rn: number): this {
    return this.word(0xc85f7c00 | (rn << 5) | rt);
  }

  stxr(rs: number, rt: number, rn: number): this {
    return this.word(0xc8007c00 | (rs << 16) | (rn << 5) | rt);
  }

  b(label: string): this {
    return this.#branch(0x14000000, label, 26, 0);
  }

  bl(label: string): this {
    return this.#branch(0x94000000, label, 26, 0);
  }

  bcond(condition: Condition, label: string): this {
    return this.#branch(0x54000000 | CONDITIONS[condition], label, 19, 5);
  }

  cbz(rt: number, label: string): this {
    return this.#branch(0xb4000000 | rt, label, 19, 5);
  }

  cbnz(rt: number, label: string): this {
    return this.#branch(0xb5000000 | rt, label, 19, 5);
  }

  br(rn: number): this {
    return this.word(0xd61f0000 | (rn << 5));
  }

  ret(): this {
    return this.word(0xd65f03c0);
  }

  mrs(rt: number, register: number): this {
    return this.word(0xd5200000 | (register << 5) | rt);
  }

  msr(register: number, rt: number): this {
    return this.word(0xd5000000 | (register << 5) | rt);
  }

  /** IC, DC, AT, TLBI. */
  sys(instruction: number, rt = 31): this {
    return this.msr(instruction, rt);
  }

  daifSet(mask: number): this {
    return this.word(0xd50340df | (mask << 8));
  }

  daifClr(mask: number): this {
    return this.word(0xd50340ff | (mask << 8));
  }

  svc(immediate = 0): this {
    return this.word(0xd4000001 | (immediate << 5));
  }

  hvc(): this {
    return this.word(0xd4000002);
  }

  brk(immediate = 0): this {
    return this.word(0xd4200000 | (immediate << 5));
  }

  eret(): this {
    return this.word(0xd69f03e0);
  }

  nop(): this {
    return this.word(0xd503201f);
  }

  wfi(): this {
    return this.word(0xd503207f);
  }

  isb(): this {
    return this.word(0xd5033fdf);
  }

  dsb(): this {
    return this.word(0xd5033b9f);
  }

  clrex(): this {
    return this.word(0xd5033f5f);
  }

  /** Ends the program: PSCI SYSTEM_OFF. */
  off(): this {
    return this.mov(0, 0x84000008).hvc();
  }

  /** The program's words, little-endian. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#words.length * 4);
    const view = new DataView(bytes.buffer);
    for (const { at, label, width, shift } of this.#fixups) {
      const distance = (this.#index(label) - at) & ((1 << width) - 1);
      this.#words[at] = (this.#words[at]! | (distance << shift)) >>> 0;
    }
    this.#words.forEach((word, i) => view.setUint32(i * 4, word, true));
    return bytes;
  }

  #branch(word: number, label: string, width: 14 | 19 | 26, shift: number): this {
    this.#fixups.push({ at: this.#words.length, label, width, shift });
    return this.word(word);
  }

  #index(label: string): number {
    const index = this.#labels.get(label);
    if (index === undefined) throw new Error(`no label ${label}`);
    return index;
  }
}
