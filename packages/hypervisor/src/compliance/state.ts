import type { VcpuState } from '../vcpu.ts';
import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import type { Machine } from './machine.ts';
import { DATA, INPUTS, MMIO, RAM, REPORT } from './machine.ts';
import type { GuestProgram } from './program.ts';
import { counting } from './programs.ts';
import { eventually, expectCode } from './suite.ts';

/** Mixes a value from the host into a running sum, in registers and memory, for ever. */
function mixing(program: GuestProgram): void {
  program.set('b', 0x9e37_79b9_7f4a_7c15n).set('c', 1);
  program.label('again').load(4, 'a', MMIO).addRegister('c', 'a').addRegister('c', 'b').addRegister('b', 'c');
  program
    .store(8, 'c', DATA)
    .load(8, 'd', DATA)
    .addRegister('c', 'd')
    .store(8, 'c', MMIO + 8)
    .jump('again');
}

/** Answers one read and returns what the guest then stores. */
function step(machine: Machine, answer: number): bigint {
  const read = machine.runToMmio();
  read.value = answer;
  const write = machine.runToMmio();
  return (BigInt(write.valueHigh) << 32n) | BigInt(write.value);
}

/** Makes `to`, which has been made like `from`, go on where that stands: memory and vCPU 0. */
export function copyMachine(from: Machine, to: Machine): void {
  const state = structuredClone(from.vcpu.save());
  to.ram.bytes.set(from.ram.bytes);
  to.vcpu.restore(state);
}

/** As {@link copyMachine}, with the interrupt controller. */
export function copyWithInterrupts(from: Machine, to: Machine): void {
  copyMachine(from, to);
  to.interrupts.restore(structuredClone(from.interrupts.save()));
}

export const stateTests: readonly GuestTest[] = [
  guestTest('a guest goes on in another VM as if nothing had happened', async (context) => {
    await using original = await context.running(mixing);
    await using copy = await context.createMachine();
    for (let round = 0; round < 5; round++) step(original, round);
    copyMachine(original, copy);
    for (let round = 0; round < 20; round++) {
      context.assert.equal(step(copy, round * 3), step(original, round * 3), `value ${round}`);
    }
    context.assert.equal(
      [...copy.ram.bytes.subarray(DATA - RAM, DATA - RAM + 64)],
      [...original.ram.bytes.subarray(DATA - RAM, DATA - RAM + 64)],
      'memory',
    );
  }),

  guestTest('a read that was answered, but not completed, is completed after restoring', async (context) => {
    await using original = await context.running(mixing);
    await using copy = await context.createMachine();
    original.runToMmio().value = 77;
    copyMachine(original, copy);
    const expected = original.runToMmio();
    const value = [expected.address, expected.value, expected.valueHigh];
    const actual = copy.runToMmio();
    context.assert.equal([actual.address, actual.value, actual.valueHigh], value, 'the next store');
  }),

  guestTest('saving changes nothing, and two saves are equal', async (context) => {
    await using machine = await context.running(mixing);
    const stored = step(machine, 4);
    const first = machine.vcpu.save();
    const second = machine.vcpu.save();
    context.assert.equal(second.registers, first.registers, 'registers');
    context.assert.equal(first.arch, context.hypervisor.arch, 'architecture');
    context.assert.equal(first.registers[machine.registerName('c')], stored, 'a register in the state');
  }),

  guestTest('a vCPU can be taken back to an earlier state with its memory', async (context) => {
    await using machine = await context.running(mixing);
    step(machine, 1);
    const state = machine.vcpu.save();
    const memory = machine.ram.bytes.slice();
    const once = [2, 3, 4].map((answer) => step(machine, answer));
    machine.ram.bytes.set(memory);
    machine.vcpu.restore(state);
    const again = [2, 3, 4].map((answer) => step(machine, answer));
    context.assert.equal(again, once, 'the second time');
  }),

  guestTest('restored memory may hold other code', async (context) => {
    await using machine = await context.running((program) => {
      program.label('again').set('a', 1).store(4, 'a', MMIO).jump('again');
    });
    machine.runToMmio();
    const state = machine.vcpu.save();
    machine.load((program) => program.label('again').set('a', 2).store(4, 'a', MMIO).jump('again'));
    machine.vcpu.restore(state);
    machine.runToMmio();
    context.assert.equal(machine.runToMmio().value, 2, 'what the new code stores');
  }),

  guestTest('a paused vCPU thread can be saved and goes on in another VM', async (context) => {
    await using original = await context.running(counting);
    await using copy = await context.createMachine();
    const thread = original.vcpu.start(() => 'resume');
    await eventually(() => original.word(DATA) !== 0);
    await original.vcpu.pause();
    copyMachine(original, copy);
    await original.vcpu.stop();
    await thread;
    const counted = copy.getRegister('a');
    context.assert.equal(original.getRegister('a'), counted, 'the register in the copy');
    const before = copy.word(DATA);
    const continued = copy.vcpu.start(() => 'resume');
    await eventually(() => copy.word(DATA) > before + 1);
    await copy.vcpu.stop();
    await continued;
    context.assert.ok(copy.getRegister('a') > counted, 'the copy counts on');
  }),

  guestTest('a state that save() did not make is refused and changes nothing', async (context) => {
    await using machine = await context.running(mixing);
    step(machine, 4);
    const { vcpu } = machine;
    const state = vcpu.save();
    const flipped = (offset: number): Uint8Array => {
      const bytes = state.opaque.slice();
      bytes[offset < 0 ? bytes.length + offset : offset]! ^= 1;
      return bytes;
    };
    const name = machine.registerName('c');
    const { [name]: value, ...missing } = state.registers;
    const other = state.arch === 'aarch64' ? 'x86_64' : 'aarch64';
    const bad: Record<string, unknown> = {
      null: null,
      'another version': { ...state, version: state.version + 1 },
      'another architecture': { ...state, arch: other },
      'no registers': { ...state, registers: undefined },
      'a register too few': { ...state, registers: missing },
      'a register too many': { ...state, registers: { ...state.registers, x31: 0n } },
      'a register that is no bigint': { ...state, registers: { ...missing, [name]: Number(value ?? 0n) } },
      'a register that is too wide': { ...state, registers: { ...missing, [name]: 1n << 64n } },
      'nothing opaque': { ...state, opaque: new Uint8Array(0) },
      'opaque bytes cut short': { ...state, opaque: state.opaque.slice(0, -1) },
      'opaque bytes too long': { ...state, opaque: new Uint8Array([...state.opaque, 0]) },
      'a damaged header': { ...state, opaque: flipped(0) },
      'a damaged version': { ...state, opaque: flipped(4) },
      'a damaged end': { ...state, opaque: flipped(-1) },
    };
    for (const [what, damaged] of Object.entries(bad)) {
      await expectCode(context.assert, 'INVALID_ARGUMENT', what, () => vcpu.restore(damaged as VcpuState));
    }
    context.assert.equal(vcpu.save().registers, state.registers, 'registers afterwards');
  }),

  guestTest('the interrupt controller goes on in another VM', async (context) => {
    const { assert } = context;
    await using original = await context.createMachine({ interrupts: true });
    await using copy = await context.createMachine({ interrupts: true });
    original.loadInterruptGuest([{ gsi: INPUTS.level, edge: false }]);
    const number = original.reported(INPUTS.level);
    assert.equal(original.runToMmio().address, MMIO + REPORT.READY, 'the guest is ready');
    original.interrupts.setLine(INPUTS.level, true);
    copyWithInterrupts(original, copy);
    for (const machine of [original, copy]) {
      const exit = machine.runToMmio();
      assert.equal([exit.address, exit.value], [MMIO + REPORT.IRQ, number], 'the pending interrupt is taken');
    }
    copy.interrupts.setLine(INPUTS.level, false);
    assert.equal(copy.runToMmio().address, MMIO + REPORT.END, 'its end');
    copy.interrupts.setLine(INPUTS.level, true);
    assert.equal(copy.runToMmio().value, number, 'and a later one');
  }),

  guestTest(
    'an interrupt that is being handled ends in another VM, and the next one follows',
    async (context) => {
      const { assert } = context;
      await using original = await context.createMachine({ interrupts: true });
      await using copy = await context.createMachine({ interrupts: true });
      original.loadInterruptGuest([
        { gsi: INPUTS.edge, edge: true },
        { gsi: INPUTS.high, edge: true },
      ]);
      original.runToMmio();
      original.interrupts.pulse(INPUTS.edge);
      const first = original.runToMmio();
      assert.equal(
        [first.address, first.value],
        [MMIO + REPORT.IRQ, original.reported(INPUTS.edge)],
        'taken',
      );
      // Pending behind the one that is active.
      original.interrupts.pulse(INPUTS.edge);
      copyWithInterrupts(original, copy);
      for (const machine of [original, copy]) {
        assert.equal(machine.runToMmio().address, MMIO + REPORT.END, 'its end');
        const next = machine.runToMmio();
        assert.equal(
          [next.address, next.value],
          [MMIO + REPORT.IRQ, machine.reported(INPUTS.edge)],
          'the next',
        );
        assert.equal(machine.runToMmio().address, MMIO + REPORT.END, 'and its end');
        machine.interrupts.pulse(INPUTS.high);
        assert.equal(machine.runToMmio().value, machine.reported(INPUTS.high), 'another input');
      }
    },
  ),

  guestTest('a state of an interrupt controller that save() did not make is refused', async (context) => {
    await using machine = await context.createMachine({ interrupts: true });
    const { interrupts } = machine;
    const state = interrupts.save() as { version: number; opaque: Uint8Array };
    const flipped = state.opaque.slice();
    flipped[flipped.length - 1]! ^= 1;
    const bad: Record<string, unknown> = {
      null: null,
      'another version': { ...state, version: state.version + 1 },
      'another controller': { ...state, model: 'vic', mode: 'vic' },
      'nothing opaque': { ...state, opaque: undefined },
      'opaque bytes cut short': { ...state, opaque: state.opaque.slice(0, -4) },
      'damaged bytes': { ...state, opaque: flipped },
    };
    for (const [what, damaged] of Object.entries(bad)) {
      await expectCode(context.assert, 'INVALID_ARGUMENT', what, () => interrupts.restore(damaged));
    }
    interrupts.restore(state);
  }),
];
