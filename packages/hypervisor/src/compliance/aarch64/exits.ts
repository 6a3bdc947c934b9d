import { MMIO } from '../machine.ts';
import { Aarch64Machine } from './machine.ts';
import { X_MMIO } from './map.ts';
import type { Aarch64Test } from './test.ts';
import { test } from './test.ts';

// DEN 0022 5.
const PSCI_VERSION = 0x8400_0000;
const PSCI_SYSTEM_OFF = 0x8400_0008;
const PSCI_SYSTEM_RESET = 0x8400_0009;
const PSCI_NOT_SUPPORTED = 0xffff_ffff;

export const exitTests: readonly Aarch64Test[] = [
  test('the zero register can be stored and loaded', async (context) => {
    await using machine = await Aarch64Machine.running(context, (a) => {
      a.store(8, 31, X_MMIO, 0x100).load(4, 31, X_MMIO, 0x80).store(4, 31, X_MMIO);
    });
    const { assert } = context;
    const zero = machine.runToMmio();
    assert.equal([zero.address, zero.value, zero.valueHigh], [MMIO + 0x100, 0, 0], 'a store of it');
    const load = machine.runToMmio();
    assert.equal([load.address, load.write], [MMIO + 0x80, false], 'a load into it exits, too');
    load.value = 5;
    assert.equal(machine.runToMmio().value, 0, 'and changes nothing');
  }),

  test('PSCI SYSTEM_OFF and SYSTEM_RESET are system events', async (context) => {
    for (const [call, event] of [
      [PSCI_SYSTEM_OFF, 'shutdown'],
      [PSCI_SYSTEM_RESET, 'reset'],
    ] as const) {
      await using machine = await Aarch64Machine.running(context, (a) => a.movImmediate(0, call).hvc(0));
      const exit = machine.vcpu.run();
      context.assert.equal(exit.reason, 'systemEvent', 'reason');
      context.assert.equal(exit.reason === 'systemEvent' ? exit.event : '', event, 'event');
    }
  }),

  test('PSCI answers its version, and NOT_SUPPORTED for what it does not know', async (context) => {
    await using machine = await Aarch64Machine.running(context, (a) => {
      a.movImmediate(0, PSCI_VERSION).hvc(0).store(4, 0, X_MMIO);
      a.movImmediate(0, 0x8400_00ff).hvc(0).store(4, 0, X_MMIO);
    });
    context.assert.ok(machine.runToMmio().value >= 0x1_0000, 'version 1.0 or later');
    context.assert.equal(machine.runToMmio().value, PSCI_NOT_SUPPORTED, 'unknown function');
  }),

  test(
    'WFI with nothing pending halts, and the next run goes on behind it',
    async (context) => {
      await using machine = await Aarch64Machine.running(context, (a) => {
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
