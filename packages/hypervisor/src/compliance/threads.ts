import type { VcpuExit } from '../exit.ts';
import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { DATA, MMIO, RAM } from './machine.ts';
import { counting, PLACES } from './programs.ts';
import { eventually, expectCode, nextTurn } from './suite.ts';

const BELL = MMIO + 0x1000;
const QUEUE = MMIO + 0x2000;

export const threadTests: readonly GuestTest[] = [
  guestTest('exits of a vCPU thread reach the handler in order, and stop ends it', async (context) => {
    await using machine = await context.running((program) => {
      program
        .set('a', 0)
        .label('again')
        .store(4, 'a', MMIO)
        .load(4, 'b', MMIO + 4);
      program.addRegister('a', 'b').jump('again');
    });
    const { assert } = context;
    let expected = 0;
    let exits = 0;
    await machine.vcpu.start((exit) => {
      const access = machine.mmio(exit);
      if (access.write) {
        assert.equal(access.value, expected, `store ${exits}`);
        return ++exits === 200 ? 'stop' : 'resume';
      }
      access.value = 3;
      expected += 3;
      return 'resume';
    });
    assert.equal(exits, 200, 'exits');
    assert.equal(machine.getRegister('a'), BigInt(expected), 'the register after the end');
    assert.equal(machine.runToMmio().write, false, 'run() goes on where the thread ended');
  }),

  guestTest('a read by which the thread ended is completed when it goes on', async (context) => {
    await using machine = await context.running((program) => {
      program.load(4, 'a', MMIO).store(4, 'a', MMIO + 4);
    });
    await machine.vcpu.start((exit) => {
      machine.mmio(exit).value = 0x77;
      return 'stop';
    });
    let stored = 0;
    await machine.vcpu.start((exit) => {
      stored = machine.mmio(exit).value;
      return 'stop';
    });
    context.assert.equal(stored, 0x77, 'what the guest got');
  }),

  guestTest("the guest's end ends the thread whatever the handler answers", async (context) => {
    await using machine = await context.running((program) => program.end());
    const seen: VcpuExit['reason'][] = [];
    await machine.vcpu.start((exit) => {
      seen.push(exit.reason);
      return 'resume';
    });
    context.assert.equal(seen, [machine.endReason], 'exits');
  }),

  guestTest(
    'a handler that throws ends the thread, and start() rejects with what it threw',
    async (context) => {
      await using machine = await context.running((program) => {
        program.label('again').store(4, 'a', MMIO).jump('again');
      });
      const error = new Error('thrown by the handler');
      let caught: unknown;
      let exits = 0;
      try {
        await machine.vcpu.start(() => {
          exits++;
          throw error;
        });
      } catch (thrown) {
        caught = thrown;
      }
      context.assert.ok(caught === error, 'the very error');
      context.assert.equal(exits, 1, 'exits that were handled');
      await machine.vcpu.stop();
      machine.runToMmio();
    },
  ),

  guestTest('a doorbell callback that throws ends the threads, and start() rejects', async (context) => {
    await using machine = await context.running((program) => {
      program.store(4, 'a', BELL);
      counting(program);
    });
    const error = new Error('thrown by the doorbell');
    machine.vm.createDoorbell(BELL, 4, undefined, () => {
      throw error;
    });
    let caught: unknown;
    try {
      await machine.vcpu.start(() => 'resume');
    } catch (thrown) {
      caught = thrown;
    }
    context.assert.ok(caught === error, 'the very error');
  }),

  guestTest('a doorbell rings while the guest goes on', async (context) => {
    await using machine = await context.running((program) => {
      program.label('again').store(4, 'a', BELL).set('b', 500);
      program.label('delay').subtract('b', 1).jumpIfNotZero('b', 'delay').jump('again');
    });
    let rung = 0;
    machine.vm.createDoorbell(BELL, 4, undefined, () => rung++);
    const thread = machine.vcpu.start(() => 'resume');
    await eventually(() => rung >= 10);
    await machine.vcpu.stop();
    await thread;
  }),

  guestTest(
    'coalesced writes of a thread come before its next exit, all of them in order',
    async (context) => {
      await using machine = await context.running((program) => {
        program.set('a', 0).label('again');
        for (let count = 0; count < 7; count++) program.add('a', 1).store(4, 'a', QUEUE);
        program.store(4, 'a', MMIO).jump('again');
      });
      const { assert } = context;
      let last = 0;
      let exits = 0;
      const take = (value: number): void => {
        assert.equal(value, last + 1, 'next value');
        last = value;
      };
      machine.vm.coalesceWrites(QUEUE, 4, (_address, _length, value) => take(value));
      await machine.vcpu.start((exit) => {
        const { address, value } = machine.mmio(exit);
        if (address === QUEUE) {
          take(value);
          return 'resume';
        }
        assert.equal(value, last, 'the exit comes after the writes');
        return ++exits === 200 ? 'stop' : 'resume';
      });
      assert.equal(last, 1400, 'values taken');
    },
  ),

  guestTest('coalesced writes arrive soon even without an exit', async (context) => {
    await using machine = await context.running((program) => {
      program.store(4, 'a', QUEUE);
      counting(program);
    });
    let writes = 0;
    machine.vm.coalesceWrites(QUEUE, 4, () => writes++);
    const thread = machine.vcpu.start(() => 'resume');
    await eventually(() => writes === 1);
    await machine.vcpu.stop();
    await thread;
  }),

  guestTest('a paused vCPU stands still and can be looked at; it goes on when resumed', async (context) => {
    await using machine = await context.running(counting);
    const { vcpu } = machine;
    const { assert } = context;
    const thread = vcpu.start(() => 'resume');
    for (let round = 0; round < 20; round++) {
      const before = machine.word(DATA);
      await eventually(() => machine.word(DATA) !== before);
      await vcpu.pause();
      await vcpu.pause();
      const still = machine.word(DATA);
      const register = machine.getRegister('a');
      assert.ok(register - BigInt(still) <= 1n, 'the register is at most one store ahead of memory');
      await nextTurn();
      assert.equal(machine.word(DATA), still, 'nothing moves');
      assert.equal(machine.getRegister('a'), register, 'nothing moves');
      if (round === 10) machine.setRegister('a', 5n);
      vcpu.resume();
      vcpu.resume();
    }
    await vcpu.stop();
    await thread;
  }),

  guestTest('memory can be mapped while a vCPU runs', async (context) => {
    const late = RAM + 0x1000_0000;
    await using machine = await context.running((program) => {
      program
        .set('a', 1)
        .store(8, 'a', DATA)
        .label('again')
        .load(4, 'b', DATA + 8);
      program.set('c', 1).jumpIfNotZero('b', 'go').jump('again');
      program.label('go').load(4, 'a', late).store(4, 'a', MMIO);
    });
    let stored = 0;
    const thread = machine.vcpu.start((exit) => {
      stored = machine.mmio(exit).value;
      return 'stop';
    });
    await eventually(() => machine.word(DATA) !== 0);
    machine.vm.mapMemory(late, 0x1000).bytes[0] = 0x55;
    machine.ram.bytes[DATA - RAM + 8] = 1;
    await thread;
    context.assert.equal(stored, 0x55, 'what the guest loaded');
  }),

  guestTest('what a running vCPU cannot do is refused', async (context) => {
    await using machine = await context.running(counting);
    const { vcpu, vm } = machine;
    const { assert } = context;
    const thread = vcpu.start(() => 'resume');
    await expectCode(assert, 'WRONG_STATE', 'run', () => vcpu.run());
    await expectCode(assert, 'WRONG_STATE', 'start', () => vcpu.start(() => 'resume'));
    await expectCode(assert, 'WRONG_STATE', 'getRegister', () => machine.getRegister('a'));
    await expectCode(assert, 'WRONG_STATE', 'setRegister', () => machine.setRegister('a', 0n));
    await expectCode(assert, 'WRONG_STATE', 'save', () => vcpu.save());
    await expectCode(assert, 'WRONG_STATE', 'unmapMemory', () => vm.unmapMemory(machine.ram));
    await vcpu.pause();
    await expectCode(assert, 'WRONG_STATE', 'run while paused', () => vcpu.run());
    await vcpu.stop();
    await thread;
    vcpu.kick();
    assert.equal(vcpu.run().reason, 'interrupted', 'run() after the thread');
  }),

  guestTest('a thread ends on stop() wherever it is', async (context) => {
    for (const [place, program] of Object.entries(PLACES)) {
      await using machine = await context.running(program);
      const { vcpu } = machine;
      await vcpu.stop();
      for (const paused of [false, true]) {
        const thread = vcpu.start(() => 'resume');
        await eventually(() => machine.word(DATA) !== 0);
        if (paused) await vcpu.pause();
        await Promise.all([vcpu.stop(), vcpu.stop()]);
        await thread;
        context.assert.ok(machine.getRegister('a') !== 0n, `${place}: the state can be read`);
      }
      await vcpu.stop();
    }
  }),

  guestTest('stop(), pause() and kick() may be called by the handler', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 0).label('again').store(4, 'a', MMIO).add('a', 1).jump('again');
    });
    const { vcpu } = machine;
    const pending: Promise<void>[] = [];
    await vcpu.start((exit) => {
      const { value } = machine.mmio(exit);
      if (value === 3) vcpu.kick();
      if (value === 5) pending.push(vcpu.pause().then(() => vcpu.resume()));
      if (value === 9) pending.push(vcpu.stop());
      return 'resume';
    });
    await Promise.all(pending);
    context.assert.equal(machine.getRegister('a') >= 9n, true, 'the guest came so far');
  }),

  guestTest('pause latency is measured', async (context) => {
    await using machine = await context.running(counting);
    const { vcpu } = machine;
    const thread = vcpu.start(() => 'resume');
    await eventually(() => machine.word(DATA) !== 0);
    const times: number[] = [];
    for (let round = 0; round < 100; round++) {
      const before = performance.now();
      await vcpu.pause();
      times.push(performance.now() - before);
      vcpu.resume();
      await nextTurn();
    }
    times.sort((a, b) => a - b);
    context.report('pause of a computing vCPU, median', times[50]! * 1000, 'us');
    context.report('pause of a computing vCPU, 99 %', times[98]! * 1000, 'us');
    await vcpu.stop();
    await thread;
    context.assert.equal(times.length, 100, 'rounds');
  }),
];
