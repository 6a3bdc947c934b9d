import { Machine, MMIO, X_MMIO } from './machine.ts';
import type { ComplianceTest } from './suite.ts';
import { test } from './suite.ts';

const WIDTHS = [1, 2, 4, 8] as const;

// DEN 0022 5.
const PSCI_VERSION = 0x8400_0000;
const PSCI_SYSTEM_OFF = 0x8400_0008;
const PSCI_SYSTEM_RESET = 0x8400_0009;
const PSCI_NOT_SUPPORTED = 0xffff_ffff;

export const exitTests: readonly ComplianceTest[] = [
  test('MMIO writes carry address, width and value', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(0, 0xf1e2_d3c4_b5a6_9788n);
      for (const width of WIDTHS) a.store(width, 0, X_MMIO, 8 * width);
      a.store(8, 31, X_MMIO, 0x100);
    });
    const { assert } = context;
    const values = {
      1: [0x88, 0],
      2: [0x9788, 0],
      4: [0xb5a6_9788, 0],
      8: [0xb5a6_9788, 0xf1e2_d3c4],
    } as const;
    for (const width of WIDTHS) {
      const exit = machine.runToMmio();
      assert.equal(
        [exit.address, exit.length, exit.write],
        [MMIO + 8 * width, width, true],
        `width ${width}`,
      );
      assert.equal([exit.value, exit.valueHigh], values[width], `value of width ${width}`);
    }
    const zero = machine.runToMmio();
    assert.equal([zero.address, zero.value, zero.valueHigh], [MMIO + 0x100, 0, 0], 'the zero register');
  }),

  test('MMIO reads are completed with the answer, cut to their width', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      for (const width of WIDTHS) {
        a.movImmediate(width, -1n).load(width, width, X_MMIO, 8 * width);
      }
      a.load(4, 31, X_MMIO, 0x80).store(4, 31, X_MMIO);
    });
    const { assert } = context;
    for (const width of WIDTHS) {
      const exit = machine.runToMmio();
      assert.equal(
        [exit.address, exit.length, exit.write],
        [MMIO + 8 * width, width, false],
        `width ${width}`,
      );
      exit.value = 0xb5a6_9788;
      exit.valueHigh = 0xf1e2_d3c4;
    }
    assert.equal(machine.runToMmio().address, MMIO + 0x80, 'a load into the zero register exits, too');
    machine.runToMmio();
    const values = { 1: 0x88n, 2: 0x9788n, 4: 0xb5a6_9788n, 8: 0xf1e2_d3c4_b5a6_9788n } as const;
    for (const width of WIDTHS) {
      assert.equal(
        machine.vcpu.getRegister(`x${width}`),
        values[width],
        `register loaded with width ${width}`,
      );
    }
  }),

  test('a read that nobody answers gives 0', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.load(4, 0, X_MMIO).load(4, 1, X_MMIO, 4).store(4, 1, X_MMIO, 8);
    });
    machine.runToMmio().value = 0xffff_ffff;
    machine.runToMmio();
    context.assert.equal(machine.runToMmio().value, 0, 'what the guest got');
  }),

  test('one exit object is used again and again', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.label('again').store(4, 0, X_MMIO).load(4, 0, X_MMIO).b('again');
    });
    const first = machine.runToMmio();
    for (let count = 0; count < 10; count++) {
      context.assert.ok(machine.runToMmio() === first, 'the same object');
      context.assert.equal(first.write, count % 2 === 1, 'with new content');
    }
  }),

  test('each access of a loop exits once, in order', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movz(0, 0).label('again').store(4, 0, X_MMIO).load(4, 1, X_MMIO, 4).add(0, 0, 1).b('again');
    });
    let expected = 0;
    for (let count = 0; count < 1000; count++) {
      const store = machine.runToMmio();
      context.assert.equal([store.write, store.value], [true, expected], `store ${count}`);
      const load = machine.runToMmio();
      context.assert.equal([load.write, load.address], [false, MMIO + 4], `load ${count}`);
      load.value = count % 7;
      expected += count % 7;
    }
  }),

  test('PSCI SYSTEM_OFF and SYSTEM_RESET are system events', async (context) => {
    for (const [call, event] of [
      [PSCI_SYSTEM_OFF, 'shutdown'],
      [PSCI_SYSTEM_RESET, 'reset'],
    ] as const) {
      await using machine = await Machine.running(context, (a) => a.movImmediate(0, call).hvc(0));
      const exit = machine.vcpu.run();
      context.assert.equal(exit.reason, 'systemEvent', 'reason');
      context.assert.equal(exit.reason === 'systemEvent' ? exit.event : '', event, 'event');
    }
  }),

  test('PSCI answers its version, and NOT_SUPPORTED for what it does not know', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movImmediate(0, PSCI_VERSION).hvc(0).store(4, 0, X_MMIO);
      a.movImmediate(0, 0x8400_00ff).hvc(0).store(4, 0, X_MMIO);
    });
    context.assert.ok(machine.runToMmio().value >= 0x1_0000, 'version 1.0 or later');
    context.assert.equal(machine.runToMmio().value, PSCI_NOT_SUPPORTED, 'unknown function');
  }),

  test('a kick brings run() back, even when it comes first, and the guest goes on after it', async (context) => {
    await using machine = await Machine.running(context, (a) => {
      a.movz(0, 3).store(4, 0, X_MMIO).store(4, 0, X_MMIO);
    });
    const { vcpu } = machine;
    vcpu.kick();
    context.assert.equal(vcpu.run().reason, 'interrupted', 'first run');
    context.assert.equal(machine.runToMmio().value, 3, 'second run');
    vcpu.kick();
    vcpu.kick();
    context.assert.equal(vcpu.run().reason, 'interrupted', 'two kicks count as one');
    context.assert.equal(machine.runToMmio().value, 3, 'the run after it');
  }),

  test(
    'WFI with nothing pending halts, and the next run goes on behind it',
    async (context) => {
      await using machine = await Machine.running(context, (a) => {
        a.wfi().movz(0, 8).store(4, 0, X_MMIO);
      });
      const exit = machine.vcpu.run();
      context.assert.equal(exit.reason, 'halt', 'reason');
      context.assert.equal(exit.reason === 'halt' ? exit.wakeAfterNs : 0, Infinity, 'no timer is armed');
      context.assert.equal(machine.runToMmio().value, 8, 'what the guest does after the WFI');
    },
    ['haltExits'],
  ),
];
