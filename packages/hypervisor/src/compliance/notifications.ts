import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { MMIO } from './machine.ts';
import { eventually, expectCode } from './suite.ts';

const BELL = MMIO + 0x1000;
const QUEUE = MMIO + 0x2000;
const SHADOW = MMIO + 0x3000;

export const notificationTests: readonly GuestTest[] = [
  guestTest('a doorbell takes stores without an exit and rings once for all of them', async (context) => {
    await using machine = await context.running((program) => {
      program.store(4, 'a', BELL).store(4, 'b', BELL).store(4, 'a', MMIO);
      program.store(4, 'a', BELL).store(4, 'a', MMIO);
    });
    const { assert } = context;
    let rung = 0;
    machine.vm.createDoorbell(BELL, 4, undefined, () => rung++);
    assert.equal(machine.runToMmio().address, MMIO, 'the first exit is another one');
    await eventually(() => rung > 0);
    assert.equal(rung, 1, 'two stores ring once');
    assert.equal(machine.runToMmio().address, MMIO, 'the second exit');
    await eventually(() => rung > 1);
    assert.equal(rung, 2, 'a later store rings again');
  }),

  guestTest('a doorbell is hit by its own address and width only', async (context) => {
    await using machine = await context.running((program) => {
      program
        .store(2, 'a', BELL)
        .store(1, 'a', BELL)
        .store(4, 'a', BELL + 4);
      program.load(4, 'a', BELL).store(4, 'a', MMIO);
    });
    const { assert } = context;
    let rung = 0;
    machine.vm.createDoorbell(BELL, 4, undefined, () => rung++);
    const seen = [0, 1, 2, 3].map(() => {
      const { address, length, write } = machine.runToMmio();
      return [address - BELL, length, write];
    });
    assert.equal(
      seen,
      [
        [0, 2, true],
        [0, 1, true],
        [4, 4, true],
        [0, 4, false],
      ],
      'accesses that exit',
    );
    machine.runToMmio();
    assert.equal(rung, 0, 'no ring');
  }),

  guestTest('a doorbell with a value is rung by that value, and others exit', async (context) => {
    await using machine = await context.running((program) => {
      for (const value of [1, 3, 2, 1]) program.set('a', value).store(4, 'a', BELL);
      program.store(4, 'a', MMIO);
    });
    const { assert } = context;
    const rung: string[] = [];
    machine.vm.createDoorbell(BELL, 4, 1, () => rung.push('one'));
    machine.vm.createDoorbell(BELL, 4, 2, () => rung.push('two'));
    const exit = machine.runToMmio();
    assert.equal([exit.address, exit.value], [BELL, 3], 'the value of no doorbell');
    assert.equal(machine.runToMmio().address, MMIO, 'the end');
    await eventually(() => rung.includes('two') && rung.filter((name) => name === 'one').length >= 1);
    assert.equal(new Set(rung).size, 2, 'both rang');
  }),

  guestTest('doorbells of 2 bytes compare 2 bytes', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 0x5_0007).store(2, 'a', BELL).store(4, 'a', MMIO);
    });
    let rung = 0;
    machine.vm.createDoorbell(BELL, 2, 7, () => rung++);
    context.assert.equal(machine.runToMmio().address, MMIO, 'no exit before the end');
    await eventually(() => rung === 1);
  }),

  guestTest('a disposed doorbell exits again, and disposing twice is harmless', async (context) => {
    await using machine = await context.running((program) => {
      program.store(4, 'a', BELL).store(4, 'a', MMIO).store(4, 'a', BELL);
    });
    let rung = 0;
    const bell = machine.vm.createDoorbell(BELL, 4, undefined, () => rung++);
    context.assert.equal(bell.address, BELL, 'address');
    machine.runToMmio();
    await eventually(() => rung === 1);
    bell[Symbol.dispose]();
    bell[Symbol.dispose]();
    context.assert.equal(machine.runToMmio().address, BELL, 'the store exits');
    machine.vm.createDoorbell(BELL, 4, undefined, () => undefined);
  }),

  guestTest('impossible doorbells are refused', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    const { assert } = context;
    const none = (): void => undefined;
    vm.createDoorbell(BELL, 4, 5, none);
    await expectCode(assert, 'OVERLAP', 'the same again', () => vm.createDoorbell(BELL, 4, 5, none));
    await expectCode(assert, 'INVALID_ARGUMENT', 'address', () => vm.createDoorbell(BELL + 2, 4, 5, none));
    await expectCode(assert, 'INVALID_ARGUMENT', 'value', () => vm.createDoorbell(BELL, 2, 0x1_0000, none));
    await expectCode(assert, 'INVALID_ARGUMENT', 'negative value', () =>
      vm.createDoorbell(BELL, 4, -1, none),
    );
  }),

  guestTest('coalesced writes arrive in order, before the exit that follows them', async (context) => {
    const count = 1000;
    await using machine = await context.running((program) => {
      program.set('a', 0).set('b', count).label('again').add('a', 1);
      program
        .store(1, 'a', QUEUE)
        .store(2, 'a', QUEUE + 2)
        .store(4, 'a', QUEUE + 4);
      program.subtract('b', 1).jumpIfNotZero('b', 'again').store(4, 'a', MMIO);
    });
    const writes: (readonly [number, number, number])[] = [];
    machine.vm.coalesceWrites(QUEUE, 8, (address, length, value) =>
      writes.push([address - QUEUE, length, value]),
    );
    let exits = 0;
    for (;;) {
      // With no room left for one more write the hypervisor may exit for it.
      const { address, length, value } = machine.runToMmio();
      if (address === MMIO) break;
      exits++;
      writes.push([address - QUEUE, length, value]);
    }
    const expected = Array.from({ length: count }, (_, index) => {
      const value = index + 1;
      return [
        [0, 1, value & 0xff],
        [2, 2, value],
        [4, 4, value],
      ];
    }).flat();
    context.assert.equal(writes, expected, 'writes in order');
    context.report('exits for 3000 coalesced writes', exits, 'exits');
  }),

  guestTest('reads and stores that reach beyond a coalesced range exit', async (context) => {
    await using machine = await context.running((program) => {
      program
        .load(4, 'a', QUEUE)
        .store(4, 'a', QUEUE + 4)
        .store(4, 'a', MMIO);
    });
    let writes = 0;
    const range = machine.vm.coalesceWrites(QUEUE, 6, () => writes++);
    const read = machine.runToMmio();
    context.assert.equal([read.address, read.write], [QUEUE, false], 'a read');
    const beyond = machine.runToMmio();
    context.assert.equal([beyond.address, beyond.write], [QUEUE + 4, true], 'a store that ends outside');
    machine.runToMmio();
    context.assert.equal(writes, 0, 'writes taken');
    range[Symbol.dispose]();
    range[Symbol.dispose]();
    machine.vm.coalesceWrites(QUEUE, 8, () => undefined);
  }),

  guestTest('overlapping coalesced ranges are refused', async (context) => {
    await using machine = await context.createMachine();
    const none = (): void => undefined;
    machine.vm.coalesceWrites(QUEUE, 8, none);
    await expectCode(context.assert, 'OVERLAP', 'overlap', () =>
      machine.vm.coalesceWrites(QUEUE + 4, 8, none),
    );
    await expectCode(context.assert, 'INVALID_ARGUMENT', 'length', () =>
      machine.vm.coalesceWrites(QUEUE, 0, none),
    );
    machine.vm.coalesceWrites(QUEUE + 8, 8, none);
  }),

  guestTest('a shadowed read gives the value set last, or exits', async (context) => {
    await using machine = await context.running((program) => {
      for (let count = 0; count < 3; count++) program.load(4, 'a', SHADOW).store(4, 'a', MMIO);
      program.load(2, 'a', SHADOW).store(4, 'a', MMIO).load(1, 'a', SHADOW).store(4, 'a', MMIO);
      program.load(4, 'a', SHADOW + 4);
    });
    const { assert } = context;
    let exits = 0;
    /** What the guest loaded; the host answers if it is asked. */
    const loaded = (value: number): number => {
      let exit = machine.runToMmio();
      if (exit.address === SHADOW) {
        exits++;
        exit.value = value;
        exit = machine.runToMmio();
      }
      return exit.value;
    };
    const shadow = machine.vm.shadowRead(SHADOW, 0x1111_1111);
    assert.equal(loaded(0x1111_1111), 0x1111_1111, 'the first value');
    shadow.set(0xffff_fffe);
    assert.equal(loaded(0xffff_fffe), 0xffff_fffe, 'the second value');
    context.report('exits for 2 shadowed reads', exits, 'exits');
    shadow[Symbol.dispose]();
    shadow[Symbol.dispose]();
    const exit = machine.runToMmio();
    assert.equal([exit.address, exit.write], [SHADOW, false], 'without the shadow');
    exit.value = 9;
    assert.equal(machine.runToMmio().value, 9, 'answered by the host');
    machine.vm.shadowRead(SHADOW, 0x1234_5678);
    assert.equal(loaded(0x5678), 0x5678, 'a load of 2 bytes');
    assert.equal(loaded(0x78), 0x78, 'a load of 1 byte');
    assert.equal(machine.runToMmio().address, SHADOW + 4, 'the next register exits');
  }),
];
