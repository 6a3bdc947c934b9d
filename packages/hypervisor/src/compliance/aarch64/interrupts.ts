import type { InputSetup } from '../machine.ts';
import { INPUTS, MMIO, REPORT } from '../machine.ts';
import { expectCode } from '../suite.ts';
import {
  CNTV_CTL_EL0,
  CNTV_CVAL_EL0,
  CNTV_TVAL_EL0,
  CNTVCT_EL0,
  setPriority,
  setUpGic,
  setUpVectors,
  vectors,
  VIRTUAL_TIMER,
} from './interrupt-guest.ts';
import { XZR } from './assembler.ts';
import { Aarch64Machine } from './machine.ts';
import { FIRST_SPI, GIC_CPU_INTERFACE, GIC_DISTRIBUTOR, GIC_IRQS, GIC_REDISTRIBUTOR, X_MMIO } from './map.ts';
import type { Aarch64Test } from './test.ts';
import { test } from './test.ts';

const LEVEL: InputSetup = { gsi: INPUTS.level, edge: false };
const EDGE: InputSetup = { gsi: INPUTS.edge, edge: true };
const HIGH: InputSetup = { gsi: INPUTS.high, edge: false };

/** INTIDs that an interrupt guest reports on a thread, until there are `count`. */
async function takeInterrupts(
  machine: Aarch64Machine,
  count: number,
  on: { ready?: () => void; irq?: (intid: number) => void } = {},
): Promise<readonly number[]> {
  const taken: number[] = [];
  await machine.vcpu.start((exit) => {
    const { address, value } = machine.mmio(exit);
    if (address === MMIO + REPORT.READY) on.ready?.();
    else if (address === MMIO + REPORT.IRQ) {
      taken.push(value);
      on.irq?.(value);
    } else machine.assert.equal(address, MMIO + REPORT.END, 'what the guest reports');
    return taken.length === count ? 'stop' : 'resume';
  });
  return taken;
}

export const interruptTests: readonly Aarch64Test[] = [
  test('a pulse on a level-sensitive interrupt leaves nothing behind', async (context) => {
    await using machine = await Aarch64Machine.create(context, { interrupts: true });
    const { interrupts } = machine;
    machine.loadInterruptGuest([LEVEL, EDGE]);
    const taken = await takeInterrupts(machine, 1, {
      ready: () => {
        interrupts.pulse(LEVEL.gsi);
        interrupts.pulse(EDGE.gsi);
      },
    });
    context.assert.equal(taken, [FIRST_SPI + EDGE.gsi], 'interrupts taken');
  }),

  test('the interrupt of the higher priority comes first, IHI 0069 4.8', async (context) => {
    await using machine = await Aarch64Machine.create(context, { interrupts: true });
    const { interrupts, gicVersion } = machine;
    machine.assemble((a) => {
      setUpVectors(a);
      setUpGic(a, gicVersion, [LEVEL, HIGH]);
      setPriority(a, FIRST_SPI + HIGH.gsi, 0x40);
      a.store(4, XZR, X_MMIO, REPORT.READY).daifClear(2).label('wait').wfi().b('wait');
      vectors(a, gicVersion);
    });
    const taken = await takeInterrupts(machine, 2, {
      ready: () => {
        interrupts.setLine(LEVEL.gsi, true);
        interrupts.setLine(HIGH.gsi, true);
      },
      irq: (intid) => interrupts.setLine(intid - FIRST_SPI, false),
    });
    context.assert.equal(taken, [FIRST_SPI + HIGH.gsi, FIRST_SPI + LEVEL.gsi], 'interrupts taken');
  }),

  test('the timer wakes a vCPU thread from WFI', async (context) => {
    await using machine = await Aarch64Machine.create(context, { interrupts: true });
    machine.assemble((a) => {
      setUpVectors(a);
      setUpGic(a, machine.gicVersion, []);
      a.movz(0, 20_000).msr(CNTV_TVAL_EL0, 0).movz(0, 1).msr(CNTV_CTL_EL0, 0).isb();
      a.daifClear(2).label('wait').wfi().b('wait');
      vectors(a, machine.gicVersion, (handler) => handler.movz(11, 0).msr(CNTV_CTL_EL0, 11).isb());
    });
    context.assert.equal(await takeInterrupts(machine, 1), [VIRTUAL_TIMER], 'interrupts taken');
  }),

  test('the counter advances and never goes back', async (context) => {
    await using machine = await Aarch64Machine.running(context, (a) => {
      a.movz(5, 10_000).mrs(0, CNTVCT_EL0);
      a.label('again').mrs(1, CNTVCT_EL0).cmp(1, 0).bCond('lo', 'back').mov(0, 1);
      a.subImmediate(5, 5, 1).cbnz(5, 'again');
      a.label('back').store(8, 5, X_MMIO);
    });
    const before = machine.vcpu.getSystemRegister(CNTVCT_EL0);
    context.assert.equal(machine.runToMmio().value, 0, 'readings left when the counter went back');
    context.assert.ok(machine.vcpu.getSystemRegister(CNTVCT_EL0) > before, 'the counter advanced');
  }),

  test('a pending interrupt ends WFI even when PSTATE masks it', async (context) => {
    await using machine = await Aarch64Machine.create(context, { interrupts: true });
    machine.assemble((a) => {
      setUpGic(a, machine.gicVersion, [LEVEL]);
      a.wfi().movz(0, 6).store(4, 0, X_MMIO);
    });
    machine.interrupts.setLine(LEVEL.gsi, true);
    context.assert.equal(machine.runToMmio().value, 6, 'what the guest does after the WFI');
  }),

  test(
    'a line that was raised before the last vCPU was made is high',
    async (context) => {
      await using machine = await Aarch64Machine.create(context, { interrupts: true, vcpus: 2 });
      machine.interrupts.setLine(LEVEL.gsi, true);
      machine.vm.createVcpu(1).poweredOff = true;
      machine.loadInterruptGuest([LEVEL]);
      const taken = await takeInterrupts(machine, 1);
      context.assert.equal(taken, [FIRST_SPI + LEVEL.gsi], 'interrupts taken');
    },
    ['smp'],
  ),

  test(
    'interrupt inputs that were made before the last vCPU come through, and those disposed of do not',
    async (context) => {
      await using machine = await Aarch64Machine.create(context, { interrupts: true, vcpus: 2 });
      const input = machine.vm.createInterrupt(EDGE.gsi);
      machine.vm.createInterrupt(HIGH.gsi)[Symbol.dispose]();
      machine.vm.createVcpu(1).poweredOff = true;
      machine.loadInterruptGuest([EDGE]);
      const taken = await takeInterrupts(machine, 3, {
        ready: () => input.trigger(),
        irq: () => input.trigger(),
      });
      const intid = FIRST_SPI + EDGE.gsi;
      context.assert.equal(taken, [intid, intid, intid], 'interrupts taken');
      input[Symbol.dispose]();
      machine.vm.createInterrupt(EDGE.gsi)[Symbol.dispose]();
      machine.vm.createInterrupt(HIGH.gsi)[Symbol.dispose]();
    },
    ['smp'],
  ),

  test('interrupt inputs of the first and the last SPI are edges of these', async (context) => {
    await using machine = await Aarch64Machine.create(context, { interrupts: true });
    const spis = [0, GIC_IRQS - 1 - FIRST_SPI];
    const inputs = spis.map((spi) => machine.vm.createInterrupt(spi));
    machine.loadInterruptGuest(spis.map((gsi) => ({ gsi, edge: true })));
    let next = 0;
    const raise = (): void => inputs[next++ % inputs.length]!.trigger();
    const taken = await takeInterrupts(machine, 6, { ready: raise, irq: raise });
    const intids = spis.map((spi) => FIRST_SPI + spi);
    context.assert.equal(taken, [...intids, ...intids, ...intids], 'interrupts taken');
  }),

  test('impossible interrupt controllers and interrupts are refused', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vm } = machine;
    const { assert } = context;
    const good = {
      distributor: GIC_DISTRIBUTOR,
      redistributor: GIC_REDISTRIBUTOR,
      cpuInterface: GIC_CPU_INTERFACE,
      irqs: 128,
    };
    const create = { 2: vm.createGicV2.bind(vm), 3: vm.createGicV3.bind(vm) } as const;
    for (const version of [2, 3] as const) {
      if (!vm.gicVersions.includes(version)) {
        await expectCode(assert, 'UNSUPPORTED', `GICv${version}`, () => create[version](good));
        continue;
      }
      for (const bad of [
        { irqs: 32 },
        { irqs: 65 },
        { irqs: 2048 },
        { distributor: 0x800 },
        version === 3 ? { redistributor: -1 } : { cpuInterface: -1 },
      ]) {
        const what = `GICv${version}, ${JSON.stringify(bad)}`;
        await expectCode(assert, 'INVALID_ARGUMENT', what, () => create[version]({ ...good, ...bad }));
      }
    }
    const gic = machine.createGic();
    assert.equal(gic.version, machine.gicVersion, 'version');
    await expectCode(assert, 'WRONG_STATE', 'a second one', () => machine.createGic());
    for (const intid of [-1, 0, 31, 128, 1023, 40.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `setSpi(${intid})`, () => gic.setSpi(intid, true));
      await expectCode(assert, 'INVALID_ARGUMENT', `pulseSpi(${intid})`, () => gic.pulseSpi(intid));
    }
    for (const spi of [96, 991]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `createInterrupt(${spi})`, () => vm.createInterrupt(spi));
    }
  }),

  test('a GICv2 interrupts as well where there is a GICv3, too', async (context) => {
    await using machine = await Aarch64Machine.create(context);
    const { vm } = machine;
    context.assert.ok(vm.gicVersions.length > 0, 'a GIC of some version');
    if (vm.gicVersions.length < 2) return;
    const gic = vm.createGicV2({
      distributor: GIC_DISTRIBUTOR,
      cpuInterface: GIC_CPU_INTERFACE,
      irqs: 128,
    });
    machine.assemble((a) => {
      setUpVectors(a);
      setUpGic(a, 2, [LEVEL]);
      a.daifClear(2).label('wait').wfi().b('wait');
      vectors(a, 2);
    });
    gic.setSpi(FIRST_SPI + LEVEL.gsi, true);
    context.assert.equal(await takeInterrupts(machine, 1), [FIRST_SPI + LEVEL.gsi], 'interrupts taken');
  }),

  test(
    'with the instruction clock, WFI lets time jump to the timer, the same way every time',
    async (context) => {
      const once = async (): Promise<[number, bigint, bigint]> => {
        await using machine = await Aarch64Machine.create(context, {
          clock: 'instructions',
          interrupts: true,
        });
        machine.assemble((a) => {
          setUpVectors(a);
          setUpGic(a, machine.gicVersion, []);
          // An hour of a 62.5 MHz counter.
          a.mrs(0, CNTVCT_EL0).movImmediate(1, 3600 * 62_500_000);
          a.add(0, 0, 1).msr(CNTV_CVAL_EL0, 0).movz(0, 1).msr(CNTV_CTL_EL0, 0).isb();
          a.daifClear(2).label('wait').wfi().b('wait');
          vectors(a, machine.gicVersion);
        });
        const { value } = machine.runToMmio();
        return [value, machine.vcpu.getSystemRegister(CNTVCT_EL0), machine.vcpu.getRegister('pc')];
      };
      const first = await once();
      context.assert.equal(first[0], VIRTUAL_TIMER, 'interrupt taken');
      context.assert.ok(first[1] >= 3600n * 62_500_000n, 'an hour has passed');
      context.assert.equal(await once(), first, 'the second run');
    },
    ['instructionClock'],
  ),
];
