import { jest } from '@jest/globals';
import { sysreg } from '../aarch64.ts';
import type { Assertions } from '../compliance/index.ts';
import {
  CNTV_CTL_EL0,
  setUpGic,
  setUpPrivate,
  VIRTUAL_TIMER,
} from '../compliance/aarch64/interrupt-guest.ts';
import { Aarch64Machine } from '../compliance/aarch64/machine.ts';
import { X_MMIO } from '../compliance/aarch64/map.ts';
import { RAM } from '../compliance/machine.ts';
import { createWasmHypervisor } from './index.ts';

// Threads get little time on a machine that runs all tests at once.
jest.setTimeout(120_000);

// IHI 0069 12.2.
const ICC_HPPIR1_EL1 = sysreg(3, 0, 12, 12, 2);
const NO_INTERRUPT = 1023;
const ROUNDS = 200_000;

const assert: Assertions = {
  ok: (value, message) => expect({ [message]: value }).toEqual({ [message]: true }),
  equal: (actual, expected, message) => expect({ [message]: actual }).toEqual({ [message]: expected }),
};

it("a vCPU's timer raises and lowers its line at once while another one uses the GIC", async () => {
  const context = { hypervisor: createWasmHypervisor(), assert, report: () => undefined };
  await using machine = await Aarch64Machine.create(context, { vcpus: 2, interrupts: true });
  machine.assemble((a) => {
    // Whichever comes first enables the distributor.
    setUpGic(a, 3, []);
    a.cbz(22, 'ready');
    setUpPrivate(a, 3, 1);
    a.label('ready').movImmediate(5, ROUNDS).label('again');
    // CNTV_CVAL_EL0 is 0, so that the timer fires when it is enabled; interrupts are masked.
    a.movz(0, 1).msr(CNTV_CTL_EL0, 0).mrs(1, ICC_HPPIR1_EL1);
    a.subImmediate(2, 1, VIRTUAL_TIMER).cbnz(2, 'end');
    a.movz(0, 0).msr(CNTV_CTL_EL0, 0).mrs(1, ICC_HPPIR1_EL1);
    a.subImmediate(2, 1, NO_INTERRUPT).cbnz(2, 'end');
    a.subImmediate(5, 5, 1).cbnz(5, 'again');
    a.label('end').store(4, 5, X_MMIO).b('end');
  });
  const second = machine.vm.createVcpu(1);
  machine.begin(second, RAM);
  second.setRegister('x22', 1n);
  const left: number[] = [];
  await Promise.all(
    [machine.vcpu, second].map(async (vcpu) =>
      vcpu.start((exit) => {
        left.push(machine.mmio(exit).value);
        return 'stop';
      }),
    ),
  );
  expect(left).toEqual([0, 0]);
});
