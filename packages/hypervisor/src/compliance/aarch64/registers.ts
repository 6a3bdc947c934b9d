import type { Aarch64CoreRegister } from '../../aarch64.ts';
import { sysreg } from '../../aarch64.ts';
import { DATA } from '../machine.ts';

import { expectCode } from '../suite.ts';
import { Aarch64Machine } from './machine.ts';
import { X_DATA, X_MMIO } from './map.ts';
import type { Aarch64Test } from './test.ts';
import { test } from './test.ts';

const VBAR_EL1 = sysreg(3, 0, 12, 0, 0);
const TPIDR_EL0 = sysreg(3, 3, 13, 0, 2);
const TPIDR_EL1 = sysreg(3, 0, 13, 0, 4);
const MAIR_EL1 = sysreg(3, 0, 10, 2, 0);
const MIDR_EL1 = sysreg(3, 0, 0, 0, 0);

/** A different, full 64-bit pattern for each number. */
function pattern(number: number): bigint {
  return BigInt.asUintN(64, 0x9e37_79b9_7f4a_7c15n * BigInt(number + 1));
}

export const registerTests: readonly Aarch64Test[] = [
  test('core registers keep what the host writes', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vcpu } = machine;
    const values = new Map<Aarch64CoreRegister, bigint>();
    for (let n = 0; n <= 30; n++) values.set(`x${n}`, pattern(n));
    for (let n = 0; n <= 31; n++) values.set(`v${n}`, (pattern(100 + n) << 64n) | pattern(200 + n));
    values.set('sp_el0', pattern(31)).set('sp_el1', pattern(32)).set('pc', 0xffff_8000_1234_5678n);
    values.set('pstate', 0x6000_03c4n).set('fpcr', 0x0300_0000n).set('fpsr', 0x0800_009fn);
    for (const [name, value] of values) vcpu.setRegister(name, value);
    for (const [name, value] of values) context.assert.equal(vcpu.getRegister(name), value, name);
  }),

  test('the stack pointers keep their values when PSTATE selects another one', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vcpu } = machine;
    vcpu.setRegister('pstate', 0x3c5n);
    vcpu.setRegister('sp_el0', 0x1000n);
    vcpu.setRegister('sp_el1', 0x2000n);
    for (const pstate of [0x3c4n, 0x3c0n, 0x3c5n]) {
      vcpu.setRegister('pstate', pstate);
      context.assert.equal(
        vcpu.getRegister('sp_el0'),
        0x1000n,
        `sp_el0 with pstate 0x${pstate.toString(16)}`,
      );
      context.assert.equal(
        vcpu.getRegister('sp_el1'),
        0x2000n,
        `sp_el1 with pstate 0x${pstate.toString(16)}`,
      );
    }
  }),

  test('unknown core registers and values that are too wide are refused', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vcpu } = machine;
    const { assert } = context;
    for (const name of ['x31', 'x01', 'v32', 'w0', 'toString'] as const) {
      await expectCode(assert, 'INVALID_ARGUMENT', name, () => vcpu.getRegister(name as Aarch64CoreRegister));
      await expectCode(assert, 'INVALID_ARGUMENT', name, () =>
        vcpu.setRegister(name as Aarch64CoreRegister, 0n),
      );
    }
    await expectCode(assert, 'INVALID_ARGUMENT', 'x0', () => vcpu.setRegister('x0', 1n << 64n));
    await expectCode(assert, 'INVALID_ARGUMENT', 'v0', () => vcpu.setRegister('v0', -1n));
  }),

  test('system registers keep what the host writes, and unknown ones are refused', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vcpu } = machine;
    const { assert } = context;
    const values = new Map([
      [VBAR_EL1, 0xffff_0000_0001_0800n],
      [TPIDR_EL0, pattern(1)],
      [TPIDR_EL1, pattern(2)],
      [MAIR_EL1, 0x0000_00ff_440c_0400n],
    ]);
    for (const [encoding, value] of values) vcpu.setSystemRegister(encoding, value);
    for (const [encoding, value] of values) {
      assert.equal(vcpu.getSystemRegister(encoding), value, `register 0x${encoding.toString(16)}`);
    }
    assert.ok(vcpu.getSystemRegister(MIDR_EL1) !== 0n, 'MIDR_EL1 identifies a processor');
    for (const encoding of [sysreg(3, 6, 15, 15, 7), -1, 0x1_0000, 0.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `encoding ${encoding}`, () =>
        vcpu.getSystemRegister(encoding),
      );
      await expectCode(assert, 'INVALID_ARGUMENT', `encoding ${encoding}`, () =>
        vcpu.setSystemRegister(encoding, 0n),
      );
    }
  }),

  test('the guest computes with what the host wrote, and the host reads the result', async (context) => {
    await using machine = await Aarch64Machine.running(context, (a) => {
      a.mul(2, 0, 1).add(3, 2, 31).addImmediate(3, 3, 7).mrs(4, TPIDR_EL0);
      a.movImmediate(5, 3n << 20n)
        .msr(sysreg(3, 0, 1, 0, 2), 5)
        .isb();
      a.storeVector(9, X_DATA).loadVector(10, X_DATA).movImmediate(6, 0x1234_5678).msr(TPIDR_EL1, 6);
      a.store(4, 0, X_MMIO);
    });
    const { vcpu } = machine;
    const { assert } = context;
    vcpu.setRegister('x0', 1_000_000_007n);
    vcpu.setRegister('x1', 998_244_353n);
    vcpu.setRegister('v9', (pattern(1) << 64n) | pattern(2));
    vcpu.setSystemRegister(TPIDR_EL0, pattern(3));
    machine.runToMmio();
    assert.equal(vcpu.getRegister('x2'), 1_000_000_007n * 998_244_353n, 'x2');
    assert.equal(vcpu.getRegister('x3'), 1_000_000_007n * 998_244_353n + 7n, 'x3');
    assert.equal(vcpu.getRegister('x4'), pattern(3), 'x4');
    assert.equal(vcpu.getRegister('v10'), (pattern(1) << 64n) | pattern(2), 'v10');
    assert.equal(vcpu.getSystemRegister(TPIDR_EL1), 0x1234_5678n, 'TPIDR_EL1');
    assert.equal(machine.word(DATA), Number(pattern(2) & 0xffff_ffffn), 'what the guest stored');
  }),
];
