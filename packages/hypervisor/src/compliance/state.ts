import type { VcpuState } from '../vcpu.ts';
import type { GicState } from '../aarch64.ts';
import { interruptGuest, REPORT_IRQ, REPORT_READY } from './interrupt-guest.ts';
import { DATA, Machine, MMIO, RAM, X_DATA, X_MMIO } from './machine.ts';
import type { Assembler } from './assembler.ts';
import type { ComplianceTest } from './suite.ts';
import { eventually, expectCode, test } from './suite.ts';

const TPIDR_EL1 = 0xc684;

/** Mixes a value from the host into a running sum, in registers, vectors and memory, for ever. */
function mixing(a: Assembler): void {
  a.movImmediate(0, 3n << 20n)
    .msr(0xc082, 0)
    .isb();
  a.movImmediate(2, 0x9e37_79b9_7f4a_7c15n).movz(3, 1);
  a.label('again').load(4, 4, X_MMIO).add(3, 3, 4).mul(3, 3, 2).store(8, 3, X_DATA).loadVector(5, X_DATA);
  a.storeVector(5, X_DATA, 16).msr(TPIDR_EL1, 3).mrs(6, TPIDR_EL1).eor(3, 3, 6).eor(3, 3, 6);
  a.store(8, 3, X_MMIO, 8).b('again');
}

/** Answers one read and returns what the guest then stores. */
function step(machine: Machine, answer: number): bigint {
  const read = machine.runToMmio();
  read.value = answer;
  const write = machine.runToMmio();
  return (BigInt(write.valueHigh) << 32n) | BigInt(write.value);
}

function copyMachine(from: Machine, to: Machine): void {
  to.ram.bytes.set(from.ram.bytes);
  to.vcpu.restore(structuredClone(from.vcpu.save()));
}

export const stateTests: readonly ComplianceTest[] = [
  test('a guest goes on in another VM as if nothing had happened', async (context) => {
    await using original = await Machine.running(context, mixing);
    await using copy = await Machine.create(context);
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

  test('a read that was answered, but not completed, is completed after restoring', async (context) => {
    await using original = await Machine.running(context, mixing);
    await using copy = await Machine.create(context);
    original.runToMmio().value = 77;
    copyMachine(original, copy);
    const expected = original.runToMmio();
    const value = [expected.address, expected.value, expected.valueHigh];
    const actual = copy.runToMmio();
    context.assert.equal([actual.address, actual.value, actual.valueHigh], value, 'the next store');
  }),

  test('saving changes nothing, and two saves are equal', async (context) => {
    await using machine = await Machine.running(context, mixing);
    step(machine, 4);
    const first = machine.vcpu.save();
    const second = machine.vcpu.save();
    context.assert.equal(second.registers, first.registers, 'registers');
    context.assert.equal(first.arch, 'aarch64', 'architecture');
    context.assert.equal(first.registers['pc'], machine.vcpu.getRegister('pc'), 'pc among the registers');
    context.assert.equal(first.registers['v5'], machine.vcpu.getRegister('v5'), 'v5 among the registers');
    context.assert.equal(
      first.registers['tpidr_el1'],
      machine.vcpu.getSystemRegister(TPIDR_EL1),
      'tpidr_el1',
    );
  }),

  test('a vCPU can be taken back to an earlier state with its memory', async (context) => {
    await using machine = await Machine.running(context, mixing);
    step(machine, 1);
    const state = machine.vcpu.save();
    const memory = machine.ram.bytes.slice();
    const once = [2, 3, 4].map((answer) => step(machine, answer));
    machine.ram.bytes.set(memory);
    machine.vcpu.restore(state);
    const again = [2, 3, 4].map((answer) => step(machine, answer));
    context.assert.equal(again, once, 'the second time');
  }),

  test('restored memory may hold other code', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.label('again').movz(0, 1).store(4, 0, X_MMIO).b('again');
    });
    machine.runToMmio();
    const state = machine.vcpu.save();
    machine.load((a) => a.label('again').movz(0, 2).store(4, 0, X_MMIO).b('again'));
    machine.vcpu.restore(state);
    machine.runToMmio();
    context.assert.equal(machine.runToMmio().value, 2, 'what the new code stores');
  }),

  test('a paused vCPU thread can be saved and goes on in another VM', async (context) => {
    await using original = await Machine.running(context, (a) => {
      a.movz(0, 0).label('again').addImmediate(0, 0, 1).store(8, 0, X_DATA).b('again');
    });
    await using copy = await Machine.create(context);
    const thread = original.vcpu.start(() => 'resume');
    await eventually(() => original.word(DATA) !== 0);
    await original.vcpu.pause();
    copyMachine(original, copy);
    await original.vcpu.stop();
    await thread;
    const x0 = copy.vcpu.getRegister('x0');
    context.assert.equal(original.vcpu.getRegister('x0'), x0, 'x0 in the copy');
    const before = copy.word(DATA);
    const continued = copy.vcpu.start(() => 'resume');
    await eventually(() => copy.word(DATA) !== before);
    await copy.vcpu.stop();
    await continued;
    context.assert.ok(copy.vcpu.getRegister('x0') > x0, 'the copy counts on');
  }),

  test('a state that save() did not make is refused and changes nothing', async (context) => {
    await using machine = await Machine.running(context, mixing);
    step(machine, 4);
    const { vcpu } = machine;
    const state = vcpu.save();
    const flipped = (offset: number): Uint8Array => {
      const bytes = state.opaque.slice();
      bytes[offset < 0 ? bytes.length + offset : offset]! ^= 1;
      return bytes;
    };
    const { x3, ...missing } = state.registers;
    const bad: Record<string, unknown> = {
      null: null,
      'another version': { ...state, version: state.version + 1 },
      'another architecture': { ...state, arch: 'x86_64' },
      'no registers': { ...state, registers: undefined },
      'a register too few': { ...state, registers: missing },
      'a register too many': { ...state, registers: { ...state.registers, x31: 0n } },
      'a register that is no bigint': { ...state, registers: { ...missing, x3: Number(x3 ?? 0n) } },
      'a register that is too wide': { ...state, registers: { ...missing, x3: 1n << 64n } },
      'an unknown mode': { ...state, registers: { ...state.registers, pstate: 0x3c9n } },
      'nothing opaque': { ...state, opaque: new Uint8Array(0) },
      'opaque bytes cut short': { ...state, opaque: state.opaque.slice(0, -1) },
      'opaque bytes too long': { ...state, opaque: new Uint8Array([...state.opaque, 0]) },
      'a damaged header': { ...state, opaque: flipped(0) },
      'a damaged version': { ...state, opaque: flipped(4) },
      'a damaged end': { ...state, opaque: flipped(-1) },
    };
    for (const [what, value] of Object.entries(bad)) {
      await expectCode(context.assert, 'INVALID_ARGUMENT', what, () => vcpu.restore(value as VcpuState));
    }
    context.assert.equal(vcpu.save().registers, state.registers, 'registers afterwards');
  }),

  test('the interrupt controller goes on in another VM', async (context) => {
    const spi = { intid: 70, edge: false };
    const { assert } = context;
    await using original = await Machine.running(context, (a) => interruptGuest(a, [spi]));
    await using copy = await Machine.create(context);
    const gic = original.createGic();
    const copiedGic = copy.createGic();
    assert.equal(original.runToMmio().address, MMIO + REPORT_READY, 'the guest is ready');
    gic.setSpi(spi.intid, true);
    copyMachine(original, copy);
    copiedGic.restore(structuredClone(gic.save()));
    for (const machine of [original, copy]) {
      const exit = machine.runToMmio();
      assert.equal(
        [exit.address, exit.value],
        [MMIO + REPORT_IRQ, spi.intid],
        'the pending interrupt is taken',
      );
    }
    copiedGic.setSpi(spi.intid, false);
    copy.runToMmio();
    copiedGic.setSpi(spi.intid, true);
    assert.equal(copy.runToMmio().value, spi.intid, 'and a later one');
  }),

  test('a state of an interrupt controller that save() did not make is refused', async (context) => {
    await using machine = await Machine.create(context);
    const gic = machine.createGic();
    const state = gic.save();
    const flipped = state.opaque.slice();
    flipped[flipped.length - 1]! ^= 1;
    const bad: Record<string, unknown> = {
      null: null,
      'another version': { ...state, version: state.version + 1 },
      'another model': { ...state, model: 'pic' },
      'nothing opaque': { ...state, opaque: undefined },
      'opaque bytes cut short': { ...state, opaque: state.opaque.slice(0, -4) },
      'damaged bytes': { ...state, opaque: flipped },
    };
    for (const [what, value] of Object.entries(bad)) {
      await expectCode(context.assert, 'INVALID_ARGUMENT', what, () => gic.restore(value as GicState));
    }
    gic.restore(state);
  }),
];
