import type { X86Register } from '../../x86.ts';
import { MMIO } from '../machine.ts';
import { eventually } from '../suite.ts';
import { APIC, APIC_ENABLE } from './interrupt-guest.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

const IA32_LSTAR = 0xc000_0082;
const IA32_KERNEL_GS_BASE = 0xc000_0102;
const IA32_TSC = 0x10;
const PORT = 0x80;
const SECOND = 1_000_000_000n;

export const stateTests: readonly X86Test[] = [
  test('every kind of register is part of the state', async (context) => {
    await using original = await X86Machine.create(context, { interrupts: true });
    await using copy = await X86Machine.create(context, { interrupts: true });
    const { assert } = context;
    const general = new Map<X86Register, bigint>([
      ['rax', 0xffff_ffff_ffff_fff0n],
      ['r15', 0x1234_5678_9abc_def0n],
      ['rip', 0x8000_1000n],
      ['rflags', 0x46n],
    ]);
    original.load((program) => program.store(4, 'a', MMIO));
    for (const [name, value] of general) original.vcpu.setRegister(name, value);
    original.vcpu.setMsr(IA32_LSTAR, 0xffff_8000_0000_2000n);
    original.vcpu.setMsr(IA32_KERNEL_GS_BASE, 0xffff_8000_0000_3000n);
    original.vcpu.setSpecialRegisters({ cr2: 0x1234_5000n, idt: { base: 0x9000n, limit: 0xff } });
    const apic = original.vcpu.getLocalApic();
    const registers = new DataView(apic.buffer, apic.byteOffset, apic.byteLength);
    registers.setUint32(APIC.SPURIOUS, APIC_ENABLE, true);
    registers.setUint32(APIC.TASK_PRIORITY, 0x30, true);
    original.vcpu.setLocalApic(apic);
    const state = original.vcpu.save();
    copy.vcpu.restore(structuredClone(state));
    for (const [name, value] of general) {
      assert.equal(copy.vcpu.getRegister(name), value, name);
      assert.equal(state.registers[name], value, `${name} in the state`);
    }
    assert.equal(copy.vcpu.getMsr(IA32_LSTAR), 0xffff_8000_0000_2000n, 'IA32_LSTAR');
    assert.equal(copy.vcpu.getMsr(IA32_KERNEL_GS_BASE), 0xffff_8000_0000_3000n, 'IA32_KERNEL_GS_BASE');
    assert.equal(copy.vcpu.getSpecialRegisters(), original.vcpu.getSpecialRegisters(), 'special registers');
    const copied = copy.vcpu.getLocalApic();
    const view = new DataView(copied.buffer, copied.byteOffset, copied.byteLength);
    assert.equal(view.getUint32(APIC.TASK_PRIORITY, true), 0x30, 'task priority');
  }),

  test(
    'the time stamp counter goes on',
    async (context) => {
      await using original = await X86Machine.create(context);
      await using copy = await X86Machine.create(context);
      original.vcpu.setMsr(IA32_TSC, 1n << 50n);
      copy.vcpu.restore(structuredClone(original.vcpu.save()));
      context.assert.ok(copy.vcpu.getMsr(IA32_TSC) >= 1n << 50n, 'its value');
    },
    ['tscWrites'],
  ),

  test('a port read that was answered, but not completed, is completed after restoring', async (context) => {
    await using original = await X86Machine.running(context, (a) => {
      a.in(4, PORT).movImmediate('rdi', MMIO).store(4, 'rax', 'rdi');
    });
    await using copy = await X86Machine.create(context);
    original.runToIo().value = 0x1234_5678;
    const state = structuredClone(original.vcpu.save());
    copy.ram.bytes.set(original.ram.bytes);
    copy.vcpu.restore(state);
    for (const machine of [original, copy]) {
      context.assert.equal(machine.runToMmio().value, 0x1234_5678, 'what the guest got');
    }
  }),

  test('the power state of a processor is part of its state', async (context) => {
    await using original = await X86Machine.create(context, { interrupts: true });
    await using copy = await X86Machine.create(context, { interrupts: true });
    original.vcpu.mpState = 'halted';
    copy.vcpu.restore(structuredClone(original.vcpu.save()));
    context.assert.equal(copy.vcpu.mpState, 'halted', 'state');
  }),

  test('a guest goes on in another VM, with the other irqchip mode refused', async (context) => {
    await using split = await X86Machine.create(context, { irqChip: { mode: 'split' } });
    await using kernel = await X86Machine.create(context, { irqChip: { mode: 'kernel' } });
    const { assert } = context;
    for (const [from, to] of [
      [split, kernel],
      [kernel, split],
    ] as const) {
      const state = from.irqChip.save();
      assert.equal(state.mode, from.irqChip.mode, 'mode');
      let code: unknown;
      try {
        to.irqChip.restore(state);
      } catch (error) {
        code = error instanceof Error && 'code' in error ? error.code : error;
      }
      assert.equal(code, 'INVALID_ARGUMENT', `from ${from.irqChip.mode}`);
      from.irqChip.restore(state);
    }
  }),

  test('the paravirtual clock goes on from where it is set', async (context) => {
    await using machine = await X86Machine.create(context, { interrupts: true });
    const { vm } = machine;
    vm.setClock(5000n * SECOND);
    const first = vm.getClock();
    context.assert.ok(first >= 5000n * SECOND && first < 6000n * SECOND, `${first} ns after setting it`);
    await eventually(() => vm.getClock() > first);
  }),
];
