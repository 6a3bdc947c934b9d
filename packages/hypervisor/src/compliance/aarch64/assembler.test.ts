import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Assembler } from './assembler.ts';
import { sysreg } from '../../aarch64.ts';

/** Source as GNU as takes it, the word that it makes of it, and the call that must make the same word. */
const cases: readonly (readonly [string, number, (a: Assembler) => Assembler])[] = [
  ['movz x3, #0x1234', 0xd282_4683, (a) => a.movz(3, 0x1234)],
  ['movz x30, #0xffff, lsl #48', 0xd2ff_fffe, (a) => a.movz(30, 0xffff, 48)],
  ['movk x7, #0x8000, lsl #16', 0xf2b0_0007, (a) => a.movk(7, 0x8000, 16)],
  ['mov x1, x2', 0xaa02_03e1, (a) => a.mov(1, 2)],
  ['orr x1, x2, x3', 0xaa03_0041, (a) => a.orr(1, 2, 3)],
  ['and x29, x30, x0', 0x8a00_03dd, (a) => a.and(29, 30, 0)],
  ['eor x4, x5, x6', 0xca06_00a4, (a) => a.eor(4, 5, 6)],
  ['add x4, x5, x6', 0x8b06_00a4, (a) => a.add(4, 5, 6)],
  ['sub x4, x5, x6', 0xcb06_00a4, (a) => a.sub(4, 5, 6)],
  ['mul x4, x5, x6', 0x9b06_7ca4, (a) => a.mul(4, 5, 6)],
  ['cmp x5, x6', 0xeb06_00bf, (a) => a.cmp(5, 6)],
  ['add x4, x5, #4095', 0x913f_fca4, (a) => a.addImmediate(4, 5, 4095)],
  ['sub sp, sp, #16', 0xd100_43ff, (a) => a.subImmediate(31, 31, 16)],
  ['cmp x9, #10', 0xf100_293f, (a) => a.cmpImmediate(9, 10)],
  ['lsl x4, x5, #3', 0xd37d_f0a4, (a) => a.lsl(4, 5, 3)],
  ['lsl x4, x5, #0', 0xd340_fca4, (a) => a.lsl(4, 5, 0)],
  ['lsl x4, x5, #63', 0xd341_00a4, (a) => a.lsl(4, 5, 63)],
  ['ldrb w1, [x2, #3]', 0x3940_0c41, (a) => a.load(1, 1, 2, 3)],
  ['ldrh w1, [x2, #6]', 0x7940_0c41, (a) => a.load(2, 1, 2, 6)],
  ['ldr w1, [x2, #12]', 0xb940_0c41, (a) => a.load(4, 1, 2, 12)],
  ['ldr x1, [x2, #32760]', 0xf97f_fc41, (a) => a.load(8, 1, 2, 32760)],
  ['strb w1, [x2, #3]', 0x3900_0c41, (a) => a.store(1, 1, 2, 3)],
  ['strh w1, [sp]', 0x7900_03e1, (a) => a.store(2, 1, 31)],
  ['str w1, [x2, #12]', 0xb900_0c41, (a) => a.store(4, 1, 2, 12)],
  ['str xzr, [x2, #8]', 0xf900_045f, (a) => a.store(8, 31, 2, 8)],
  ['ldp x1, x2, [x3, #-16]', 0xa97f_0861, (a) => a.loadPair(1, 2, 3, -16)],
  ['stp x1, x2, [x3, #504]', 0xa91f_8861, (a) => a.storePair(1, 2, 3, 504)],
  ['str q7, [x3, #16]', 0x3d80_0467, (a) => a.storeVector(7, 3, 16)],
  ['ldr q31, [x3]', 0x3dc0_007f, (a) => a.loadVector(31, 3)],
  ['ldaxr x5, [x6]', 0xc85f_fcc5, (a) => a.loadExclusive(5, 6)],
  ['stlxr w7, x5, [sp]', 0xc807_ffe5, (a) => a.storeExclusive(7, 5, 31)],
  ['back: b .', 0x1400_0000, (a) => a.label('back').b('back')],
  ['bl back', 0x97ff_ffff, (a) => a.bl('back')],
  ['b.ne back', 0x54ff_ffc1, (a) => a.bCond('ne', 'back')],
  ['b.le ahead', 0x5400_00ad, (a) => a.bCond('le', 'ahead')],
  ['cbz x3, back', 0xb4ff_ff83, (a) => a.cbz(3, 'back')],
  ['cbnz x30, ahead', 0xb500_007e, (a) => a.cbnz(30, 'ahead')],
  ['adr x5, back', 0x10ff_ff45, (a) => a.adr(5, 'back')],
  ['adr x6, ahead', 0x1000_0026, (a) => a.adr(6, 'ahead')],
  ['ahead: br x17', 0xd61f_0220, (a) => a.label('ahead').br(17)],
  ['ret', 0xd65f_03c0, (a) => a.ret()],
  ['mrs x1, vbar_el1', 0xd538_c001, (a) => a.mrs(1, sysreg(3, 0, 12, 0, 0))],
  ['msr vbar_el1, x1', 0xd518_c001, (a) => a.msr(sysreg(3, 0, 12, 0, 0), 1)],
  ['mrs x2, icc_iar1_el1', 0xd538_cc02, (a) => a.mrs(2, sysreg(3, 0, 12, 12, 0))],
  ['msr mdscr_el1, x2', 0xd510_0242, (a) => a.msr(sysreg(2, 0, 0, 2, 2), 2)],
  ['mrs x0, cntvct_el0', 0xd53b_e040, (a) => a.mrs(0, sysreg(3, 3, 14, 0, 2))],
  ['msr daifset, #15', 0xd503_4fdf, (a) => a.daifSet(15)],
  ['msr daifclr, #2', 0xd503_42ff, (a) => a.daifClear(2)],
  ['hvc #0', 0xd400_0002, (a) => a.hvc(0)],
  ['svc #5', 0xd400_00a1, (a) => a.svc(5)],
  ['eret', 0xd69f_03e0, (a) => a.eret()],
  ['nop', 0xd503_201f, (a) => a.nop()],
  ['wfi', 0xd503_207f, (a) => a.wfi()],
  ['isb', 0xd503_3fdf, (a) => a.isb()],
  ['dsb sy', 0xd503_3f9f, (a) => a.dsb()],
  ['.word 0x0000dead', 0x0000_dead, (a) => a.udf(0xdead)],
];

function haveBinutils(): boolean {
  try {
    execFileSync('aarch64-linux-gnu-as', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('Assembler', () => {
  it('makes the words that GNU as makes of the same source', () => {
    const assembler = new Assembler();
    for (const [, , emit] of cases) emit(assembler);
    const view = new DataView(assembler.bytes().buffer);
    const differing = cases.flatMap(([text, expected], index) => {
      const actual = view.getUint32(index * 4, true);
      return expected === actual ? [] : [`${text}: ${expected.toString(16)} != ${actual.toString(16)}`];
    });
    expect(differing).toEqual([]);
  });

  const whereInstalled = haveBinutils() ? it : it.skip;

  whereInstalled('is tested with words that the installed GNU as still makes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'assembler-'));
    try {
      const source = join(folder, 'a.s');
      const object = join(folder, 'a.o');
      const binary = join(folder, 'a.bin');
      writeFileSync(source, cases.map(([text]) => `${text}\n`).join(''));
      execFileSync('aarch64-linux-gnu-as', ['-o', object, source]);
      execFileSync('aarch64-linux-gnu-objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
      const words = readFileSync(binary);
      expect(cases.map((_, index) => words.readUInt32LE(index * 4))).toEqual(cases.map(([, word]) => word));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('loads any 64-bit constant with the moves that it needs', () => {
    const count = (value: number | bigint): number => new Assembler().movImmediate(0, value).offset / 4;
    expect(count(0)).toBe(1);
    expect(count(0xffff)).toBe(1);
    expect(count(0x4000_0000)).toBe(2);
    expect(count(-1n)).toBe(4);
  });

  it('refuses what an instruction cannot hold', () => {
    const a = new Assembler();
    expect(() => a.movz(32, 0)).toThrow(RangeError);
    expect(() => a.movz(0, 0x1_0000)).toThrow(RangeError);
    expect(() => a.load(4, 0, 0, 2)).toThrow(RangeError);
    expect(() => a.label('x').label('x')).toThrow(RangeError);
    expect(() => new Assembler().b('nowhere').bytes()).toThrow(RangeError);
  });
});
