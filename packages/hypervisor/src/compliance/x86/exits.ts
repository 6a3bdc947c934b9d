import { DATA, MMIO, RAM } from '../machine.ts';
import { describeExit } from '../machine.ts';
import { eventually } from '../suite.ts';
import { X86Machine } from './machine.ts';
import type { X86Test } from './test.ts';
import { test } from './test.ts';

const PORT = 0x80;
const FAR_PORT = 0xc80;
const WIDTHS = [1, 2, 4] as const;

export const exitTests: readonly X86Test[] = [
  test('OUT exits with port, width and value', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rax', 0x1122_3344_b5a6_9788n).movImmediate('rdx', FAR_PORT);
      for (const width of WIDTHS) a.out(width, PORT + width).outDx(width);
    });
    const values = { 1: 0x88, 2: 0x9788, 4: 0xb5a6_9788 } as const;
    for (const width of WIDTHS) {
      for (const port of [PORT + width, FAR_PORT]) {
        const exit = machine.runToIo();
        context.assert.equal(
          [exit.port, exit.length, exit.write, exit.value],
          [port, width, true, values[width]],
          `port 0x${port.toString(16)}, width ${width}`,
        );
      }
    }
  }),

  test('IN is completed with the answer, in the low bytes of RAX', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdi', MMIO).movImmediate('rdx', FAR_PORT);
      for (const width of WIDTHS) {
        a.movImmediate('rax', 0x1122_3344_5566_7788n).in(width, PORT).store(8, 'rax', 'rdi');
        a.movImmediate('rax', 0x1122_3344_5566_7788n).inDx(width).store(8, 'rax', 'rdi');
      }
    });
    // 32-bit results clear the upper half (Intel SDM Vol. 1 §3.4.1.1).
    const expected = {
      1: [0x5566_778d, 0x1122_3344],
      2: [0x5566_8c8d, 0x1122_3344],
      4: [0x8a8b_8c8d, 0],
    } as const;
    for (const width of WIDTHS) {
      for (const port of [PORT, FAR_PORT]) {
        const exit = machine.runToIo();
        context.assert.equal([exit.port, exit.length, exit.write], [port, width, false], `width ${width}`);
        exit.value = 0x8a8b_8c8d;
        const { value, valueHigh } = machine.runToMmio();
        context.assert.equal([value, valueHigh], expected[width], `RAX after width ${width}`);
      }
    }
  }),

  test('an IN that nobody answers gives 0, and one exit object is used again', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdi', MMIO).in(4, PORT).in(4, PORT).store(4, 'rax', 'rdi');
    });
    const first = machine.runToIo();
    first.value = 0xffff_ffff;
    context.assert.ok(machine.runToIo() === first, 'the same object');
    context.assert.equal(machine.runToMmio().value, 0, 'what the guest got');
  }),

  test('string output exits once for each element, in order', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdx', FAR_PORT).movImmediate('rdi', MMIO).movImmediate('rsi', DATA);
      for (const width of WIDTHS) a.movImmediate('rcx', 4).repOuts(width);
      a.movImmediate('rax', DATA).sub('rsi', 'rax').store(4, 'rsi', 'rdi');
    });
    for (let index = 0; index < 28; index++) machine.ram.bytes[DATA - RAM + index] = index + 1;
    const { buffer, byteOffset } = machine.ram.bytes;
    const view = new DataView(buffer, byteOffset + DATA - RAM);
    let offset = 0;
    for (const width of WIDTHS) {
      for (let element = 0; element < 4; element++, offset += width) {
        const value =
          width === 1
            ? view.getUint8(offset)
            : width === 2
              ? view.getUint16(offset, true)
              : view.getUint32(offset, true);
        const exit = machine.runToIo();
        context.assert.equal(
          [exit.port, exit.length, exit.write, exit.value],
          [FAR_PORT, width, true, value],
          `element ${element} of width ${width}`,
        );
      }
    }
    context.assert.equal(machine.runToMmio().value, 28, 'bytes that RSI advanced');
  }),

  test('string input takes an answer for each element', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdx', FAR_PORT).movImmediate('rdi', DATA);
      for (const width of WIDTHS) a.movImmediate('rcx', 3).repIns(width);
      a.movImmediate('rsi', MMIO).store(4, 'rcx', 'rsi');
    });
    let next = 0;
    for (const width of WIDTHS) {
      for (let element = 0; element < 3; element++) {
        const exit = machine.runToIo();
        context.assert.equal(
          [exit.port, exit.length, exit.write],
          [FAR_PORT, width, false],
          `element ${element}`,
        );
        exit.value = 0x0101_0101 * ++next;
      }
    }
    context.assert.equal(machine.runToMmio().value, 0, 'RCX');
    const expected = [1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9];
    const offset = DATA - RAM;
    context.assert.equal([...machine.ram.bytes.subarray(offset, offset + 21)], expected, 'memory');
  }),

  test('string input on a thread takes an answer for each element', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rdx', FAR_PORT).movImmediate('rdi', DATA).movImmediate('rcx', 50).repIns(1);
      a.movImmediate('rsi', MMIO).store(4, 'rcx', 'rsi');
    });
    let answered = 0;
    await machine.vcpu.start((exit) => {
      if (exit.reason !== 'io') return 'stop';
      exit.value = ++answered;
      return 'resume';
    });
    const offset = DATA - RAM;
    context.assert.equal(
      [...machine.ram.bytes.subarray(offset, offset + 50)],
      Array.from({ length: 50 }, (_, index) => index + 1),
      'memory',
    );
  }),

  test('a store across a page of MMIO is told in parts', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.movImmediate('rax', 0x1122_3344_5566_7788n)
        .movImmediate('rdi', MMIO + 0xffc)
        .store(8, 'rax', 'rdi');
      a.load(8, 'rbx', 'rdi').movImmediate('rdi', MMIO).store(8, 'rbx', 'rdi');
    });
    const stores = [0, 1].map(() => {
      const { address, length, write, value } = machine.runToMmio();
      return [address - MMIO, length, write, value];
    });
    context.assert.equal(
      stores,
      [
        [0xffc, 4, true, 0x5566_7788],
        [0x1000, 4, true, 0x1122_3344],
      ],
      'stores',
    );
    for (const answer of [0xaabb_ccdd, 0x1234_5678]) machine.runToMmio().value = answer;
    const { value, valueHigh } = machine.runToMmio();
    context.assert.equal([value, valueHigh], [0xaabb_ccdd, 0x1234_5678], 'what a load gives');
  }),

  test('HLT without interrupt controllers halts, and the next run goes on behind it', async (context) => {
    await using machine = await X86Machine.running(context, (a) => {
      a.hlt().movImmediate('rdi', MMIO).movImmediate('rax', 8).store(4, 'rax', 'rdi');
    });
    const exit = machine.vcpu.run();
    context.assert.equal(exit.reason, 'halt', 'reason');
    context.assert.equal(exit.reason === 'halt' ? exit.wakeAfterNs : 0, Infinity, 'nothing wakes it');
    context.assert.equal(machine.runToMmio().value, 8, 'what the guest does after the HLT');
  }),

  test('a vCPU thread that the hypervisor halts can be paused, resumed and stopped', async (context) => {
    await using machine = await X86Machine.running(
      context,
      (a) => {
        a.movImmediate('rdi', DATA).storeImmediate(1, 'rdi').label('wait').hlt().jmp('wait');
      },
      { interrupts: true },
    );
    const { vcpu } = machine;
    const thread = vcpu.start(() => 'resume');
    await eventually(() => machine.word(DATA) === 1);
    await vcpu.pause();
    context.assert.ok(vcpu.getRegister('rip') > BigInt(RAM), 'the state can be read');
    vcpu.resume();
    await vcpu.stop();
    await thread;
  }),

  test('code where no memory is, is an internal error, and ends a thread', async (context) => {
    for (const how of ['run', 'start'] as const) {
      await using machine = await X86Machine.running(context, (a) => {
        a.movImmediate('rax', MMIO).jmpTo('rax');
      });
      let seen = 'nothing';
      const take = (reason: string, message: string): void => {
        seen = reason;
        context.assert.ok(message !== '', 'a message');
      };
      if (how === 'run') {
        const exit = machine.vcpu.run();
        take(exit.reason, describeExit(exit));
      } else {
        await machine.vcpu.start((exit) => {
          take(exit.reason, describeExit(exit));
          return 'resume';
        });
      }
      context.assert.equal(seen, 'internalError', how);
    }
  }),
];
