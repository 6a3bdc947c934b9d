import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { MMIO } from './machine.ts';
import type { GuestRegister } from './program.ts';

const WIDTHS = [1, 2, 4, 8] as const;
/** One register for each width. */
const REGISTER_OF_WIDTH: Readonly<Record<(typeof WIDTHS)[number], GuestRegister>> = {
  1: 'a',
  2: 'b',
  4: 'c',
  8: 'd',
};

export const exitTests: readonly GuestTest[] = [
  guestTest('MMIO writes carry address, width and value', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 0xf1e2_d3c4_b5a6_9788n);
      for (const width of WIDTHS) program.store(width, 'a', MMIO + 8 * width);
    });
    const { assert } = context;
    const values = {
      1: [0x88, 0],
      2: [0x9788, 0],
      4: [0xb5a6_9788, 0],
      8: [0xb5a6_9788, 0xf1e2_d3c4],
    } as const;
    for (const width of WIDTHS) {
      const exit = machine.runToMmio();
      assert.equal(
        [exit.address, exit.length, exit.write],
        [MMIO + 8 * width, width, true],
        `width ${width}`,
      );
      assert.equal([exit.value, exit.valueHigh], values[width], `value of width ${width}`);
    }
  }),

  guestTest('MMIO reads are completed with the answer, cut to their width', async (context) => {
    await using machine = await context.running((program) => {
      for (const width of WIDTHS) {
        const register = REGISTER_OF_WIDTH[width];
        program.set(register, -1n).load(width, register, MMIO + 8 * width);
      }
      program.store(4, 'a', MMIO);
    });
    const { assert } = context;
    for (const width of WIDTHS) {
      const exit = machine.runToMmio();
      assert.equal(
        [exit.address, exit.length, exit.write],
        [MMIO + 8 * width, width, false],
        `width ${width}`,
      );
      exit.value = 0xb5a6_9788;
      exit.valueHigh = 0xf1e2_d3c4;
    }
    machine.runToMmio();
    const values = { 1: 0x88n, 2: 0x9788n, 4: 0xb5a6_9788n, 8: 0xf1e2_d3c4_b5a6_9788n } as const;
    for (const width of WIDTHS) {
      assert.equal(machine.getRegister(REGISTER_OF_WIDTH[width]), values[width], `loaded, width ${width}`);
    }
  }),

  guestTest('a read that nobody answers gives 0', async (context) => {
    await using machine = await context.running((program) => {
      program
        .load(4, 'a', MMIO)
        .load(4, 'b', MMIO + 4)
        .store(4, 'b', MMIO + 8);
    });
    machine.runToMmio().value = 0xffff_ffff;
    machine.runToMmio();
    context.assert.equal(machine.runToMmio().value, 0, 'what the guest got');
  }),

  guestTest('one exit object is used again and again', async (context) => {
    await using machine = await context.running((program) => {
      program.label('again').store(4, 'a', MMIO).load(4, 'a', MMIO).jump('again');
    });
    const first = machine.runToMmio();
    for (let count = 0; count < 10; count++) {
      context.assert.ok(machine.runToMmio() === first, 'the same object');
      context.assert.equal(first.write, count % 2 === 1, 'with new content');
    }
  }),

  guestTest('each access of a loop exits once, in order', async (context) => {
    await using machine = await context.running((program) => {
      program
        .set('a', 0)
        .label('again')
        .store(4, 'a', MMIO)
        .load(4, 'b', MMIO + 4);
      program.addRegister('a', 'b').jump('again');
    });
    let expected = 0;
    for (let count = 0; count < 1000; count++) {
      const store = machine.runToMmio();
      context.assert.equal([store.write, store.value], [true, expected], `store ${count}`);
      const load = machine.runToMmio();
      context.assert.equal([load.write, load.address], [false, MMIO + 4], `load ${count}`);
      load.value = count % 7;
      expected += count % 7;
    }
  }),

  guestTest('the end that a guest asks for is an exit', async (context) => {
    await using machine = await context.running((program) => program.end());
    const exit = machine.vcpu.run();
    context.assert.equal(exit.reason, machine.endReason, 'reason');
  }),

  guestTest('a kick brings run() back, even when it comes first, and the guest goes on', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 3).store(4, 'a', MMIO).store(4, 'a', MMIO);
    });
    const { vcpu } = machine;
    vcpu.kick();
    context.assert.equal(vcpu.run().reason, 'interrupted', 'first run');
    context.assert.equal(machine.runToMmio().value, 3, 'second run');
    vcpu.kick();
    vcpu.kick();
    context.assert.equal(vcpu.run().reason, 'interrupted', 'two kicks count as one');
    context.assert.equal(machine.runToMmio().value, 3, 'the run after it');
  }),

  guestTest('a kick between a read and its completion loses neither', async (context) => {
    await using machine = await context.running((program) => {
      program.load(4, 'a', MMIO).store(4, 'a', MMIO + 4);
    });
    machine.runToMmio().value = 0x1234;
    machine.vcpu.kick();
    context.assert.equal(machine.vcpu.run().reason, 'interrupted', 'the kick');
    context.assert.equal(machine.runToMmio().value, 0x1234, 'the answer');
  }),
];
