import type { CpuidEntry, X86Register, X86SpecialRegisters } from '../../x86.ts';
import { DATA, MMIO } from '../machine.ts';
import { expectCode } from '../suite.ts';
import { APIC, APIC_ENABLE } from './interrupt-guest.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

const GENERAL: readonly X86Register[] = [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const),
];

// Intel SDM Vol. 4 chapter 2.
const IA32_STAR = 0xc000_0081;
const IA32_PAT = 0x277;
const IA32_LSTAR = 0xc000_0082;
const IA32_KERNEL_GS_BASE = 0xc000_0102;
const UNKNOWN_MSR = 0x1234_5678;

/** First leaf of those that a hypervisor defines. */
const HYPERVISOR_LEAF = 0x4000_0000;

/** A different, full 64-bit pattern for each number. */
function pattern(number: number): bigint {
  return BigInt.asUintN(64, 0x9e37_79b9_7f4a_7c15n * BigInt(number + 1));
}

export const registerTests: readonly X86Test[] = [
  test('general registers keep what the host writes', async (context) => {
    await using machine = await X86Machine.create(context);
    const { vcpu } = machine;
    const values = new Map<X86Register, bigint>();
    for (const [index, name] of GENERAL.entries()) values.set(name, pattern(index));
    values.set('rip', 0x1234_5678n).set('rflags', 0x0046n);
    for (const [name, value] of values) vcpu.setRegister(name, value);
    for (const [name, value] of values) context.assert.equal(vcpu.getRegister(name), value, name);
  }),

  test('unknown registers and values that are too wide are refused', async (context) => {
    await using machine = await X86Machine.create(context);
    const { vcpu } = machine;
    const { assert } = context;
    for (const name of ['eax', 'r16', 'cr0', 'toString', ''] as const) {
      await expectCode(assert, 'INVALID_ARGUMENT', name, () => vcpu.getRegister(name as X86Register));
      await expectCode(assert, 'INVALID_ARGUMENT', name, () => vcpu.setRegister(name as X86Register, 0n));
    }
    await expectCode(assert, 'INVALID_ARGUMENT', 'rax', () => vcpu.setRegister('rax', 1n << 64n));
    await expectCode(assert, 'INVALID_ARGUMENT', 'rax', () => vcpu.setRegister('rax', -1n));
  }),

  test('special registers keep what is written, and those that are not given stay', async (context) => {
    await using machine = await X86Machine.create(context);
    const { vcpu } = machine;
    const { assert } = context;
    machine.load((program) => program.store(4, 'a', MMIO));
    const before = vcpu.getSpecialRegisters();
    const gs = { ...before.gs, base: 0xffff_8000_1234_5000n, selector: 0x33, dpl: 3 };
    const changes: Partial<X86SpecialRegisters> = {
      gs,
      gdt: { base: 0x1_2345_6000n, limit: 0x7f },
      idt: { base: 0xffff_ffff_8000_0000n, limit: 0xfff },
      cr2: 0xdead_beef_000n,
      cr3: 0x8001_2000n,
      cr8: 5n,
    };
    vcpu.setSpecialRegisters(changes);
    const after = vcpu.getSpecialRegisters();
    assert.equal(after, { ...before, ...changes }, 'special registers');
    vcpu.setSpecialRegisters({ cr2: 1n });
    assert.equal(vcpu.getSpecialRegisters(), { ...after, cr2: 1n }, 'after one more');
  }),

  test('an impossible set of special registers is refused', async (context) => {
    await using machine = await X86Machine.create(context);
    const { vcpu } = machine;
    machine.load((program) => program.store(4, 'a', MMIO));
    const before = vcpu.getSpecialRegisters();
    // Long mode needs PAE (Intel SDM Vol. 3 §9.8.5).
    await expectCode(context.assert, 'INVALID_ARGUMENT', 'cr4', () => vcpu.setSpecialRegisters({ cr4: 0n }));
    await expectCode(context.assert, 'INVALID_ARGUMENT', 'cr3', () =>
      vcpu.setSpecialRegisters({ cr3: 1n << 64n }),
    );
    context.assert.equal(vcpu.getSpecialRegisters(), before, 'special registers afterwards');
  }),

  test('the guest computes with what the host wrote, and the host reads the result', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.mov('r8', 'rax').add('r8', 'r15').shl('r8', 4).sub('r8', 'rbx').xor('r9', 'r9').addImmediate('r9', 7);
      a.movImmediate('rsi', DATA).store(8, 'r8', 'rsi').movImmediate('rdi', MMIO).store(4, 'r9', 'rdi');
    });
    const { vcpu } = machine;
    vcpu.setRegister('rax', 0x0123_4567_89ab_cdefn);
    vcpu.setRegister('r15', 0x1111_1111_1111_1111n);
    vcpu.setRegister('rbx', 5n);
    const expected = BigInt.asUintN(64, ((0x0123_4567_89ab_cdefn + 0x1111_1111_1111_1111n) << 4n) - 5n);
    context.assert.equal(machine.runToMmio().value, 7, 'what the guest stored');
    context.assert.equal(vcpu.getRegister('r8'), expected, 'r8');
    context.assert.equal(machine.word(DATA), Number(expected & 0xffff_ffffn), 'memory');
  }),

  test('the guest sees the CPUID leaves that were set', async (context) => {
    const leaf = (fn: number, index: number, significantIndex: boolean, base: number): CpuidEntry => ({
      function: fn,
      index,
      significantIndex,
      eax: base,
      ebx: base + 1,
      ecx: base + 2,
      edx: base + 3,
    });
    const supported = await context.hypervisor.supportedCpuid();
    context.assert.ok(
      supported.some((entry) => entry.function === 1),
      'leaf 1 is among those that can be offered',
    );
    const mine = [
      leaf(HYPERVISOR_LEAF, 0, false, 0x4000_0001),
      leaf(HYPERVISOR_LEAF + 1, 0, true, 0xf000_0000),
      leaf(HYPERVISOR_LEAF + 1, 1, true, 0x1234_0000),
    ];
    const entries = [...supported.filter((entry) => entry.function >>> 16 !== 0x4000), ...mine];
    await using machine = await X86Machine.create(context);
    machine.assemble((a) => {
      a.movImmediate('rdi', MMIO);
      for (const { function: fn, index } of mine) {
        a.movImmediate('rax', fn).movImmediate('rcx', index).cpuid();
        for (const register of ['rax', 'rbx', 'rcx', 'rdx'] as const) a.store(4, register, 'rdi');
      }
    });
    machine.vcpu.setCpuid(entries);
    for (const { eax, ebx, ecx, edx } of mine) {
      const seen = [0, 1, 2, 3].map(() => machine.runToMmio().value);
      context.assert.equal(seen, [eax, ebx, ecx, edx], 'EAX, EBX, ECX, EDX');
    }
    const read = machine.vcpu.getCpuid();
    for (const entry of mine) {
      context.assert.ok(
        read.some((other) => JSON.stringify(other) === JSON.stringify(entry)),
        `leaf 0x${entry.function.toString(16)} is read back`,
      );
    }
  }),

  test('model-specific registers go both ways, and unknown ones are refused', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdi', MMIO).movImmediate('rcx', IA32_KERNEL_GS_BASE).rdmsr();
      a.store(4, 'rax', 'rdi').store(4, 'rdx', 'rdi');
      a.movImmediate('rax', 0x89ab_c000).movImmediate('rdx', 0xffff_8000).movImmediate('rcx', IA32_LSTAR);
      a.wrmsr().store(4, 'rax', 'rdi');
    });
    const { vcpu } = machine;
    const { assert } = context;
    const values = new Map([
      [IA32_STAR, 0x0023_0010_1234_5678n],
      [IA32_PAT, 0x0007_0106_0007_0106n],
      [IA32_KERNEL_GS_BASE, 0xffff_c000_1234_5000n],
    ]);
    for (const [index, value] of values) vcpu.setMsr(index, value);
    for (const [index, value] of values)
      assert.equal(vcpu.getMsr(index), value, `MSR 0x${index.toString(16)}`);
    const seen = [machine.runToMmio().value, machine.runToMmio().value];
    assert.equal(seen, [0x1234_5000, 0xffff_c000], 'what the guest reads');
    machine.runToMmio();
    assert.equal(vcpu.getMsr(IA32_LSTAR), 0xffff_8000_89ab_c000n, 'what the guest wrote');
    for (const index of [UNKNOWN_MSR, -1, 2 ** 32, 0.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `getMsr(${index})`, () => vcpu.getMsr(index));
      await expectCode(assert, 'INVALID_ARGUMENT', `setMsr(${index})`, () => vcpu.setMsr(index, 1n));
    }
  }),

  test('resetFpu sets the x87 control word', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rsi', DATA).movImmediate('rdi', MMIO);
      a.fnstcw('rsi').load(2, 'rax', 'rsi').store(4, 'rax', 'rdi');
      a.fnstcw('rsi', 2).load(2, 'rax', 'rsi', 2).store(4, 'rax', 'rdi');
    });
    machine.vcpu.resetFpu(0x37f, 0x1f80);
    context.assert.equal(machine.runToMmio().value, 0x37f, 'FCW');
    machine.vcpu.resetFpu(0x27f, 0x1f80);
    context.assert.equal(machine.runToMmio().value, 0x27f, 'FCW afterwards');
  }),

  test("the local APIC's registers can be read and written", async (context) => {
    await using machine = await X86Machine.create(context, { interrupts: true, vcpus: 1 });
    const { vcpu } = machine;
    const { assert } = context;
    const registers = vcpu.getLocalApic();
    assert.equal(registers.length, 1024, 'bytes');
    const view = new DataView(registers.buffer, registers.byteOffset, registers.byteLength);
    assert.equal(view.getUint32(APIC.ID, true), 0, 'ID');
    assert.equal(view.getUint32(APIC.VERSION, true) & 0xf0, 0x10, 'version of an integrated APIC');
    view.setUint32(APIC.SPURIOUS, APIC_ENABLE, true);
    view.setUint32(APIC.TASK_PRIORITY, 0x20, true);
    vcpu.setLocalApic(registers);
    const after = vcpu.getLocalApic();
    const read = new DataView(after.buffer, after.byteOffset, after.byteLength);
    assert.equal(read.getUint32(APIC.SPURIOUS, true), APIC_ENABLE, 'spurious vector register');
    assert.equal(read.getUint32(APIC.TASK_PRIORITY, true), 0x20, 'task priority');
    await expectCode(assert, 'INVALID_ARGUMENT', 'half a page', () =>
      vcpu.setLocalApic(registers.subarray(512)),
    );
    await using without = await X86Machine.create(context);
    await expectCode(assert, 'WRONG_STATE', 'without interrupt controllers', () =>
      without.vcpu.getLocalApic(),
    );
  }),

  test(
    'vCPU 0 is runnable, others wait for INIT, and the state can be set',
    async (context) => {
      await using machine = await X86Machine.create(context, { interrupts: true, vcpus: 2 });
      const second = machine.vm.createVcpu(1);
      const { assert } = context;
      assert.equal([machine.vcpu.mpState, second.mpState], ['runnable', 'uninitialized'], 'at first');
      for (const state of ['halted', 'runnable', 'uninitialized'] as const) {
        second.mpState = state;
        assert.equal(second.mpState, state, 'what was set');
      }
    },
    ['smp'],
  ),
];
