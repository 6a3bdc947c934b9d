import type { VcpuExit } from '../exit.ts';
import type { ExitAction } from '../vcpu.ts';
import type { GuestContext, GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import type { InputSetup, Machine } from './machine.ts';
import { describeExit, INPUTS, MMIO, REPORT } from './machine.ts';
import { counting } from './programs.ts';
import { eventually, expectCode, nextTurn } from './suite.ts';

const LEVEL: InputSetup = { gsi: INPUTS.level, edge: false };
const EDGE: InputSetup = { gsi: INPUTS.edge, edge: true };
const HIGH: InputSetup = { gsi: INPUTS.high, edge: false };

/** A guest with interrupts on a thread, and what it reported so far. */
export class InterruptGuest implements AsyncDisposable {
  readonly machine: Machine;
  /** Inputs whose interrupts were taken. */
  readonly taken: number[] = [];
  /** Called when an interrupt is taken, while the vCPU waits. */
  onIrq: (gsi: number) => void = () => undefined;
  /** Called when the guest is ready, while the vCPU waits. */
  onReady: () => void = () => undefined;
  ready = false;
  /** Interrupts that were handled to their end. */
  ended = 0;
  readonly #inputs: ReadonlyMap<number, number>;
  #unexpected = '';
  #thread: Promise<void> = Promise.resolve();

  constructor(machine: Machine, inputs: readonly InputSetup[]) {
    this.machine = machine;
    this.#inputs = new Map(inputs.map(({ gsi }) => [machine.reported(gsi), gsi]));
  }

  static async create(context: GuestContext, inputs: readonly InputSetup[]): Promise<InterruptGuest> {
    const machine = await context.createMachine({ interrupts: true });
    machine.loadInterruptGuest(inputs);
    return new InterruptGuest(machine, inputs);
  }

  start(): void {
    this.#thread = this.machine.vcpu.start((exit) => this.#handle(exit));
  }

  #handle(exit: VcpuExit): ExitAction {
    const address = exit.reason === 'mmio' ? exit.address - MMIO : -1;
    const gsi = exit.reason === 'mmio' ? this.#inputs.get(exit.value) : undefined;
    if (address === REPORT.READY) {
      this.ready = true;
      this.onReady();
    } else if (address === REPORT.IRQ && gsi !== undefined) {
      this.taken.push(gsi);
      this.onIrq(gsi);
    } else if (address === REPORT.END) {
      this.ended++;
    } else {
      this.#unexpected ||=
        exit.reason === 'mmio'
          ? `access to 0x${exit.address.toString(16)}, value 0x${exit.value.toString(16)}`
          : describeExit(exit);
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

export const interruptTests: readonly GuestTest[] = [
  guestTest(
    'a level interrupt is taken for as long as the line is high',
    async (context) => {
      await using guest = await InterruptGuest.create(context, [LEVEL]);
      const { interrupts } = guest.machine;
      guest.onIrq = () => {
        if (guest.taken.length === 3) interrupts.setLine(LEVEL.gsi, false);
      };
      guest.start();
      await guest.until(() => guest.ready);
      interrupts.setLine(LEVEL.gsi, true);
      await guest.until(() => guest.taken.length >= 3 && guest.ended >= 3);
      // A second interrupt proves that the guest is alive and does not take the first one any more.
      guest.onIrq = () => interrupts.setLine(LEVEL.gsi, false);
      interrupts.setLine(LEVEL.gsi, true);
      await guest.until(() => guest.ended >= 4);
      context.assert.equal(guest.taken.length, 4, 'interrupts taken');
    },
    ['levelInterrupts'],
  ),

  guestTest('an edge interrupt is taken once for each pulse', async (context) => {
    await using guest = await InterruptGuest.create(context, [EDGE]);
    guest.start();
    await guest.until(() => guest.ready);
    for (let count = 1; count <= 20; count++) {
      guest.machine.interrupts.pulse(EDGE.gsi);
      await guest.until(() => guest.ended >= count);
      context.assert.equal(guest.taken.length, count, 'interrupts taken');
    }
  }),

  guestTest(
    'interrupts raised before the guest enables them are taken afterwards',
    async (context) => {
      await using guest = await InterruptGuest.create(context, [LEVEL, HIGH]);
      const { interrupts } = guest.machine;
      guest.onIrq = (gsi) => interrupts.setLine(gsi, false);
      interrupts.setLine(HIGH.gsi, true);
      interrupts.setLine(LEVEL.gsi, true);
      guest.start();
      await guest.until(() => guest.ended >= 2);
      context.assert.equal(
        guest.taken.toSorted((a, b) => a - b),
        [LEVEL.gsi, HIGH.gsi],
        'interrupts taken',
      );
    },
    ['levelInterrupts'],
  ),

  guestTest(
    'interrupts wake a vCPU thread many times over',
    async (context) => {
      await using guest = await InterruptGuest.create(context, [LEVEL]);
      const { interrupts } = guest.machine;
      guest.onIrq = () => interrupts.setLine(LEVEL.gsi, false);
      guest.start();
      await guest.until(() => guest.ready);
      const rounds = 300;
      for (let count = 1; count <= rounds; count++) {
        interrupts.setLine(LEVEL.gsi, true);
        await guest.until(() => guest.ended >= count);
      }
      context.assert.equal(guest.taken.length, rounds, 'interrupts taken');
    },
    ['levelInterrupts'],
  ),

  guestTest('each trigger of an interrupt input is an edge', async (context) => {
    await using guest = await InterruptGuest.create(context, [EDGE]);
    const input = guest.machine.vm.createInterrupt(EDGE.gsi);
    context.assert.equal(input.gsi, EDGE.gsi, 'gsi');
    guest.start();
    await guest.until(() => guest.ready);
    for (let count = 1; count <= 300; count++) {
      input.trigger();
      await guest.until(() => guest.ended >= count);
      context.assert.equal(guest.taken.length, count, 'interrupts taken');
    }
    input[Symbol.dispose]();
    input[Symbol.dispose]();
  }),

  guestTest('a trigger while the guest handles the one before it is taken afterwards', async (context) => {
    await using guest = await InterruptGuest.create(context, [EDGE]);
    using input = guest.machine.vm.createInterrupt(EDGE.gsi);
    guest.onIrq = () => {
      if (guest.taken.length === 1) input.trigger();
    };
    guest.start();
    await guest.until(() => guest.ready);
    input.trigger();
    await guest.until(() => guest.ended >= 2);
    context.assert.equal(guest.taken, [EDGE.gsi, EDGE.gsi], 'interrupts taken');
  }),

  guestTest('impossible interrupt inputs are refused', async (context) => {
    const { assert } = context;
    {
      await using machine = await context.running(counting);
      await expectCode(assert, 'WRONG_STATE', 'without an interrupt controller', () =>
        machine.vm.createInterrupt(INPUTS.edge),
      );
    }
    await using machine = await context.createMachine({ interrupts: true });
    for (const gsi of [-1, 0.5, Number.NaN, 2 ** 32]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `gsi ${gsi}`, () => machine.vm.createInterrupt(gsi));
      await expectCode(assert, 'INVALID_ARGUMENT', `line ${gsi}`, () =>
        machine.interrupts.setLine(gsi, true),
      );
    }
  }),

  guestTest(
    'a resampled input is high until the guest has handled it, and then asks the device',
    async (context) => {
      await using guest = await InterruptGuest.create(context, [LEVEL, EDGE]);
      let reasons = 0;
      let asked = 0;
      using input = guest.machine.vm.createInterrupt(LEVEL.gsi, () => {
        asked++;
        if (--reasons > 0) input.trigger();
      });
      guest.start();
      await guest.until(() => guest.ready);
      for (const [round, count] of [3, 1, 5].entries()) {
        const before = guest.taken.length;
        asked = 0;
        reasons = count;
        input.trigger();
        await guest.until(() => asked === count);
        // An edge behind it proves that nothing more comes of the level-triggered one.
        guest.machine.interrupts.pulse(EDGE.gsi);
        await guest.until(() => guest.taken.length === before + count + 1);
        context.assert.equal(
          guest.taken.slice(before),
          [...Array.from({ length: count }, () => LEVEL.gsi), EDGE.gsi],
          `round ${round}`,
        );
      }
    },
    ['resample'],
  ),

  guestTest(
    'a disposed resampled input neither interrupts nor asks',
    async (context) => {
      await using guest = await InterruptGuest.create(context, [LEVEL, EDGE]);
      let asked = 0;
      const input = guest.machine.vm.createInterrupt(LEVEL.gsi, () => asked++);
      guest.start();
      await guest.until(() => guest.ready);
      input.trigger();
      await guest.until(() => asked === 1);
      input[Symbol.dispose]();
      input[Symbol.dispose]();
      await nextTurn();
      await guest.until(() => guest.ended === 1);
      guest.machine.interrupts.pulse(EDGE.gsi);
      await guest.until(() => guest.ended === 2);
      context.assert.equal([guest.taken, asked], [[LEVEL.gsi, EDGE.gsi], 1], 'interrupts and questions');
      guest.machine.vm.createInterrupt(LEVEL.gsi)[Symbol.dispose]();
    },
    ['resample'],
  ),

  guestTest('interrupt latency is measured', async (context) => {
    await using guest = await InterruptGuest.create(context, [EDGE]);
    using input = guest.machine.vm.createInterrupt(EDGE.gsi);
    const times: number[] = [];
    let before = 0;
    guest.onIrq = () => times.push(performance.now() - before);
    guest.start();
    await guest.until(() => guest.ready);
    for (let count = 1; count <= 100; count++) {
      before = performance.now();
      input.trigger();
      await guest.until(() => guest.ended >= count);
    }
    times.sort((a, b) => a - b);
    context.report('interrupt to exit of its handler, median', times[50]! * 1000, 'us');
    context.assert.equal(times.length, 100, 'rounds');
  }),
];
