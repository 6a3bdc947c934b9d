import { DATA, MMIO, RAM, REPORT } from '../machine.ts';
import { sendSgi, setUpGic, setUpPrivate, setUpVectors, vectors } from './interrupt-guest.ts';
import { Aarch64Machine } from './machine.ts';
import { X_DATA, X_MMIO } from './map.ts';
import type { Aarch64Test } from './test.ts';
import { test } from './test.ts';

// DEN 0022 5.
const PSCI_CPU_ON_64 = 0xc400_0003;

export const smpTests: readonly Aarch64Test[] = [
  test(
    'a second vCPU is started by PSCI CPU_ON and gets an SGI from the first',
    async (context) => {
      const sgi = 5;
      await using machine = await Aarch64Machine.create(context, { vcpus: 2, interrupts: true });
      const { gicVersion, vm, vcpu } = machine;
      machine.assemble((a) => {
        a.b('boot').label('second');
        a.movImmediate(X_MMIO, MMIO).movImmediate(X_DATA, DATA);
        setUpVectors(a);
        setUpPrivate(a, gicVersion, 1);
        a.daifClear(2).movz(0, 1).store(4, 0, X_DATA);
        a.label('sleep').wfi().b('sleep');
        a.label('boot');
        setUpGic(a, gicVersion, []);
        a.movImmediate(0, PSCI_CPU_ON_64).movz(1, 1).adr(2, 'second').movz(3, 7).hvc(0).store(4, 0, X_MMIO);
        a.label('poll').load(4, 0, X_DATA).cbz(0, 'poll');
        sendSgi(a, gicVersion, 1, sgi);
        a.label('end').wfi().b('end');
        vectors(a, gicVersion);
      });
      const { assert } = context;
      const second = vm.createVcpu(1);
      second.poweredOff = true;
      let answer = -1;
      let taken = -1;
      const threads = [
        vcpu.start((exit) => {
          answer = machine.mmio(exit).value;
          return 'resume';
        }),
        second.start((exit) => {
          const { address, value } = machine.mmio(exit);
          assert.equal(address, MMIO + REPORT.IRQ, 'what the second vCPU reports');
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
    'a vCPU that is powered off waits, and its power state is part of its state',
    async (context) => {
      await using machine = await Aarch64Machine.create(context, { vcpus: 2 });
      await using copy = await Aarch64Machine.create(context, { vcpus: 2 });
      const { assert } = context;
      const second = machine.vm.createVcpu(1);
      const copied = copy.vm.createVcpu(1);
      assert.equal([machine.vcpu.poweredOff, second.poweredOff], [false, false], 'at first');
      second.poweredOff = true;
      assert.equal(second.poweredOff, true, 'what was set');
      copied.restore(structuredClone(second.save()));
      assert.equal(copied.poweredOff, true, 'what was restored');
      copied.poweredOff = false;
      copied.restore(structuredClone(machine.vcpu.save()));
      assert.equal(copied.poweredOff, false, 'restored from one that is on');
    },
    ['smp'],
  ),
];
