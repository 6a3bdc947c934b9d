import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { DATA, MMIO, RAM } from './machine.ts';
import { eventually, expectCode } from './suite.ts';

export const smpTests: readonly GuestTest[] = [
  guestTest(
    'atomic accesses of two vCPUs to one counter lose nothing',
    async (context) => {
      const rounds = 20_000;
      await using machine = await context.running(
        (program) => {
          program.set('a', rounds).label('again').incrementAtomically(DATA);
          program.subtract('a', 1).jumpIfNotZero('a', 'again').store(8, 'a', MMIO).label('end').jump('end');
        },
        { vcpus: 2 },
      );
      const second = machine.vm.createVcpu(1);
      machine.begin(second, RAM);
      await Promise.all([machine.vcpu.start(() => 'stop'), second.start(() => 'stop')]);
      context.assert.equal(machine.word(DATA), 2 * rounds, 'the counter');
    },
    ['smp'],
  ),

  guestTest(
    'a vCPU can be paused and saved while another one runs',
    async (context) => {
      await using machine = await context.running(
        (program) => {
          // Register `a` says which of the two this is.
          program.jumpIfNotZero('a', 'second');
          program.label('again').add('b', 1).store(8, 'b', DATA).jump('again');
          program
            .label('second')
            .add('b', 1)
            .store(8, 'b', DATA + 8)
            .jump('second');
        },
        { vcpus: 2 },
      );
      const { vcpu, vm } = machine;
      const { assert } = context;
      const second = vm.createVcpu(1);
      machine.begin(second, RAM);
      machine.setRegister('a', 1n, second);
      machine.setRegister('d', 0x1234n);
      const threads = [vcpu.start(() => 'resume'), second.start(() => 'resume')];
      await eventually(() => machine.word(DATA) !== 0 && machine.word(DATA + 8) !== 0);
      await vcpu.pause();
      const still = machine.word(DATA);
      const moving = machine.word(DATA + 8);
      await eventually(() => machine.word(DATA + 8) !== moving);
      assert.equal(machine.word(DATA), still, 'the paused one stands still');
      assert.equal(vcpu.save().registers[machine.registerName('d')], 0x1234n, 'and can be saved');
      await expectCode(assert, 'WRONG_STATE', 'saving the other one', () => second.save());
      await Promise.all([vcpu.stop(), second.stop(), ...threads]);
    },
    ['smp'],
  ),
];
