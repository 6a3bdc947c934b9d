import { MMIO } from '../machine.ts';
import { eventually, expectCode } from '../suite.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

const BELL = 0xc0;
const QUEUE = 0xd0;

export const portTests: readonly X86Test[] = [
  test('a port doorbell takes OUTs of its port and width without an exit', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdi', MMIO).out(2, BELL).out(2, BELL).store(4, 'rax', 'rdi');
      a.out(1, BELL)
        .out(2, BELL + 2)
        .in(2, BELL)
        .store(4, 'rax', 'rdi');
    });
    const { assert } = context;
    let rung = 0;
    const bell = machine.vm.createPortDoorbell(BELL, 2, undefined, () => rung++);
    assert.equal(machine.runToMmio().address, MMIO, 'no exit before this one');
    await eventually(() => rung > 0);
    assert.equal(rung, 1, 'two rings are told once');
    const seen = [0, 1, 2].map(() => {
      const { port, length, write } = machine.runToIo();
      return [port - BELL, length, write];
    });
    assert.equal(
      seen,
      [
        [0, 1, true],
        [2, 2, true],
        [0, 2, false],
      ],
      'what exits',
    );
    machine.runToMmio();
    assert.equal(rung, 1, 'rings');
    bell[Symbol.dispose]();
    bell[Symbol.dispose]();
  }),

  test('a port doorbell with a value is rung by that value, and is none of memory', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rax', 3).out(4, BELL).movImmediate('rax', 4).out(4, BELL);
      a.movImmediate('rdi', BELL).store(4, 'rax', 'rdi');
    });
    const { assert } = context;
    let rung = 0;
    const bell = machine.vm.createPortDoorbell(BELL, 4, 3, () => rung++);
    const exit = machine.runToIo();
    assert.equal([exit.port, exit.value], [BELL, 4], 'the other value');
    await eventually(() => rung === 1);
    assert.equal(machine.runToMmio().address, BELL, 'a store to memory of the same number');
    await expectCode(assert, 'OVERLAP', 'the same again', () =>
      machine.vm.createPortDoorbell(BELL, 4, 3, () => undefined),
    );
    await expectCode(assert, 'INVALID_ARGUMENT', 'a port beyond', () =>
      machine.vm.createPortDoorbell(0x1_0000, 4, 3, () => undefined),
    );
    bell[Symbol.dispose]();
    machine.vm.createPortDoorbell(BELL, 4, 3, () => undefined);
  }),

  test('coalesced port writes arrive in order, before the exit that follows them', async (context) => {
    const count = 300;
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rax', 0).movImmediate('rbx', count).movImmediate('rdi', MMIO).label('again');
      a.addImmediate('rax', 1)
        .out(1, QUEUE)
        .out(2, QUEUE + 2)
        .out(4, QUEUE + 4);
      a.subImmediate('rbx', 1).jcc('ne', 'again').store(4, 'rax', 'rdi');
    });
    const writes: (readonly [number, number, number])[] = [];
    const take = (port: number, length: number, value: number): void => {
      writes.push([port - QUEUE, length, value]);
    };
    const range = machine.vm.coalescePortWrites(QUEUE, 8, take);
    let exits = 0;
    for (;;) {
      const exit = machine.vcpu.run();
      if (exit.reason === 'mmio') break;
      const { port, length, value } = machine.io(exit);
      exits++;
      take(port, length, value);
    }
    const expected = Array.from({ length: count }, (_, index) => [
      [0, 1, (index + 1) & 0xff],
      [2, 2, index + 1],
      [4, 4, index + 1],
    ]).flat();
    context.assert.equal(writes, expected, 'writes in order');
    context.report('exits for 900 coalesced port writes', exits, 'exits');
    range[Symbol.dispose]();
    range[Symbol.dispose]();
    machine.vm.coalescePortWrites(QUEUE, 8, take);
  }),

  test('coalesced writes of ports and of memory arrive in the order in which they were made', async (context) => {
    const memory = MMIO + 0x2000;
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rsi', memory).movImmediate('rdi', MMIO);
      for (let value = 1; value <= 20; value++) {
        a.movImmediate('rax', value);
        if (value % 3 === 0) a.out(4, QUEUE);
        else a.store(4, 'rax', 'rsi');
      }
      a.store(4, 'rax', 'rdi');
    });
    const values: number[] = [];
    machine.vm.coalescePortWrites(QUEUE, 4, (_port, _length, value) => values.push(value));
    machine.vm.coalesceWrites(memory, 4, (_address, _length, value) => values.push(value));
    for (;;) {
      const exit = machine.vcpu.run();
      if (exit.reason === 'mmio' && exit.address === MMIO) break;
      values.push(exit.reason === 'mmio' || exit.reason === 'io' ? exit.value : -1);
    }
    context.assert.equal(
      values,
      Array.from({ length: 20 }, (_, index) => index + 1),
      'values',
    );
  }),

  test('overlapping and impossible ranges of ports are refused', async (context) => {
    await using machine = await X86Machine.create(context);
    const { vm } = machine;
    const none = (): void => undefined;
    vm.coalescePortWrites(QUEUE, 8, none);
    const cases = [
      ['OVERLAP', QUEUE + 4, 8],
      ['INVALID_ARGUMENT', QUEUE, 0],
      ['INVALID_ARGUMENT', -1, 1],
      ['INVALID_ARGUMENT', 0xffff, 2],
    ] as const;
    for (const [code, port, length] of cases) {
      await expectCode(context.assert, code, `${length} ports at ${port}`, () =>
        vm.coalescePortWrites(port, length, none),
      );
    }
  }),
];
