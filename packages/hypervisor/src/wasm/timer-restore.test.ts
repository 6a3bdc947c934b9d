import type { Assertions } from '../compliance/index.ts';
import {
  CNTV_CTL_EL0,
  CNTV_CVAL_EL0,
  setUpGic,
  setUpVectors,
  vectors,
  VIRTUAL_TIMER,
} from '../compliance/aarch64/interrupt-guest.ts';
import { Aarch64Machine } from '../compliance/aarch64/machine.ts';
import { X_MMIO } from '../compliance/aarch64/map.ts';
import { MMIO, REPORT } from '../compliance/machine.ts';
import { createWasmHypervisor } from './index.ts';

const assert: Assertions = {
  ok: (value, message) => expect({ [message]: value }).toEqual({ [message]: true }),
  equal: (actual, expected, message) => expect({ [message]: actual }).toEqual({ [message]: expected }),
};

it('a timer that expires while a state is restored interrupts all the same', async () => {
  const context = { hypervisor: createWasmHypervisor(), assert, report: () => undefined };
  await using machine = await Aarch64Machine.create(context, { interrupts: true });
  machine.assemble((a) => {
    setUpVectors(a);
    setUpGic(a, 3, []);
    a.store(4, 4, X_MMIO, REPORT.READY).daifClear(2).label('wait').wfi().b('wait');
    vectors(a, 3, (handler) => handler.movz(11, 0).msr(CNTV_CTL_EL0, 11).isb());
  });
  expect(machine.runToMmio().address).toBe(MMIO + REPORT.READY);
  const { vcpu, interrupts } = machine;
  const saved = interrupts.save();
  // Time passes between the two parts of a restore: the vCPU's, and that of the GIC, in which the line is low.
  vcpu.setSystemRegister(CNTV_CVAL_EL0, 0n);
  vcpu.setSystemRegister(CNTV_CTL_EL0, 1n);
  vcpu.restore(vcpu.save());
  interrupts.restore(saved);
  expect(machine.runToMmio().value).toBe(VIRTUAL_TIMER);
});
