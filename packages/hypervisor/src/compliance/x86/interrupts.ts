import type { ExitAction } from '../../vcpu.ts';
import type { VcpuExit } from '../../exit.ts';
import type { X86IrqChipConfig } from '../../x86.ts';
import { INPUTS, MMIO, REPORT } from '../machine.ts';
import { describeExit } from '../machine.ts';
import { expectCode } from '../suite.ts';
import {
  APIC,
  LOCAL_APIC,
  PIC_MASKS,
  setUpLocalApic,
  VECTOR_OF_GSI,
  waitForInterrupts,
} from './interrupt-guest.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

const VECTOR = 0x60;
/** Fixed delivery to APIC 0, edge-triggered (Intel SDM Vol. 3 §11.11). */
const EDGE_MESSAGE = { address: LOCAL_APIC, addressHigh: 0, data: VECTOR };
/** Level-triggered, asserted. */
const LEVEL_MESSAGE = { address: LOCAL_APIC, addressHigh: 0, data: VECTOR + 0xc000 };

const PIT_COUNTER = 0x40;

/** What happens to an interrupt guest: the vectors that it takes and the ends that it signals. */
class Events {
  readonly seen: string[] = [];
  readonly #waiting = new Map<string, () => void>();

  /** Handles an exit of the guest's thread. */
  handle(exit: VcpuExit): ExitAction {
    const address = exit.reason === 'mmio' ? exit.address - MMIO : -1;
    if (exit.reason === 'mmio' && address === REPORT.IRQ) this.#tell(`vector ${exit.value}`);
    else if (exit.reason === 'eoi') this.#tell(`eoi ${exit.vector}`);
    else if (address === REPORT.READY) this.#tell('ready');
    else if (address !== REPORT.END && !isPicMask(exit)) {
      this.#tell(describeExit(exit));
      return 'stop';
    }
    return 'resume';
  }

  /** Calls back when the event comes, while the vCPU waits. */
  when(event: string, action: () => void): void {
    this.#waiting.set(event, action);
  }

  #tell(event: string): void {
    this.seen.push(event);
    const action = this.#waiting.get(event);
    this.#waiting.delete(event);
    action?.();
  }

  /** Resolves when the event comes for the first time after this call. */
  async next(event: string): Promise<void> {
    return new Promise((resolve) => this.when(event, resolve));
  }
}

/** The guest masks PICs that the split irqchip does not have. */
function isPicMask(exit: VcpuExit): boolean {
  return exit.reason === 'io' && exit.write && PIC_MASKS.includes(exit.port);
}

/** Runs the guest on a thread while `drive` lasts. */
async function onThread(machine: X86Machine, events: Events, drive: () => Promise<void>): Promise<void> {
  const thread = machine.vcpu.start((exit) => events.handle(exit));
  const failed = thread.then(() => {
    throw new Error(`the guest ended: ${events.seen.join(', ')}`);
  });
  await Promise.race([drive(), failed]);
  await machine.vcpu.stop();
  await failed.catch(() => undefined);
}

function loadWaitingGuest(machine: X86Machine): void {
  machine.assembleWithInterrupts((a) => {
    setUpLocalApic(a);
    waitForInterrupts(a);
  });
}

const CHIPS: readonly X86IrqChipConfig[] = [{ mode: 'kernel' }, { mode: 'split' }];

export const interruptTests: readonly X86Test[] = [
  test('messages are delivered by the local APIC, with either irqchip', async (context) => {
    for (const irqChip of CHIPS) {
      await using machine = await X86Machine.create(context, { irqChip });
      loadWaitingGuest(machine);
      const events = new Events();
      await onThread(machine, events, async () => {
        await events.next('ready');
        for (let round = 0; round < 10; round++) {
          const taken = events.next(`vector ${VECTOR}`);
          machine.irqChip.signalMsi(EDGE_MESSAGE);
          await taken;
        }
      });
      const expected = ['ready', ...Array.from({ length: 10 }, () => `vector ${VECTOR}`)];
      context.assert.equal(events.seen, expected, `${irqChip.mode}: what happened`);
    }
  }),

  test('an interrupt input goes where its route leads, with either irqchip', async (context) => {
    for (const irqChip of CHIPS) {
      await using machine = await X86Machine.create(context, { irqChip });
      loadWaitingGuest(machine);
      const events = new Events();
      const route = (gsi: number, vector: number) =>
        ({ gsi, kind: 'msi', message: { ...EDGE_MESSAGE, data: vector } }) as const;
      machine.irqChip.setRoutes([route(20, 0x51), route(21, 0x52)]);
      using first = machine.vm.createInterrupt(20);
      using second = machine.vm.createInterrupt(21);
      await onThread(machine, events, async () => {
        await events.next('ready');
        const steps = [
          [first, 0x51],
          [second, 0x52],
          [first, 0x51],
        ] as const;
        for (const [input, vector] of steps) {
          const taken = events.next(`vector ${vector}`);
          input.trigger();
          await taken;
        }
        machine.irqChip.setRoutes([route(20, 0x53)]);
        const taken = events.next('vector 83');
        second.trigger();
        first.trigger();
        await taken;
      });
      context.assert.equal(
        events.seen,
        ['ready', ...[0x51, 0x52, 0x51, 0x53].map((vector) => `vector ${vector}`)],
        `${irqChip.mode}: what happened`,
      );
    }
  }),

  test('inputs of messages beyond the IOAPIC follow every table, whichever was made first', async (context) => {
    const gsis = [24, 25, 255, 256, 1023, 4095];
    for (const irqChip of CHIPS) {
      await using machine = await X86Machine.create(context, { irqChip });
      loadWaitingGuest(machine);
      const events = new Events();
      const expected = ['ready'];
      const inputs = gsis.map((gsi) => machine.vm.createInterrupt(gsi));
      await onThread(machine, events, async () => {
        await events.next('ready');
        for (const first of [0x50, 0x90]) {
          const tables = gsis.map((gsi, index) => ({
            gsi,
            kind: 'msi' as const,
            message: { ...EDGE_MESSAGE, data: first + index },
          }));
          machine.irqChip.setRoutes(tables);
          for (const [index, input] of inputs.entries()) {
            const event = `vector ${first + index}`;
            expected.push(event);
            const taken = events.next(event);
            input.trigger();
            await taken;
          }
        }
      });
      for (const input of inputs) input[Symbol.dispose]();
      context.assert.equal(events.seen, expected, `${irqChip.mode}: what happened`);
    }
  }),

  test('a global system interrupt can be routed to any pin of the IOAPIC', async (context) => {
    await using machine = await X86Machine.create(context, { interrupts: true });
    machine.loadInterruptGuest([{ gsi: INPUTS.high, edge: true }]);
    machine.irqChip.setRoutes([{ gsi: 60, kind: 'irqchip', chip: 'ioapic', pin: INPUTS.high }]);
    const events = new Events();
    const vector = `vector ${VECTOR_OF_GSI + INPUTS.high}`;
    await onThread(machine, events, async () => {
      await events.next('ready');
      for (let round = 0; round < 3; round++) {
        const taken = events.next(vector);
        machine.interrupts.pulse(60);
        await taken;
      }
    });
    context.assert.equal(events.seen, ['ready', vector, vector, vector], 'what happened');
  }),

  test('the end of a level-triggered message is told with the split irqchip', async (context) => {
    await using machine = await X86Machine.create(context, { irqChip: { mode: 'split' } });
    loadWaitingGuest(machine);
    machine.irqChip.setRoutes([{ gsi: 10, kind: 'msi', message: LEVEL_MESSAGE }]);
    const events = new Events();
    await onThread(machine, events, async () => {
      await events.next('ready');
      for (let round = 0; round < 3; round++) {
        const ended = events.next(`eoi ${VECTOR}`);
        machine.irqChip.signalMsi(LEVEL_MESSAGE);
        await ended;
      }
    });
    const once = [`vector ${VECTOR}`, `eoi ${VECTOR}`];
    context.assert.equal(events.seen, ['ready', ...once, ...once, ...once], 'what happened');
  }),

  test("the local APIC's timer wakes a vCPU thread from HLT", async (context) => {
    for (const irqChip of CHIPS) {
      await using machine = await X86Machine.create(context, { irqChip });
      machine.assembleWithInterrupts((a) => {
        setUpLocalApic(a);
        // One-shot; divided by 1 (Intel SDM Vol. 3 §11.5.4).
        a.storeImmediate(0b1011, 'rsi', APIC.TIMER_DIVIDE).storeImmediate(VECTOR, 'rsi', APIC.LVT_TIMER);
        a.storeImmediate(100_000, 'rsi', APIC.TIMER_INITIAL);
        waitForInterrupts(a);
      });
      const events = new Events();
      await onThread(machine, events, async () => events.next(`vector ${VECTOR}`));
      context.assert.ok(events.seen.includes(`vector ${VECTOR}`), irqChip.mode);
    }
  }),

  test('the timer of the kernel irqchip is there when it is wanted', async (context) => {
    for (const pit of [false, true]) {
      await using machine = await X86Machine.create(context, { irqChip: { mode: 'kernel', pit } });
      machine.assemble((a) => a.in(1, PIT_COUNTER).movImmediate('rdi', MMIO).store(4, 'rax', 'rdi'));
      context.assert.equal(machine.vcpu.run().reason, pit ? 'mmio' : 'io', `pit: ${String(pit)}`);
    }
  }),

  test('impossible interrupt controllers, routes and lines are refused', async (context) => {
    const { assert } = context;
    await using machine = await X86Machine.create(context, { interrupts: true });
    const { vm, irqChip } = machine;
    assert.equal(irqChip.mode, 'kernel', 'mode');
    await expectCode(assert, 'WRONG_STATE', 'a second one', () => vm.createIrqChip({ mode: 'kernel' }));
    for (const gsi of [-1, 2 ** 32, 0.5]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `a route of ${gsi}`, () =>
        irqChip.setRoutes([{ gsi, kind: 'irqchip', chip: 'ioapic', pin: 1 }]),
      );
      await expectCode(assert, 'INVALID_ARGUMENT', `a route to pin ${gsi}`, () =>
        irqChip.setRoutes([{ gsi: 5, kind: 'irqchip', chip: 'ioapic', pin: gsi }]),
      );
    }
    await using late = await X86Machine.create(context);
    await expectCode(assert, 'WRONG_STATE', 'after a vCPU', () => late.vm.createIrqChip({ mode: 'kernel' }));
    await expectCode(assert, 'INVALID_ARGUMENT', 'a PIT with split', () =>
      X86Machine.create(context, { irqChip: { mode: 'split', pit: true } }),
    );
    await expectCode(assert, 'INVALID_ARGUMENT', 'too many inputs', () =>
      X86Machine.create(context, { irqChip: { mode: 'split', inputs: 1e6 } }),
    );
  }),
];
