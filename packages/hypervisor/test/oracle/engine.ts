import { EngineMachine, type Functions } from './machine.ts';
import {
  BRK,
  CODE_BASE,
  CODE_WORDS,
  DATA_BASE,
  DATA_WORDS,
  fillWindow,
  FPCR,
  FPSR,
  newState,
  NZCV,
  PC,
  SP,
  TPIDR,
  V,
  type Case,
  type Ending,
  type Outcome,
} from './state.ts';

/** Register ids of getRegister and setRegister. */
const ID_SP_EL0 = 31;
const ID_FPCR = 35;
const ID_FPSR = 36;
const ID_V = 64;

/** op0:op1:CRn:CRm:op2, as in the MRS encoding. */
function sysreg(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}
const ID_AA64ISAR0_EL1 = sysreg(3, 0, 0, 6, 0);
const SCTLR_EL1 = sysreg(3, 0, 1, 0, 0);
const CPACR_EL1 = sysreg(3, 0, 1, 0, 2);
const TTBR0_EL1 = sysreg(3, 0, 2, 0, 0);
const TCR_EL1 = sysreg(3, 0, 2, 0, 2);
const SPSR_EL1 = sysreg(3, 0, 4, 0, 0);
const ELR_EL1 = sysreg(3, 0, 4, 0, 1);
const ESR_EL1 = sysreg(3, 0, 5, 2, 0);
const FAR_EL1 = sysreg(3, 0, 6, 0, 0);
const MAIR_EL1 = sysreg(3, 0, 10, 2, 0);
const VBAR_EL1 = sysreg(3, 0, 12, 0, 0);
const TPIDR_EL0 = sysreg(3, 3, 13, 0, 2);
const TPIDR_EL1 = sysreg(3, 0, 13, 0, 4);

/** Bits of SCTLR_EL1: MMU, caches, DZE, UCT, nTWI, nTWE and UCI (what Linux allows to user mode), and RES1. */
const SCTLR = 0x30d0_0800n | 0x0401_d005n;
/** 48-bit low addresses, top byte ignored, 4 KiB granule, 40-bit physical; TTBR1 off. */
const SCTLR_SA0 = 1n << 4n;
const TCR = (2n << 32n) | (1n << 37n) | (1n << 23n) | (0x3500n | 16n) | (16n << 16n);
const CPACR = 3n << 20n;
/** Attribute 0 normal write-back, 1 device-nGnRE. */
const MAIR = 0x04ffn;

/** Physical placement: one RAM region, its pages in an order that no virtual range follows. */
const RAM = 0x8000_0000;
const RAM_SIZE = 0x10_0000;
const TABLE_PAGES = [0x3000, 0x9000, 0x5000, 0x7000] as const;
const VECTOR_PAGE = 0x1_1000;
const CODE_PAGES = [0x2_3000, 0x1_5000] as const;
const DATA_PAGES = [0x4_4000, 0x1_8000, 0x6_1000, 0x3_f000] as const;
/** Virtual pages of EL1: vectors, and a device page whose stores leave the engine. */
const VECTORS = 0x1010_0000;
const REPORT = 0x1010_1000;
const REPORT_PHYSICAL = 0x900_0000;

const PAGE_DESCRIPTOR = 0x403n; // page, access flag
const INNER_SHAREABLE = 0x300n;
const ATTRIBUTE_DEVICE = 0x4n;
const AP_EL0_RW = 0x40n;
const AP_RO = 0x80n;
const PXN = 1n << 53n;
const UXN = 1n << 54n;

/** Exception classes of ESR_EL1. */
const EC_UNKNOWN = 0x00;
const EC_SYSTEM_ACCESS = 0x18;
const EC_INSTRUCTION_ABORT = 0x20;
const EC_PC_ALIGNMENT = 0x22;
const EC_DATA_ABORT = 0x24;
const EC_SP_ALIGNMENT = 0x26;
const EC_BRK = 0x3c;
const DFSC_ALIGNMENT = 0x21;

/**
 * Runs cases on the engine, each at EL0 behind a page table, as a user program that ends in an exception: the vector
 * stores to a device page, which is the exit.
 */
export class EngineRunner {
  private readonly machine: EngineMachine;
  private readonly functions: Functions;
  private readonly layout: (name: string) => number;
  private readonly view: DataView;
  private readonly bytes: Uint8Array;
  private readonly ram: number;
  private readonly interrupted: number;
  /** Where the words of the case before are. */
  private code: readonly [from: number, count: number] = [0, 0];
  private readonly initial = new Uint32Array(DATA_WORDS * 2);
  /** Does ID_AA64ISAR0_EL1 say that the cryptographic instructions are there? */
  readonly hasCryptography: boolean;

  static async load(): Promise<EngineRunner> {
    return new EngineRunner(await EngineMachine.load(RAM, RAM_SIZE));
  }

  private constructor(machine: EngineMachine) {
    this.machine = machine;
    this.functions = machine.functions;
    this.layout = machine.layout;
    this.view = machine.view;
    this.bytes = machine.bytes;
    this.ram = machine.ram;
    this.interrupted = this.layout('EXIT_INTERRUPTED');
    this.setUp();
    this.hasCryptography = (this.functions.getSystemRegister(0, ID_AA64ISAR0_EL1) & 0xfff0n) !== 0n;
  }

  run(given: Case): Outcome {
    this.enter(given);
    let reason: number;
    do reason = this.functions.run(0, given.mode.budget);
    while (reason === this.interrupted);
    if (reason !== this.layout('EXIT_MMIO'))
      throw new Error(`the engine left with ${reason} instead of a report`);
    return this.leave();
  }

  /** Machine, page table, vectors, and a first run up to the report in the vector. */
  private setUp(): void {
    this.buildTables();
    this.buildVectors();
    // The engine has two ways of executing: decoded instructions, and words as they are.
    if (process.env['VMM_ORACLE_WORDS'] === '1') this.view.setUint32(this.machine.vcpu('CPU_WORDS'), 1, true);
    this.machine.system(MAIR_EL1, MAIR);
    this.machine.system(TCR_EL1, TCR);
    this.machine.system(TTBR0_EL1, BigInt(RAM + TABLE_PAGES[0]));
    this.machine.system(CPACR_EL1, CPACR);
    this.machine.system(VBAR_EL1, BigInt(VECTORS));
    this.machine.system(SCTLR_EL1, SCTLR);
    this.machine.start(VECTORS + 0x400);
    const reason = this.machine.run(0);
    if (reason !== this.layout('EXIT_MMIO')) throw new Error(`the engine's first run left with ${reason}`);
  }

  private buildTables(): void {
    const [l0, l1, l2, l3] = TABLE_PAGES;
    const entry = (table: number, index: number, value: bigint): void =>
      this.view.setBigUint64(this.ram + table + index * 8, value, true);
    const next = (table: number): bigint => BigInt(RAM + table) | 3n;
    entry(l0, 0, next(l1));
    entry(l1, 0, next(l2));
    entry(l2, CODE_BASE >>> 21, next(l3));
    const page = (virtual: number, physical: number, attributes: bigint): void =>
      entry(l3, (virtual >>> 12) & 511, BigInt(physical) | PAGE_DESCRIPTOR | attributes);
    CODE_PAGES.forEach((physical, i) =>
      page(CODE_BASE + i * 0x1000, RAM + physical, AP_EL0_RW | PXN | INNER_SHAREABLE),
    );
    for (let i = 0; i < CODE_WORDS; i++) this.setCode(i, BRK);
    DATA_PAGES.forEach((physical, i) =>
      page(DATA_BASE + i * 0x1000, RAM + physical, AP_EL0_RW | PXN | UXN | INNER_SHAREABLE),
    );
    page(VECTORS, RAM + VECTOR_PAGE, AP_RO | UXN | INNER_SHAREABLE);
    page(REPORT, REPORT_PHYSICAL, ATTRIBUTE_DEVICE | PXN | UXN);
  }

  /** Each vector reports which it is, waits there for the next case, and returns to it. */
  private buildVectors(): void {
    for (let vector = 0; vector < 0x800; vector += 0x80) {
      const code = [
        0xd518d080, // msr tpidr_el1, x0
        0xd2800000 | (((REPORT & 0xffff) | vector) << 5), // movz x0, #report + vector
        0xf2a00000 | ((REPORT >>> 16) << 5), // movk x0, #report, lsl #16
        0xb9000000, // str w0, [x0]
        0xd508751f, // ic iallu
        0xd5033b9f, // dsb ish
        0xd5033fdf, // isb
        0xd538d080, // mrs x0, tpidr_el1
        0xd69f03e0, // eret
      ];
      code.forEach((word, i) => this.view.setUint32(this.ram + VECTOR_PAGE + vector + i * 4, word, true));
    }
  }

  private setCode(index: number, word: number): void {
    const page = CODE_PAGES[index >> 10] ?? 0;
    this.view.setUint32(this.ram + page + (index & 1023) * 4, word, true);
  }

  private enter({ words, origin, state, dataSeed, patches, mode }: Case): void {
    const { functions, ram } = this;
    fillWindow(dataSeed, this.initial);
    for (const [index, value] of patches) {
      this.initial[2 * index] = Number(value & 0xffff_ffffn);
      this.initial[2 * index + 1] = Number(value >> 32n);
    }
    const initial = new Uint8Array(this.initial.buffer);
    DATA_PAGES.forEach((page, i) =>
      this.bytes.set(initial.subarray(i * 0x1000, (i + 1) * 0x1000), ram + page),
    );
    const [from, count] = this.code;
    for (let i = 0; i < count; i++) this.setCode(from + i, BRK);
    words.forEach((word, i) => {
      this.setCode(origin + i, word);
    });
    this.code = [origin, words.length];
    this.machine.system(SCTLR_EL1, mode.stackCheck ? SCTLR | SCTLR_SA0 : SCTLR);
    const at = (index: number): bigint => state[index] ?? 0n;
    // X0 is busy with the report; the vector takes the new one from TPIDR_EL1.
    this.machine.system(TPIDR_EL1, at(0));
    for (let i = 1; i < 31; i++) functions.setRegister(0, i, at(i));
    functions.setRegister(0, ID_SP_EL0, at(SP));
    this.machine.system(ELR_EL1, at(PC));
    this.machine.system(SPSR_EL1, at(NZCV));
    functions.setRegister(0, ID_FPCR, at(FPCR));
    functions.setRegister(0, ID_FPSR, at(FPSR));
    this.machine.system(TPIDR_EL0, at(TPIDR));
    for (let i = 0; i < 64; i++) functions.setRegister(0, ID_V + i, at(V + i));
  }

  private leave(): Outcome {
    const { functions, view, ram } = this;
    const vector = Number(view.getBigUint64(this.machine.vcpu('EXIT_ADDRESS'), true)) - REPORT_PHYSICAL;
    const system = (encoding: number): bigint => functions.getSystemRegister(0, encoding);
    const state = newState();
    state[0] = system(TPIDR_EL1);
    for (let i = 1; i < 31; i++) state[i] = functions.getRegister(0, i);
    state[SP] = functions.getRegister(0, ID_SP_EL0);
    state[PC] = system(ELR_EL1);
    state[NZCV] = system(SPSR_EL1) & 0xf000_0000n;
    state[FPCR] = functions.getRegister(0, ID_FPCR);
    state[FPSR] = functions.getRegister(0, ID_FPSR);
    state[TPIDR] = system(TPIDR_EL0);
    for (let i = 0; i < 64; i++) state[V + i] = functions.getRegister(0, ID_V + i);
    const changed = new Map<number, bigint>();
    for (let i = 0; i < DATA_WORDS; i++) {
      const page = DATA_PAGES[(i * 8) >>> 12] ?? 0;
      const at = ram + page + ((i * 8) & 0xfff);
      const low = view.getUint32(at, true);
      const high = view.getUint32(at + 4, true);
      if (low !== this.initial[2 * i] || high !== this.initial[2 * i + 1])
        changed.set(i, (BigInt(high) << 32n) | BigInt(low));
    }
    const ending = vector === SYNCHRONOUS_FROM_EL0 ? endingOf(Number(system(ESR_EL1))) : 'other';
    return { ending, address: system(FAR_EL1), state, changed };
  }
}

/** Offset of the vector that every sequence ends in. */
const SYNCHRONOUS_FROM_EL0 = 0x400;

function endingOf(esr: number): Ending {
  switch (esr >>> 26) {
    case EC_BRK:
      return 'break';
    case EC_UNKNOWN:
    case EC_SYSTEM_ACCESS:
      return 'undefined';
    case EC_PC_ALIGNMENT:
    case EC_SP_ALIGNMENT:
      return 'alignment';
    case EC_INSTRUCTION_ABORT:
      return 'fault';
    case EC_DATA_ABORT:
      return (esr & 0x3f) === DFSC_ALIGNMENT ? 'alignment' : 'fault';
    default:
      return 'other';
  }
}
