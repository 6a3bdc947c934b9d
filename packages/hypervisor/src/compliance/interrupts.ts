import type { VcpuExit } from '../exit.ts';
import type { ExitAction } from '../vcpu.ts';
import type { HypervisorGic } from '../aarch64.ts';
import type { SpiSetup } from './interrupt-guest.ts';
import {
  CNTV_CTL_EL0,
  CNTV_CVAL_EL0,
  CNTV_TVAL_EL0,
  CNTVCT_EL0,
  interruptGuest,
  REPORT_AFTER,
  REPORT_IRQ,
  REPORT_READY,
  setUpGic,
  setUpVectors,
  vectors,
  VIRTUAL_TIMER,
} from './interrupt-guest.ts';
import { GIC_DISTRIBUTOR, GIC_REDISTRIBUTOR, Machine, MMIO, X_MMIO } from './machine.ts';
import type { ComplianceContext, ComplianceTest } from './suite.ts';
import { eventually, expectCode, test } from './suite.ts';

const LEVEL: SpiSetup = { intid: 40, edge: false };
const EDGE: SpiSetup = { intid: 41, edge: true };
const HIGH: SpiSetup = { intid: 127, edge: false };

/** A guest with interrupts on a thread, and what it reported so far. */
class InterruptMachine implements AsyncDisposable {
  readonly machine: Machine;
  readonly gic: HypervisorGic;
  /** INTIDs of interrupts taken. */
  readonly taken: number[] = [];
  /** Called when an interrupt is taken, while the vCPU waits. */
  onIrq: (intid: number) => void = () => undefined;
  ready = false;
  /** Returns from an interrupt or WFI. */
  wakes = 0;
  #unexpected = '';
  #thread: Promise<void> = Promise.resolve();

  private constructor(machine: Machine) {
    this.machine = machine;
    this.gic = machine.createGic();
  }

  static async create(context: ComplianceContext, spis: readonly SpiSetup[]): Promise<InterruptMachine> {
    const machine = await Machine.running(context, (a) => interruptGuest(a, spis));
    return new InterruptMachine(machine);
  }

  start(): void {
    this.#thread = this.machine.vcpu.start((exit) => this.handle(exit));
  }

  handle(exit: VcpuExit): ExitAction {
    if (exit.reason !== 'mmio') {
      this.#unexpected ||= exit.reason === 'internalError' ? exit.message : exit.reason;
    } else if (exit.address === MMIO + REPORT_READY) {
      this.ready = true;
    } else if (exit.address === MMIO + REPORT_IRQ) {
      this.taken.push(exit.value);
      this.onIrq(exit.value);
    } else if (exit.address === MMIO + REPORT_AFTER) {
      this.wakes++;
    } else {
      this.#unexpected ||= `access to 0x${exit.address.toString(16)}, value 0x${exit.value.toString(16)}`;
    }
    return this.#unexpected === '' ? 'resume' : 'stop';
  }

  /** Resolves when `condition` holds; rejects when the guest did something unexpected. */
  async until(condition: () => boolean): Promise<void> {
    await eventually(() => this.#unexpected !== '' || condition());
    if (this.#unexpected !== '') throw new Error(`unexpected: ${this.#unexpected}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine.vcpu.stop();
    await this.#thread;
    await this.machine[Symbol.asyncDispose]();
  }
}

export const interruptTests: readonly ComplianceTest[] = [
  test('a level interrupt is taken for as long as the line is high', async (context) => {
    await using guest = await InterruptMachine.create(context, [LEVEL]);
    guest.onIrq = () => {
      if (guest.taken.length === 3) guest.gic.setSpi(LEVEL.intid, false);
    };
    guest.start();
    await guest.until(() => guest.ready);
    guest.gic.setSpi(LEVEL.intid, true);
    await guest.until(() => guest.taken.length >= 3);
    const { wakes } = guest;
    // A second interrupt proves that the guest is alive and does not take the first one any more.
    guest.onIrq = () => guest.gic.setSpi(LEVEL.intid, false);
    guest.gic.setSpi(LEVEL.intid, true);
    await guest.until(() => guest.taken.length >= 4 && guest.wakes > wakes);
    context.assert.equal(guest.taken, [40, 40, 40, 40], 'interrupts taken');
  }),

  test('an edge interrupt is taken once for each pulse', async (context) => {
    await using guest = await InterruptMachine.create(context, [EDGE]);
    guest.start();
    await guest.until(() => guest.ready);
    for (let count = 1; count <= 20; count++) {
      const { wakes } = guest;
      guest.gic.pulseSpi(EDGE.intid);
      await guest.until(() => guest.taken.length >= count && guest.wakes > wakes);
      context.assert.equal(guest.taken.length, count, 'interrupts taken');
    }
  }),

  test('a pulse on a level-sensitive interrupt leaves nothing behind', async (context) => {
    await using guest = await InterruptMachine.create(context, [LEVEL, EDGE]);
    guest.start();
    await guest.until(() => guest.ready);
    guest.gic.pulseSpi(LEVEL.intid);
    guest.gic.pulseSpi(EDGE.intid);
    await guest.until(() => guest.taken.includes(EDGE.intid) && guest.wakes > 0);
    context.assert.equal(guest.taken, [EDGE.intid], 'interrupts taken');
  }),

  test('an interrupt raised before the guest enables it is taken afterwards', async (context) => {
    await using guest = await InterruptMachine.create(context, [LEVEL, EDGE, HIGH]);
    guest.onIrq = (intid) => guest.gic.setSpi(intid, false);
    guest.gic.setSpi(HIGH.intid, true);
    guest.gic.setSpi(LEVEL.intid, true);
    guest.start();
    await guest.until(() => guest.taken.length >= 2);
    // Of equal priorities, the lower INTID comes first (IHI 0069 4.8).
    context.assert.equal(guest.taken, [LEVEL.intid, HIGH.intid], 'interrupts taken');
  }),

  test('interrupts wake a vCPU thread many times over', async (context) => {
    await using guest = await InterruptMachine.create(context, [LEVEL]);
    guest.onIrq = () => guest.gic.setSpi(LEVEL.intid, false);
    guest.start();
    await guest.until(() => guest.ready);
    const rounds = 300;
    for (let count = 1; count <= rounds; count++) {
      guest.gic.setSpi(LEVEL.intid, true);
      await guest.until(() => guest.taken.length >= count);
    }
    context.assert.equal(guest.taken.length, rounds, 'interrupts taken');
  }),

  test('the timer wakes a vCPU thread from WFI', async (context) => {
    await using guest = await InterruptMachine.create(context, []);
    guest.machine.load((a) => {
      setUpVectors(a);
      setUpGic(a, []);
      a.movz(0, 20_000).msr(CNTV_TVAL_EL0, 0).movz(0, 1).msr(CNTV_CTL_EL0, 0).isb();
      a.daifClear(2).store(4, 31, X_MMIO, REPORT_READY);
      a.label('wait').wfi().b('wait');
      vectors(a, (handler) => handler.movz(11, 0).msr(CNTV_CTL_EL0, 11).isb());
    });
    guest.start();
    await guest.until(() => guest.taken.length > 0);
    context.assert.equal(guest.taken, [VIRTUAL_TIMER], 'interrupts taken');
  }),

  test('the counter advances and never goes back', async (context) => {
    await using machine = await Machine.running(context, (a) => {
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
    await using machine = await Machine.running(context, (a) => {
      setUpGic(a, [LEVEL]);
      a.wfi().movz(0, 6).store(4, 0, X_MMIO);
    });
    machine.createGic().setSpi(LEVEL.intid, true);
    context.assert.equal(machine.runToMmio().value, 6, 'what the guest does after the WFI');
  }),

  test('impossible interrupt controllers and interrupts are refused', async (context) => {
    await using machine = await Machine.create(context);
    const { vm } = machine;
    const { assert } = context;
    const good = { distributor: GIC_DISTRIBUTOR, redistributor: GIC_REDISTRIBUTOR, irqs: 128 };
    for (const bad of [
      { irqs: 32 },
      { irqs: 65 },
      { irqs: 2048 },
      { distributor: 0x800 },
      { redistributor: -1 },
    ]) {
      const what = JSON.stringify(bad);
      await expectCode(assert, 'INVALID_ARGUMENT', what, () => vm.createGicV3({ ...good, ...bad }));
    }
    const gic = vm.createGicV3(good);
    assert.equal(gic.version, 3, 'version');
    await expectCode(assert, 'WRONG_STATE', 'a second one', () => vm.createGicV3(good));
    for (const intid of [-1, 0, 31, 128, 1023, 40.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `setSpi(${intid})`, () => gic.setSpi(intid, true));
      await expectCode(assert, 'INVALID_ARGUMENT', `pulseSpi(${intid})`, () => gic.pulseSpi(intid));
    }
  }),

  test(
    'with the instruction clock, WFI lets time jump to the timer, the same way every time',
    async (context) => {
      const once = async (): Promise<[number, bigint, bigint]> => {
        await using machine = await Machine.running(
          context,
          (a) => {
            setUpVectors(a);
            setUpGic(a, []);
            // An hour of a 62.5 MHz counter.
            a.mrs(0, CNTVCT_EL0).movImmediate(1, 3600 * 62_500_000);
            a.add(0, 0, 1).msr(CNTV_CVAL_EL0, 0).movz(0, 1).msr(CNTV_CTL_EL0, 0).isb();
            a.daifClear(2).label('wait').wfi().b('wait');
            vectors(a);
          },
          { clock: 'instructions' },
        );
        machine.createGic();
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
