import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RealModeAssembler, X86Assembler } from './assembler.ts';

/** Source as GNU as takes it (Intel syntax), the bytes that it makes of it, and the call that must make the same. */
const cases: readonly (readonly [string, string, (a: X86Assembler) => X86Assembler])[] = [
  ['mov eax, 0x12345678', 'b878563412', (a) => a.movImmediate('rax', 0x1234_5678)],
  ['mov r9d, 0', '41b900000000', (a) => a.movImmediate('r9', 0)],
  [
    'movabs rbx, 0xfedcba9876543210',
    '48bb1032547698badcfe',
    (a) => a.movImmediate('rbx', 0xfedc_ba98_7654_3210n),
  ],
  ['movabs r15, 0xffffffffffffffff', '49bfffffffffffffffff', (a) => a.movImmediate('r15', -1)],
  ['mov rax, r15', '4c89f8', (a) => a.mov('rax', 'r15')],
  ['add r8, rbx', '4901d8', (a) => a.add('r8', 'rbx')],
  ['sub rdi, rsi', '4829f7', (a) => a.sub('rdi', 'rsi')],
  ['xor r9, r9', '4d31c9', (a) => a.xor('r9', 'r9')],
  ['test rcx, rdx', '4885d1', (a) => a.test('rcx', 'rdx')],
  ['cmp r10, rax', '4939c2', (a) => a.cmp('r10', 'rax')],
  ['add rbx, 0x12345', '4881c345230100', (a) => a.addImmediate('rbx', 0x1_2345)],
  ['sub r14, 0x12345', '4981ee45230100', (a) => a.subImmediate('r14', 0x1_2345)],
  ['shl r8, 4', '49c1e004', (a) => a.shl('r8', 4)],
  ['{disp32} movzx eax, byte ptr [r11]', '410fb68300000000', (a) => a.load(1, 'rax', 'r11')],
  ['{disp32} movzx r12d, word ptr [rsi+6]', '440fb7a606000000', (a) => a.load(2, 'r12', 'rsi', 6)],
  ['{disp32} mov ecx, dword ptr [rsp+8]', '8b8c2408000000', (a) => a.load(4, 'rcx', 'rsp', 8)],
  ['{disp32} mov rdx, qword ptr [r12-8]', '498b9424f8ffffff', (a) => a.load(8, 'rdx', 'r12', -8)],
  ['{disp32} mov byte ptr [rbp+1], sil', '4088b501000000', (a) => a.store(1, 'rsi', 'rbp', 1)],
  ['{disp32} mov byte ptr [r11], r9b', '45888b00000000', (a) => a.store(1, 'r9', 'r11')],
  ['{disp32} mov word ptr [r11+2], ax', '6641898302000000', (a) => a.store(2, 'rax', 'r11', 2)],
  ['{disp32} mov dword ptr [rdi], r13d', '4489af00000000', (a) => a.store(4, 'r13', 'rdi')],
  ['{disp32} mov qword ptr [r13], rbx', '49899d00000000', (a) => a.store(8, 'rbx', 'r13')],
  [
    '{disp32} mov dword ptr [rsi+0xf0], 0x1ff',
    'c786f0000000ff010000',
    (a) => a.storeImmediate(0x1ff, 'rsi', 0xf0),
  ],
  ['{disp32} lock inc qword ptr [r11]', 'f049ff8300000000', (a) => a.lockIncrement('r11')],
  ['push r12', '4154', (a) => a.push('r12')],
  ['pop rax', '58', (a) => a.pop('rax')],
  ['push 0x12345678', '6878563412', (a) => a.pushImmediate(0x1234_5678)],
  ['jmp r9', '41ffe1', (a) => a.jmpTo('r9')],
  ['iretq', '48cf', (a) => a.iretq()],
  ['out 0x80, al', 'e680', (a) => a.out(1, 0x80)],
  ['out 0x82, ax', '66e782', (a) => a.out(2, 0x82)],
  ['out 0x84, eax', 'e784', (a) => a.out(4, 0x84)],
  ['in al, 0x40', 'e440', (a) => a.in(1, 0x40)],
  ['in ax, 0x40', '66e540', (a) => a.in(2, 0x40)],
  ['in eax, 0x40', 'e540', (a) => a.in(4, 0x40)],
  ['out dx, ax', '66ef', (a) => a.outDx(2)],
  ['in eax, dx', 'ed', (a) => a.inDx(4)],
  ['rep outsb', 'f36e', (a) => a.repOuts(1)],
  ['rep outsw', '66f36f', (a) => a.repOuts(2)],
  ['rep insd', 'f36d', (a) => a.repIns(4)],
  ['cpuid', '0fa2', (a) => a.cpuid()],
  ['rdmsr', '0f32', (a) => a.rdmsr()],
  ['wrmsr', '0f30', (a) => a.wrmsr()],
  ['{disp32} fnstcw [rsi+2]', 'd9be02000000', (a) => a.fnstcw('rsi', 2)],
  ['ud2', '0f0b', (a) => a.ud2()],
  ['hlt', 'f4', (a) => a.hlt()],
  ['cli', 'fa', (a) => a.cli()],
  ['sti', 'fb', (a) => a.sti()],
  ['nop', '90', (a) => a.nop()],
  ['back: jmp.d32 back', 'e9fbffffff', (a) => a.label('back').jmp('back')],
  ['{disp32} jne back', '0f85f5ffffff', (a) => a.jcc('ne', 'back')],
  ['{disp32} jb ahead', '0f8207000000', (a) => a.jcc('b', 'ahead')],
  ['lea r8, [rip + ahead]', '4c8d0500000000', (a) => a.lea('r8', 'ahead')],
  ['ahead: nop', '90', (a) => a.label('ahead').nop()],
];

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Runs GNU as for x86-64, which machines of another architecture have under its long name. */
function assemble(source: string): string {
  const prefix = process.arch === 'x64' ? '' : 'x86_64-linux-gnu-';
  const folder = mkdtempSync(join(tmpdir(), 'assembler-'));
  try {
    const input = join(folder, 'a.s');
    const object = join(folder, 'a.o');
    const binary = join(folder, 'a.bin');
    writeFileSync(input, source);
    execFileSync(`${prefix}as`, ['-o', object, input]);
    execFileSync(`${prefix}objcopy`, ['-O', 'binary', '-j', '.text', object, binary]);
    return readFileSync(binary).toString('hex');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('X86Assembler', () => {
  it('makes the bytes that GNU as makes of the same source', () => {
    const assembler = new X86Assembler();
    const ends = cases.map(([, , emit]) => emit(assembler).offset);
    const all = hex(assembler.bytes());
    const differing = cases.flatMap(([source, expected], index) => {
      const actual = all.slice(2 * (ends[index - 1] ?? 0), 2 * ends[index]!);
      return actual === expected ? [] : [`${source}: ${actual} != ${expected}`];
    });
    expect(differing).toEqual([]);
  });

  it('is tested with bytes that GNU as still makes', () => {
    const source = cases.map(([text]) => `${text}\n`).join('');
    expect(assemble(`.intel_syntax noprefix\n${source}`)).toBe(cases.map(([, bytes]) => bytes).join(''));
  });

  it('refuses what an instruction cannot hold', () => {
    const a = new X86Assembler();
    expect(() => a.out(1, 0x100)).toThrow(RangeError);
    expect(() => a.byte(-1)).toThrow(RangeError);
    expect(() => a.label('x').label('x')).toThrow(RangeError);
    expect(() => new X86Assembler().jmp('nowhere').bytes()).toThrow(RangeError);
  });
});

describe('RealModeAssembler', () => {
  it('makes 16-bit code', () => {
    const code = new RealModeAssembler().movAl(0x5a).outAl(0x80).label('end').hlt().jmp('end').bytes();
    // mov $0x5a, %al; out %al, $0x80; end: hlt; jmpl end
    expect(hex(code)).toBe('b05ae680f466e9f9ffffff');
  });
});
