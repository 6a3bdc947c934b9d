import type { Aarch64CoreRegister } from '../../aarch64.ts';
import { sysreg } from '../../aarch64.ts';
import { MMIO, REPORT } from '../machine.ts';
import { copyWithInterrupts } from '../state.ts';
import { expectCode } from '../suite.ts';
import { XZR } from './assembler.ts';
import {
  CNTV_CTL_EL0,
  CNTV_CVAL_EL0,
  CNTV_TVAL_EL0,
  CNTVCT_EL0,
  sendSgi,
  setUpGic,
  setUpVectors,
  vectors,
  VIRTUAL_TIMER,
} from './interrupt-guest.ts';
import { Aarch64Machine } from './machine.ts';
import { X_DATA, X_MMIO } from './map.ts';
import type { Aarch64Test } from './test.ts';
import { test } from './test.ts';

const TPIDR_EL1 = sysreg(3, 0, 13, 0, 4);
const VBAR_EL1 = sysreg(3, 0, 12, 0, 0);
const CPACR_EL1 = sysreg(3, 0, 1, 0, 2);

export const stateTests: readonly Aarch64Test[] = [
  test('vector and system registers are part of the state', async (context) => {
    await using original = await Aarch64Machine.create(context);
    await using copy = await Aarch64Machine.create(context);
    const { assert } = context;
    const core = new Map<Aarch64CoreRegister, bigint>([
      ['v0', 0x0011_2233_4455_6677_8899_aabb_ccdd_eeffn],
      ['v31', (1n << 128n) - 1n],
      ['fpcr', 0x0300_0000n],
      ['sp_el0', 0x1234_5670n],
      ['sp_el1', 0x8765_4320n],
      ['x30', 0xffff_ffff_ffff_fff0n],
    ]);
    for (const [name, value] of core) original.vcpu.setRegister(name, value);
    original.vcpu.setSystemRegister(TPIDR_EL1, 0x55n);
    original.vcpu.setSystemRegister(VBAR_EL1, 0x8000_0800n);
    const state = original.vcpu.save();
    copy.vcpu.restore(structuredClone(state));
    for (const [name, value] of core) {
      assert.equal(copy.vcpu.getRegister(name), value, name);
      assert.equal(state.registers[name], value, `${name} in the state`);
    }
    assert.equal(copy.vcpu.getSystemRegister(TPIDR_EL1), 0x55n, 'tpidr_el1');
    assert.equal(state.registers['tpidr_el1'], 0x55n, 'tpidr_el1 in the state');
    assert.equal(copy.vcpu.getSystemRegister(VBAR_EL1), 0x8000_0800n, 'vbar_el1');
  }),

  test('a guest goes on with its vector and system registers', async (context) => {
    await using original = await Aarch64Machine.running(context, (a) => {
      a.movImmediate(0, 3n << 20n)
        .msr(CPACR_EL1, 0)
        .isb();
      a.movImmediate(3, 0x1234_5678_9abc_def0n).store(8, 3, X_DATA).loadVector(5, X_DATA);
      a.msr(TPIDR_EL1, 3).store(4, 3, X_MMIO);
      a.storeVector(5, X_DATA, 16).load(8, 4, X_DATA, 16).mrs(6, TPIDR_EL1).add(4, 4, 6);
      a.store(8, 4, X_MMIO, 8);
    });
    await using copy = await Aarch64Machine.create(context);
    original.runToMmio();
    copy.vcpu.restore(structuredClone(original.vcpu.save()));
    copy.ram.bytes.set(original.ram.bytes);
    for (const machine of [original, copy]) {
      const exit = machine.runToMmio();
      context.assert.equal(
        [exit.address, exit.valueHigh, exit.value],
        [MMIO + 8, 0x2468_acf1, 0x3579_bde0],
        'what it stores',
      );
    }
  }),

  test('a state of an unknown mode is refused', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vcpu } = machine;
    const state = vcpu.save();
    const bad = { ...state, registers: { ...state.registers, pstate: 0x3c9n } };
    await expectCode(context.assert, 'INVALID_ARGUMENT', 'pstate', () => vcpu.restore(bad));
    context.assert.equal(vcpu.save().registers, state.registers, 'registers afterwards');
  }),

  test('a timer that has expired interrupts in another VM', async (context) => {
    const { assert } = context;
    await using original = await Aarch64Machine.create(context, { interrupts: true });
    await using copy = await Aarch64Machine.create(context, { interrupts: true });
    original.assemble((a) => {
      setUpVectors(a);
      setUpGic(a, original.gicVersion, []);
      a.movz(0, 1).msr(CNTV_TVAL_EL0, 0).msr(CNTV_CTL_EL0, 0).isb().movz(1, 4);
      a.label('again').mrs(0, CNTV_CTL_EL0).and(0, 0, 1).cbnz(0, 'fired').b('again');
      a.label('fired').store(4, XZR, X_MMIO, REPORT.READY).daifClear(2).label('wait').wfi().b('wait');
      vectors(a, original.gicVersion, (handler) => handler.movz(11, 0).msr(CNTV_CTL_EL0, 11).isb());
    });
    assert.equal(original.runToMmio().address, MMIO + REPORT.READY, 'the timer has expired, and is masked');
    copyWithInterrupts(original, copy);
    for (const machine of [original, copy]) {
      assert.equal(machine.runToMmio().value, VIRTUAL_TIMER, 'the interrupt taken');
      assert.equal(machine.runToMmio().address, MMIO + REPORT.END, 'its end');
    }
  }),

  test(
    'a timer that is armed interrupts at its time in another VM',
    async (context) => {
      await using original = await Aarch64Machine.create(context, {
        clock: 'instructions',
        interrupts: true,
      });
      await using copy = await Aarch64Machine.create(context, { clock: 'instructions', interrupts: true });
      original.assemble((a) => {
        setUpVectors(a);
        setUpGic(a, original.gicVersion, []);
        a.mrs(0, CNTVCT_EL0).movImmediate(1, 3600 * 62_500_000);
        a.add(0, 0, 1).msr(CNTV_CVAL_EL0, 0).movz(0, 1).msr(CNTV_CTL_EL0, 0).isb();
        a.daifClear(2).store(4, XZR, X_MMIO, REPORT.READY).label('wait').wfi().b('wait');
        vectors(a, original.gicVersion, (handler) => handler.movz(11, 0).msr(CNTV_CTL_EL0, 11).isb());
      });
      original.runToMmio();
      copyWithInterrupts(original, copy);
      const [expected, actual] = [original, copy].map((machine) => {
        const { address, value } = machine.runToMmio();
        return [address, value, machine.vcpu.getSystemRegister(CNTVCT_EL0)];
      });
      context.assert.equal(expected!.slice(0, 2), [MMIO + REPORT.IRQ, VIRTUAL_TIMER], 'the interrupt taken');
      context.assert.equal(actual, expected, 'the same at the same time');
    },
    ['instructionClock'],
  ),

  test(
    'a vCPU that waits for an interrupt waits in another VM, and the interrupt wakes it',
    async (context) => {
      const { assert } = context;
      await using original = await Aarch64Machine.create(context, { interrupts: true });
      await using copy = await Aarch64Machine.create(context, { interrupts: true });
      original.loadInterruptGuest([{ gsi: 5, edge: true }]);
      original.runToMmio();
      assert.equal(original.vcpu.run().reason, 'halt', 'it waits');
      copyWithInterrupts(original, copy);
      assert.equal(copy.vcpu.run().reason, 'halt', 'it waits in the copy');
      for (const machine of [original, copy]) {
        machine.interrupts.pulse(5);
        assert.equal(machine.runToMmio().value, machine.reported(5), 'the interrupt taken');
      }
    },
    ['haltExits'],
  ),

  test(
    'an interrupt of one vCPU to another that is off, and that it is off, are part of the state',
    async (context) => {
      const { assert } = context;
      const options = { interrupts: true, vcpus: 2 };
      await using original = await Aarch64Machine.create(context, options);
      await using copy = await Aarch64Machine.create(context, options);
      const seconds = [original, copy].map((machine) => machine.vm.createVcpu(1));
      const [second, secondCopy] = seconds;
      second!.poweredOff = true;
      original.assemble((a) => {
        setUpVectors(a);
        setUpGic(a, original.gicVersion, []);
        sendSgi(a, original.gicVersion, 0, 3);
        a.store(4, XZR, X_MMIO, REPORT.READY).daifClear(2).label('wait').wfi().b('wait');
        vectors(a, original.gicVersion);
      });
      original.runToMmio();
      secondCopy!.restore(structuredClone(second!.save()));
      copyWithInterrupts(original, copy);
      assert.equal(secondCopy!.poweredOff, true, 'the second vCPU is off');
      for (const machine of [original, copy]) {
        assert.equal(machine.runToMmio().value, 3, 'the software generated interrupt');
      }
    },
    ['smp'],
  ),
];
