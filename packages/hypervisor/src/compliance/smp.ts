import {
  ICC_SGI1R_EL1,
  REPORT_IRQ,
  setUpGic,
  setUpRedistributor,
  setUpVectors,
  vectors,
} from './interrupt-guest.ts';
import { DATA, Machine, MMIO, RAM, X_DATA, X_MMIO } from './machine.ts';
import type { ComplianceTest } from './suite.ts';
import { test } from './suite.ts';

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
];
