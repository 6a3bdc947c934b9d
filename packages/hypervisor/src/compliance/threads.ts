import type { VcpuExit } from '../exit.ts';
import { DATA, Machine, MMIO, X_DATA, X_MMIO } from './machine.ts';
import type { ComplianceTest } from './suite.ts';
import { eventually, expectCode, nextTurn, test } from './suite.ts';
import type { Assembler } from './assembler.ts';

const BELL = MMIO + 0x1000;
const QUEUE = MMIO + 0x2000;
const PSCI_SYSTEM_OFF = 0x8400_0008;

/** Counts up in memory at `DATA` for ever. */
function counting(a: Assembler): void {
  a.movz(0, 0).label('again').addImmediate(0, 0, 1).store(8, 0, X_DATA).b('again');
}

export const threadTests: readonly ComplianceTest[] = [
  test('exits of a vCPU thread reach the handler in order, and stop ends it', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movz(0, 0).label('again').store(4, 0, X_MMIO).load(4, 1, X_MMIO, 4).add(0, 0, 1).b('again');
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
    assert.equal(machine.vcpu.getRegister('x0'), BigInt(expected), 'x0 after the end');
    assert.equal(machine.runToMmio().write, false, 'run() goes on where the thread ended');
  }),

  test('a system event ends the thread whatever the handler answers', async (context) => {
    await using machine = await Machine.running(context, (a) => a.movImmediate(0, PSCI_SYSTEM_OFF).hvc(0));
    const seen: VcpuExit['reason'][] = [];
    await machine.vcpu.start((exit) => {
      seen.push(exit.reason);
      return 'resume';
    });
    context.assert.equal(seen, ['systemEvent'], 'exits');
  }),

  test('a handler that throws ends the thread, and start() rejects with what it threw', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.label('again').store(4, 0, X_MMIO).b('again');
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
  }),

  test('a doorbell callback that throws ends the threads, and start() rejects', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(1, BELL).store(4, 0, 1);
      counting(a);
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

  test('a doorbell rings while the guest goes on', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(1, BELL).label('again').store(4, 0, 1).movz(2, 1000);
      a.label('delay').subImmediate(2, 2, 1).cbnz(2, 'delay').b('again');
    });
    let rung = 0;
    machine.vm.createDoorbell(BELL, 4, undefined, () => rung++);
    const thread = machine.vcpu.start(() => 'resume');
    await eventually(() => rung >= 10);
    await machine.vcpu.stop();
    await thread;
  }),

  test('coalesced writes of a thread come before its next exit, all of them in order', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(1, QUEUE).movz(0, 0);
      a.label('again');
      for (let count = 0; count < 7; count++) a.addImmediate(0, 0, 1).store(4, 0, 1);
      a.store(4, 0, X_MMIO).b('again');
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
  }),

  test('coalesced writes arrive soon even without an exit', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(1, QUEUE).store(4, 0, 1);
      counting(a);
    });
    let writes = 0;
    machine.vm.coalesceWrites(QUEUE, 4, () => writes++);
    const thread = machine.vcpu.start(() => 'resume');
    await eventually(() => writes === 1);
    await machine.vcpu.stop();
    await thread;
  }),

  test('a paused vCPU stands still and can be looked at; it goes on when resumed', async (context) => {
    await using machine = await Machine.running(context, counting);
    const { vcpu } = machine;
    const { assert } = context;
    const thread = vcpu.start(() => 'resume');
    for (let round = 0; round < 20; round++) {
      const before = machine.word(DATA);
      await eventually(() => machine.word(DATA) !== before);
      await vcpu.pause();
      await vcpu.pause();
      const still = machine.word(DATA);
      const x0 = vcpu.getRegister('x0');
      assert.ok(x0 - BigInt(still) <= 1n, 'the register is at most one store ahead of memory');
      await nextTurn();
      assert.equal(machine.word(DATA), still, 'nothing moves');
      assert.equal(vcpu.getRegister('x0'), x0, 'nothing moves');
      if (round === 10) vcpu.setRegister('x0', 5n);
      vcpu.resume();
      vcpu.resume();
    }
    await vcpu.stop();
    await thread;
  }),

  test('what a running vCPU cannot do is refused', async (context) => {
    await using machine = await Machine.running(context, counting);
    const { vcpu, vm } = machine;
    const { assert } = context;
    const thread = vcpu.start(() => 'resume');
    await expectCode(assert, 'WRONG_STATE', 'run', () => vcpu.run());
    await expectCode(assert, 'WRONG_STATE', 'start', () => vcpu.start(() => 'resume'));
    await expectCode(assert, 'WRONG_STATE', 'getRegister', () => vcpu.getRegister('x0'));
    await expectCode(assert, 'WRONG_STATE', 'setRegister', () => vcpu.setRegister('x0', 0n));
    await expectCode(assert, 'WRONG_STATE', 'save', () => vcpu.save());
    await expectCode(assert, 'WRONG_STATE', 'unmapMemory', () => vm.unmapMemory(machine.ram));
    await vcpu.pause();
    await expectCode(assert, 'WRONG_STATE', 'run while paused', () => vcpu.run());
    await vcpu.stop();
    await thread;
    vcpu.kick();
    assert.equal(vcpu.run().reason, 'interrupted', 'run() after the thread');
  }),

  test('a thread ends on stop() wherever it is', async (context) => {
    const places: Record<string, (a: Assembler) => void> = {
      computing: counting,
      waiting: (a) => a.store(8, X_MMIO, X_DATA).label('wait').wfi().b('wait'),
      exiting: (a) => a.store(8, X_MMIO, X_DATA).label('again').store(4, 0, X_MMIO).b('again'),
    };
    for (const [place, program] of Object.entries(places)) {
      await using machine = await Machine.running(context, program);
      const { vcpu } = machine;
      await vcpu.stop();
      for (const paused of [false, true]) {
        const thread = vcpu.start(() => 'resume');
        await eventually(() => machine.word(DATA) !== 0);
        if (paused) await vcpu.pause();
        await Promise.all([vcpu.stop(), vcpu.stop()]);
        await thread;
        context.assert.ok(vcpu.getRegister('pc') !== 0n, `${place}: the state can be read`);
      }
      await vcpu.stop();
    }
  }),

  test('stop(), pause() and kick() may be called by the handler', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.label('again').store(4, 0, X_MMIO).addImmediate(0, 0, 1).b('again');
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
    context.assert.equal(vcpu.getRegister('x0') >= 9n, true, 'the guest came so far');
  }),

  test('pause and resume latency', async (context) => {
    await using machine = await Machine.running(context, counting);
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
