import { Assembler, DC_ZVA, SCTLR_EL1 } from './assembler.ts';
import { CODE, Machine, READ_ONLY, SCTLR_MMU, translated } from './machine.ts';

const PAGE = 4096;
/** Between two pages that no program uses otherwise. */
const BOUNDARY = 0x4_1000;
const LOW = BOUNDARY / PAGE - 1;
const HIGH = BOUNDARY / PAGE;
const SCTLR_A = 2n;

/** X1 and X4, V1 to V4 hold what is stored, X2 the address, X3 is 0. */
const STORES: readonly (readonly [
  name: string,
  words: readonly number[],
  offset: number,
  pages: number[],
])[] = [
  ['STR Xt', [0xf900_0041], 0, [HIGH]],
  ['STR Wt', [0xb900_0041], -4, [LOW]],
  ['STRH', [0x7900_0041], 0, [HIGH]],
  ['STRB', [0x3900_0041], -1, [LOW]],
  ['STR, post-indexed', [0xf800_8441], 0, [HIGH]],
  ['STR, pre-indexed', [0xf800_8c41], -8, [HIGH]],
  ['STR, register offset', [0xf823_6841], 0, [HIGH]],
  ['STUR', [0xf81f_c041], 16, [HIGH]],
  ['STUR across pages', [0xf81f_c041], 0, [LOW, HIGH]],
  ['STRH across pages', [0x7900_0041], -1, [LOW, HIGH]],
  ['STP Xt', [0xa900_1041], 0, [HIGH]],
  ['STP Xt, two pages', [0xa900_1041], -8, [LOW, HIGH]],
  ['STP Wt', [0x2900_1041], 0, [HIGH]],
  ['STP, pre-indexed', [0xa9bf_1041], 0, [LOW]],
  ['STNP', [0xa800_1041], 0, [HIGH]],
  ['STR Bt', [0x3d00_0041], 0, [HIGH]],
  ['STR St', [0xbd00_0041], 0, [HIGH]],
  ['STR Dt', [0xfd00_0041], 0, [HIGH]],
  ['STR Qt', [0x3d80_0041], 0, [HIGH]],
  ['STR Qt across pages', [0x3d80_0041], -8, [LOW, HIGH]],
  ['STP Qt', [0xad00_1041], -32, [LOW]],
  ['STP Qt, two pages', [0xad00_1041], -16, [LOW, HIGH]],
  ['ST1, four registers', [0x4c00_2041], -32, [LOW, HIGH]],
  ['ST1, one element', [0x0d00_0041], -1, [LOW]],
  ['ST4', [0x4c00_0041], 0, [HIGH]],
  ['STLR', [0xc89f_fc41], 0, [HIGH]],
  ['STLRB', [0x089f_fc41], -1, [LOW]],
  ['LDXR, STXR', [0xc85f_7c45, 0xc806_7c41], 0, [HIGH]],
  ['LDAXRB, STLXRB', [0x085f_fc45, 0x0806_fc41], -1, [LOW]],
  ['LDXP, STXP', [0xc87f_1c45, 0xc826_1041], 0, [HIGH]],
  ['LDXP Wt, STXP Wt', [0x887f_1c45, 0x8826_1041], -8, [LOW]],
  ['DC ZVA', [0xd50b_7422], 5, [HIGH]],
];

interface Logging {
  revokeWrites(): void;
  writesRevoked(): number;
}

function logging(machine: Machine): Logging {
  return machine.engine as unknown as Logging;
}

function startLog(machine: Machine): void {
  machine.header('HEADER_DIRTY_LOG', 1);
  logging(machine).revokeWrites();
}

/** Takes the log as a host does; numbers of guest pages. */
function take(machine: Machine): number[] {
  const bits = new DataView(
    machine.memory.buffer,
    machine.offset('DIRTY_LOG'),
    machine.offset('DIRTY_LOG_SIZE'),
  );
  const first = machine.offset('RAM_BASE') / PAGE;
  const pages: number[] = [];
  for (let word = 0; word < bits.byteLength; word += 4) {
    const value = bits.getUint32(word, true);
    for (let bit = 0; bit < 32; bit++) if ((value >>> bit) & 1) pages.push(word * 8 + bit - first);
    bits.setUint32(word, 0, true);
  }
  logging(machine).revokeWrites();
  return pages;
}

/** Loads a program that leaves X1 to X4 as {@link STORES} needs them. */
function load(machine: Machine, words: readonly number[], at: number): void {
  const code = new Assembler(CODE).mov(1, 0x1111).mov(4, 0x4444).mov(3, 0).mov(2, at);
  machine.load(code.word(...words).off());
  machine.engine.memoryChanged();
}

function run(machine: Machine, index = 0): void {
  machine.start(CODE, undefined, index);
  const { reason } = machine.run(100_000, index);
  if (reason !== machine.offset('EXIT_SHUTDOWN')) throw new Error(`exit ${reason}`);
}

describe('the dirty log', () => {
  describe.each([
    ['decoded instructions', 0],
    ['instruction words', 1],
  ])('of %s', (_how, words) => {
    it.each(STORES)('has the pages of %s, each time anew', (_name, program, offset, pages) => {
      const { machine } = translated();
      machine.view.setUint32(machine.vcpu('CPU_WORDS'), words, true);
      load(machine, program, BOUNDARY + offset);
      // TLB entries that are writable from before must not hide stores.
      run(machine);
      expect(take(machine)).toEqual([]);
      startLog(machine);
      for (let round = 0; round < 3; round++) {
        run(machine);
        expect(take(machine)).toEqual(pages);
      }
      expect(take(machine)).toEqual([]);
    });
  });

  it('has pages that are stored to between two takes once, and none that are only loaded from', () => {
    const { machine } = translated();
    startLog(machine);
    // ldr x5, [x2]; ldr x5, [x2, #-8]; str x1, [x2]; str x1, [x2]; ldr x5, [x2]
    load(machine, [0xf940_0045, 0xf85f_8045, 0xf900_0041, 0xf900_0041, 0xf940_0045], BOUNDARY);
    run(machine);
    expect(take(machine)).toEqual([HIGH]);
    load(machine, [0xf940_0045, 0xf85f_8045, 0x0d40_0045], BOUNDARY);
    run(machine);
    expect(take(machine)).toEqual([]);
  });

  it.each([
    [
      'alignment is checked, SCTLR_EL1.A',
      (machine: Machine) => machine.setSys(SCTLR_EL1, SCTLR_MMU | SCTLR_A),
    ],
    ['the MMU is off', (machine: Machine) => machine.setSys(SCTLR_EL1, 0x30d0_0800n)],
  ])('has stores while %s', (_when, prepare) => {
    const { machine } = translated();
    prepare(machine);
    load(machine, [0xf900_0041], BOUNDARY);
    run(machine);
    startLog(machine);
    for (let round = 0; round < 2; round++) {
      run(machine);
      expect(take(machine)).toEqual([HIGH]);
    }
  });

  it('has nothing of a store that faults or that goes to read-only memory', () => {
    const { machine } = translated();
    startLog(machine);
    for (const at of [0x7000_0000, READ_ONLY]) {
      load(machine, [0xf900_0041], at);
      run(machine);
    }
    expect(take(machine)).toEqual([]);
  });

  it('is asked for by the host of every vCPU', () => {
    const { machine } = translated({ vcpus: 2 });
    const other = new Machine({ vcpus: 2 });
    load(other, [0xf900_0041], BOUNDARY);
    for (const index of [0, 1]) run(other, index);
    startLog(other);
    for (const index of [0, 1, 0, 1]) {
      run(other, index);
      expect(take(other)).toEqual([HIGH]);
    }
    machine.view.setUint32(machine.vcpu('CPU_RUNNING', 1), 1, true);
    logging(machine).revokeWrites();
    expect(logging(machine).writesRevoked()).toBe(0);
    machine.view.setUint32(machine.vcpu('CPU_RUNNING', 1), 0, true);
    expect(logging(machine).writesRevoked()).toBe(1);
  });

  it('costs nothing when it is off: nothing is noted', () => {
    const { machine } = translated();
    machine.execute((code) => code.mov(2, BOUNDARY).str(1, 2).sys(DC_ZVA, 2));
    expect(take(machine)).toEqual([]);
  });
});
