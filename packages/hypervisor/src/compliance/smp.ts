import {
  CNTV_CTL_EL0,
  ICC_SGI1R_EL1,
  REPORT_IRQ,
  setUpGic,
  setUpRedistributor,
  setUpVectors,
  VIRTUAL_TIMER,
  vectors,
} from './interrupt-guest.ts';
import { DATA, Machine, MMIO, PSTATE_EL1H, RAM, X_DATA, X_MMIO } from './machine.ts';
import type { ComplianceTest } from './suite.ts';
import { eventually, expectCode, test } from './suite.ts';
import { sysreg } from '../aarch64.ts';

// IHI 0069 12.2.
const ICC_HPPIR1_EL1 = sysreg(3, 0, 12, 12, 2);
const NO_INTERRUPT = 1023;

// DEN 0022 5.
const PSCI_CPU_ON_64 = 0xc400_0003;

export const smpTests: readonly ComplianceTest[] = [
  test(
    'a second vCPU is started by PSCI CPU_ON and gets an SGI from the first',
    async (context) => {
      const sgi = 5;
      await using machine = await Machine.running(
        context,
        (a) => {
          a.b('boot').label('second');
          a.movImmediate(X_MMIO, MMIO).movImmediate(X_DATA, DATA);
          setUpVectors(a);
          setUpRedistributor(a, 1);
          a.daifClear(2).movz(0, 1).store(4, 0, X_DATA);
          a.label('sleep').wfi().b('sleep');
          a.label('boot');
          setUpGic(a, []);
          a.movImmediate(0, PSCI_CPU_ON_64).movz(1, 1).adr(2, 'second').movz(3, 7).hvc(0).store(4, 0, X_MMIO);
          a.label('poll').load(4, 0, X_DATA).cbz(0, 'poll');
          // TargetList bit 1: affinity 0.0.0.1.
          a.movImmediate(0, sgi * 2 ** 24 + 2)
            .msr(ICC_SGI1R_EL1, 0)
            .isb();
          a.label('end').wfi().b('end');
          vectors(a);
        },
        { vcpus: 2 },
      );
      const { vm, vcpu } = machine;
      const { assert } = context;
      const second = vm.createVcpu(1);
      second.poweredOff = true;
      machine.createGic();
      let answer = -1;
      let taken = -1;
      const threads = [
        vcpu.start((exit) => {
          answer = machine.mmio(exit).value;
          return 'resume';
        }),
        second.start((exit) => {
          const { address, value } = machine.mmio(exit);
          assert.equal(address, MMIO + REPORT_IRQ, 'what the second vCPU reports');
          taken = value;
          return 'stop';
        }),
      ];
      await threads[1];
      await vcpu.stop();
      await threads[0];
      assert.equal(answer, 0, 'PSCI SUCCESS');
      assert.equal(taken, sgi, 'the SGI');
      assert.equal(second.poweredOff, false, 'power state');
      assert.ok(second.getRegister('pc') >= BigInt(RAM), 'the second vCPU ran');
    },
    ['smp'],
  ),

  test(
    'exclusive accesses of two vCPUs to one counter lose nothing',
    async (context) => {
      const rounds = 100_000;
      await using machine = await Machine.running(
        context,
        (a) => {
          a.movImmediate(5, rounds).label('again').loadExclusive(0, X_DATA).addImmediate(0, 0, 1);
          a.storeExclusive(1, 0, X_DATA).cbnz(1, 'again').subImmediate(5, 5, 1).cbnz(5, 'again');
          a.store(8, 0, X_MMIO).label('end').b('end');
        },
        { vcpus: 2 },
      );
      const second = machine.vm.createVcpu(1);
      second.setRegister('pc', machine.vcpu.getRegister('pc'));
      second.setRegister('pstate', PSTATE_EL1H);
      await Promise.all([machine.vcpu.start(() => 'stop'), second.start(() => 'stop')]);
      context.assert.equal(machine.word(DATA), 2 * rounds, 'the counter');
    },
    ['smp'],
  ),

  test(
    "a vCPU's timer raises and lowers its line while another one uses the GIC",
    async (context) => {
      const rounds = 200_000;
      await using machine = await Machine.running(
        context,
        (a) => {
          setUpGic(a, []);
          a.cbz(22, 'ready');
          setUpRedistributor(a, 1);
          a.label('ready').movImmediate(5, rounds).label('again');
          // CNTV_CVAL_EL0 is 0, so that the timer fires when it is enabled; interrupts are masked.
          a.movz(0, 1).msr(CNTV_CTL_EL0, 0).mrs(1, ICC_HPPIR1_EL1);
          a.subImmediate(2, 1, VIRTUAL_TIMER).cbnz(2, 'end');
          a.movz(0, 0).msr(CNTV_CTL_EL0, 0).mrs(1, ICC_HPPIR1_EL1);
          a.subImmediate(2, 1, NO_INTERRUPT).cbnz(2, 'end');
          a.subImmediate(5, 5, 1).cbnz(5, 'again');
          a.label('end').store(4, 5, X_MMIO).b('end');
        },
        { vcpus: 2 },
      );
      const { vm, vcpu } = machine;
      const second = vm.createVcpu(1);
      second.setRegister('pc', vcpu.getRegister('pc'));
      second.setRegister('pstate', PSTATE_EL1H);
      second.setRegister('x22', 1n);
      machine.createGic();
      await Promise.all(
        [vcpu, second].map(async (each) =>
          each.start((exit) => {
            context.assert.equal(machine.mmio(exit).value, 0, `rounds that vCPU ${each.id} did not come to`);
            return 'stop';
          }),
        ),
      );
    },
    ['smp'],
  ),

  test(
    'a vCPU can be paused and saved while another one runs',
    async (context) => {
      await using machine = await Machine.running(
        context,
        (a) => a.label('again').addImmediate(0, 0, 1).store(8, 0, 22).b('again'),
        { vcpus: 2 },
      );
      const { vcpu, vm } = machine;
      const { assert } = context;
      const second = vm.createVcpu(1);
      second.setRegister('pc', vcpu.getRegister('pc'));
      second.setRegister('pstate', PSTATE_EL1H);
      vcpu.setRegister('x22', BigInt(DATA));
      second.setRegister('x22', BigInt(DATA + 8));
      const threads = [vcpu.start(() => 'resume'), second.start(() => 'resume')];
      await eventually(() => machine.word(DATA) !== 0 && machine.word(DATA + 8) !== 0);
      await vcpu.pause();
      const still = machine.word(DATA);
      const moving = machine.word(DATA + 8);
      await eventually(() => machine.word(DATA + 8) !== moving);
      assert.equal(machine.word(DATA), still, 'the paused one stands still');
      assert.equal(vcpu.save().registers['x22'], BigInt(DATA), 'and can be saved');
      await expectCode(assert, 'WRONG_STATE', 'saving the other one', () => second.save());
      await Promise.all([vcpu.stop(), second.stop(), ...threads]);
    },
    ['smp'],
  ),
];
