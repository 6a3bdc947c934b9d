import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import type { GuestContext } from './guest-test.ts';
import { MMIO, RAM } from './machine.ts';
import type { ComplianceFile } from './suite.ts';
import { expectCode } from './suite.ts';

const LOW = 0x4000_0000;
const PAGE = 4096;

/** Three pages that begin with 0x1111_1111, 0x2222_2222, 0x3333_3333, and 100 bytes of 0x44. */
function contents(): Uint8Array {
  return Uint8Array.from({ length: 3 * PAGE + 100 }, (_, at) => 0x11 * (1 + Math.floor(at / PAGE)));
}

function file({ createFile }: GuestContext, bytes: Uint8Array = contents()): ComplianceFile {
  if (createFile === undefined) throw new Error("the feature 'files' needs createFile()");
  return createFile(bytes);
}

function fileTest(name: string, run: GuestTest['run']): GuestTest {
  return guestTest(name, run, ['files']);
}

export const memoryFileTests: readonly GuestTest[] = [
  fileTest('memory of a file reads as it, and stores stay out of it', async (context) => {
    await using machine = await context.running((program) => {
      program.load(4, 'a', LOW).store(4, 'a', MMIO);
      program.load(4, 'a', LOW + PAGE).store(4, 'a', MMIO);
      program.load(4, 'a', LOW + 2 * PAGE + 96).store(4, 'a', MMIO);
      program.load(4, 'a', LOW + 2 * PAGE + 100).store(4, 'a', MMIO);
      program.load(4, 'a', LOW + 5 * PAGE).store(4, 'a', MMIO);
      program
        .set('a', 9)
        .store(4, 'a', LOW + 4)
        .store(4, 'a', LOW + 5 * PAGE);
      program.load(8, 'b', LOW).store(8, 'b', MMIO);
    });
    const { assert } = context;
    const expected = contents();
    using source = file(context, expected);
    const { bytes } = machine.vm.mapMemory(LOW, 8 * PAGE, { file: { fd: source.fd, offset: PAGE } });
    source.close();
    assert.equal(
      [0, 1, 2, 3, 4].map(() => machine.runToMmio().value),
      [0x2222_2222, 0x3333_3333, 0x4444_4444, 0, 0],
      'what the guest reads',
    );
    const { value, valueHigh } = machine.runToMmio();
    assert.equal([value, valueHigh], [0x2222_2222, 9], 'what it stored');
    bytes[PAGE] = 7;
    assert.equal([bytes[3], bytes[4], bytes[5 * PAGE]], [0x22, 9, 9], 'what the host reads');
    assert.ok(
      bytes.subarray(2 * PAGE + 100, 5 * PAGE).every((byte) => byte === 0),
      'beyond the end of the file',
    );
    assert.ok(
      source.read().every((byte, at) => byte === expected[at]),
      'the file is what it was',
    );
  }),

  fileTest('a file may be longer than the memory, shorter than the offset, or empty', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    using long = file(context);
    using empty = file(context, new Uint8Array(0));
    const first = vm.mapMemory(LOW, 2 * PAGE, { file: { fd: long.fd, offset: 0 } });
    const behind = vm.mapMemory(LOW + 2 * PAGE, PAGE, { file: { fd: long.fd, offset: 4 * PAGE } });
    const none = vm.mapMemory(LOW + 3 * PAGE, PAGE, { file: { fd: empty.fd, offset: 0 } });
    context.assert.equal([first.bytes[0], first.bytes[2 * PAGE - 1]], [0x11, 0x22], 'the beginning of it');
    context.assert.ok(
      [behind, none].every(({ bytes }) => bytes.every((byte) => byte === 0)),
      'nothing of it',
    );
  }),

  fileTest('code runs in read-only memory of a file, and stores to it exit', async (context) => {
    await using machine = await context.createMachine();
    machine.load((program) =>
      program
        .set('a', 9)
        .store(4, 'a', MMIO)
        .store(4, 'a', LOW + PAGE),
    );
    using source = file(context, machine.ram.bytes.slice(0, PAGE + 1));
    machine.ram.bytes.fill(0, 0, PAGE);
    const options = { readOnly: true, file: { fd: source.fd, offset: 0 } };
    const rom = machine.vm.mapMemory(LOW, 2 * PAGE, options);
    machine.begin(machine.vcpu, LOW);
    context.assert.equal(machine.runToMmio().value, 9, 'what the code stored');
    context.assert.equal(machine.runToMmio().address, LOW + PAGE, 'the store to the memory');
    context.assert.equal(rom.bytes[PAGE], 0, 'the memory');
  }),

  fileTest('discarded pages of a file read as zero, or stay', async (context) => {
    await using machine = await context.running((program) => {
      for (const page of [0, 1, 2, 4]) program.load(4, 'a', LOW + page * PAGE).store(4, 'a', MMIO);
    });
    const { vm } = machine;
    const { assert } = context;
    using source = file(context);
    const { bytes } = vm.mapMemory(LOW, 5 * PAGE, { file: { fd: source.fd, offset: 0 } });
    bytes[PAGE] = 7;
    bytes[4 * PAGE] = 8;
    // The last range is of the file and of what is behind its end.
    vm.discardMemory(Float64Array.of(LOW, PAGE, LOW + PAGE, PAGE, LOW + 3 * PAGE, 2 * PAGE));
    const expected = vm.releasesMemory ? [0, 0, 0x3333_3333, 0] : [0x1111_1111, 0x2222_2207, 0x3333_3333, 8];
    assert.equal(
      [0, 1, 2, 3].map(() => machine.runToMmio().value),
      expected,
      'guest',
    );
    assert.equal(
      [bytes[0], bytes[PAGE], bytes[4 * PAGE]],
      [0, 1, 3].map((at) => expected[at]! & 0xff),
      'host',
    );
    bytes[0] = 5;
    assert.equal([bytes[0], source.read()[0]], [5, 0x11], 'a later store, and the file');
  }),

  fileTest(
    'the dirty log tells stores to memory of a file, and nothing that was only read',
    async (context) => {
      await using machine = await context.running((program) => {
        program
          .load(4, 'b', LOW + PAGE)
          .store(4, 'a', LOW)
          .store(4, 'a', MMIO);
      });
      const { vm } = machine;
      using source = file(context);
      const region = vm.mapMemory(LOW, 4 * PAGE, { file: { fd: source.fd, offset: 0 } });
      vm.startDirtyLog();
      machine.runToMmio();
      context.assert.equal([...vm.takeDirtyPages(region)], [1], 'its log');
    },
  ),

  fileTest('memory of a file can be unmapped, and is zeroed when mapped again', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    using source = file(context);
    vm.unmapMemory(vm.mapMemory(LOW, 2 * PAGE, { file: { fd: source.fd, offset: 0 } }));
    const { bytes } = vm.mapMemory(LOW, 2 * PAGE);
    context.assert.ok(
      bytes.every((byte) => byte === 0),
      'without a file',
    );
    context.assert.equal(source.read()[0], 0x11, 'the file');
  }),

  fileTest('what cannot be mapped is refused, and leaves nothing behind', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    const { assert } = context;
    using source = file(context);
    const map = (fd: number, offset: number): unknown => vm.mapMemory(LOW, PAGE, { file: { fd, offset } });
    for (const offset of [1, 2048, -4096, 4096.5, 2 ** 60, Number.NaN]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `offset ${offset}`, () => map(source.fd, offset));
    }
    for (const fd of [-1, 0.5, 2 ** 31, Number.NaN]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `descriptor ${fd}`, () => map(fd, 0));
    }
    await expectCode(assert, 'OVERLAP', 'memory that there is', () =>
      vm.mapMemory(RAM, PAGE, { file: { fd: source.fd, offset: 0 } }),
    );
    const { fd } = source;
    source.close();
    await expectCode(assert, 'SYSTEM', 'a closed descriptor', () => map(fd, 0));
    assert.equal(vm.regions.length, 1, 'number of regions');
    assert.ok(
      vm.mapMemory(LOW, PAGE).bytes.every((byte) => byte === 0),
      'memory mapped afterwards',
    );
  }),
];
