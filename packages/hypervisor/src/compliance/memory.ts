import type { GuestMemoryRegion } from '../vm.ts';
import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import { DATA, MMIO, RAM, RAM_SIZE } from './machine.ts';
import { expectCode } from './suite.ts';

const LOW = 0x4000_0000;
/** Beyond 32 bits of guest physical address. */
const HIGH = 0x9_0000_0000;
const SIZE = 0x1_0000;

export const memoryTests: readonly GuestTest[] = [
  guestTest('mapped memory is zeroed and shared with the guest in both directions', async (context) => {
    await using machine = await context.createMachine();
    const { assert } = context;
    assert.equal(machine.ram.bytes.length, RAM_SIZE, 'length');
    assert.ok(
      machine.ram.bytes.every((byte) => byte === 0),
      'memory is zeroed',
    );
    machine.load((program) => {
      program
        .load(4, 'a', DATA)
        .add('a', 1)
        .store(4, 'a', DATA + 4)
        .store(4, 'a', MMIO);
      program.load(4, 'a', DATA + 8).store(4, 'a', MMIO);
    });
    const view = new DataView(machine.ram.bytes.buffer, machine.ram.bytes.byteOffset);
    view.setUint32(DATA - RAM, 41, true);
    assert.equal(machine.runToMmio().value, 42, 'what the guest made of it');
    assert.equal(machine.word(DATA + 4), 42, 'what the host sees of it');
    view.setUint32(DATA - RAM + 8, 0xfeed_f00d, true);
    assert.equal(machine.runToMmio().value, 0xfeed_f00d, 'a later store of the host');
  }),

  guestTest(
    'several regions are listed by address and reach the guest, above 4 GiB as well',
    async (context) => {
      await using machine = await context.createMachine();
      const { assert } = context;
      const high = machine.vm.mapMemory(HIGH, SIZE);
      const low = machine.vm.mapMemory(LOW, SIZE);
      assert.equal(
        machine.vm.regions.map(({ guestAddress, bytes }) => [guestAddress, bytes.length]),
        [
          [LOW, SIZE],
          [RAM, RAM_SIZE],
          [HIGH, SIZE],
        ],
        'regions',
      );
      machine.load((program) => {
        program
          .load(8, 'a', LOW + 8)
          .store(8, 'a', HIGH + SIZE - 8)
          .store(4, 'a', MMIO);
      });
      low.bytes.set([1, 2, 3, 4, 5, 6, 7, 8], 8);
      machine.runToMmio();
      assert.equal([...high.bytes.subarray(SIZE - 8)], [1, 2, 3, 4, 5, 6, 7, 8], 'what the guest copied');
    },
  ),

  guestTest('overlapping, misplaced and too large regions are refused', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    const { assert } = context;
    const cases = [
      ['OVERLAP', RAM, 0x1000],
      ['OVERLAP', RAM - 0x1000, 0x2000],
      ['OVERLAP', RAM + RAM_SIZE - 0x1000, 0x1000],
      ['OVERLAP', RAM - 0x1000, RAM_SIZE + 0x2000],
      ['INVALID_ARGUMENT', LOW + 1, 0x1000],
      ['INVALID_ARGUMENT', LOW, 0x800],
      ['INVALID_ARGUMENT', LOW, 0],
      ['INVALID_ARGUMENT', LOW, -4096],
      ['INVALID_ARGUMENT', -4096, 4096],
      ['INVALID_ARGUMENT', 2 ** 53, 4096],
      ['INVALID_ARGUMENT', Number.NaN, 4096],
      ['OUT_OF_MEMORY', LOW, 4 * RAM_SIZE],
    ] as const;
    for (const [code, address, size] of cases) {
      await expectCode(assert, code, `${size} bytes at ${address}`, () => vm.mapMemory(address, size));
    }
    assert.equal(vm.regions.length, 1, 'number of regions');
    vm.mapMemory(RAM + RAM_SIZE, 0x1000);
    assert.equal(vm.regions.length, 2, 'a region that touches another one');
  }),

  guestTest('after unmapping, accesses exit', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 77).store(4, 'a', LOW).load(4, 'b', LOW).store(4, 'b', MMIO);
      program.load(4, 'b', LOW).store(4, 'b', MMIO);
    });
    const { vm } = machine;
    const { assert } = context;
    const region = vm.mapMemory(LOW, SIZE);
    assert.equal(machine.runToMmio().value, 77, 'while it is mapped');
    vm.unmapMemory(region);
    assert.equal(vm.regions.length, 1, 'number of regions');
    const exit = machine.runToMmio();
    assert.equal([exit.address, exit.length, exit.write], [LOW, 4, false], 'the load exits');
    exit.value = 78;
    assert.equal(machine.runToMmio().value, 78, 'and the host answers it');
    await expectCode(assert, 'INVALID_ARGUMENT', 'unmapping twice', () => vm.unmapMemory(region));
    const foreign: GuestMemoryRegion = { guestAddress: RAM, bytes: new Uint8Array(4096), readOnly: false };
    await expectCode(assert, 'INVALID_ARGUMENT', 'a region of somebody else', () => vm.unmapMemory(foreign));
  }),

  guestTest('memory that is mapped again is zeroed and reaches the guest', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 77).store(4, 'a', LOW).store(4, 'a', MMIO).load(4, 'b', LOW).store(4, 'b', MMIO);
    });
    const { vm } = machine;
    const first = vm.mapMemory(LOW, SIZE);
    machine.runToMmio();
    vm.unmapMemory(first);
    const second = vm.mapMemory(LOW, SIZE);
    context.assert.ok(
      second.bytes.every((byte) => byte === 0),
      'what the host sees',
    );
    second.bytes[0] = 5;
    context.assert.equal(machine.runToMmio().value, 5, 'what the guest sees');
  }),

  guestTest('discarded pages read as zero on both sides, or stay, and the others stay', async (context) => {
    await using machine = await context.running((program) => {
      for (const page of [0, 1, 2, 3]) program.load(4, 'a', LOW + page * 4096).store(4, 'a', MMIO);
      program.set('a', 9).store(4, 'a', LOW).store(4, 'a', MMIO);
    });
    const { vm } = machine;
    const { assert } = context;
    const { bytes } = vm.mapMemory(LOW, SIZE);
    bytes.fill(7);
    // The machine's own region is in the list as well: ranges of several regions in one call.
    const ranges = Float64Array.of(
      LOW,
      4096,
      RAM + RAM_SIZE - 4096,
      4096,
      LOW + 8192,
      4096,
      LOW + 12288,
      4096,
    );
    vm.discardMemory(ranges, 6);
    const gone = vm.releasesMemory ? 0 : 7;
    const word = gone * 0x0101_0101;
    assert.equal(
      [0, 4095, 4096, 8191, 8192, 12288, SIZE - 1].map((at) => bytes[at]),
      [gone, gone, 7, 7, gone, 7, 7],
      'host',
    );
    assert.equal(
      [0, 1, 2, 3].map(() => machine.runToMmio().value),
      [word, 0x0707_0707, word, 0x0707_0707],
      'guest',
    );
    machine.runToMmio();
    assert.equal(bytes[0], 9, 'what the guest stores afterwards');
  }),

  guestTest('only whole pages of writable guest memory can be discarded', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    const { assert } = context;
    const rom = vm.mapMemory(LOW, SIZE, { readOnly: true });
    rom.bytes.fill(7);
    const ram = vm.mapMemory(HIGH, SIZE);
    ram.bytes.fill(7);
    const cases = [
      [LOW, 4096],
      [HIGH + 1, 4096],
      [HIGH, 4097],
      [HIGH, 0],
      [HIGH, -4096],
      [HIGH, SIZE + 4096],
      [HIGH - 4096, 8192],
      [0x7_0000_0000, 4096],
      [Number.NaN, 4096],
      [HIGH, Number.NaN],
      [2 ** 60, 4096],
    ];
    for (const bad of cases) {
      const what = `discarding ${String(bad)}`;
      // Nothing happens to what is right in the same call.
      const ranges = Float64Array.of(HIGH, 4096, ...bad);
      await expectCode(assert, 'INVALID_ARGUMENT', what, () => vm.discardMemory(ranges));
    }
    const ranges = new Float64Array(4);
    for (const words of [-2, 1, 6, 0.5, Number.NaN]) {
      await expectCode(assert, 'INVALID_ARGUMENT', `${words} words`, () => vm.discardMemory(ranges, words));
    }
    assert.ok(rom.bytes.every((byte) => byte === 7) && ram.bytes.every((byte) => byte === 7), 'contents');
    vm.discardMemory(ranges, 0);
  }),

  guestTest('read-only memory can be read, and stores to it exit and change nothing', async (context) => {
    await using machine = await context.running((program) => {
      program.load(4, 'a', LOW + 4).store(4, 'a', MMIO);
      program
        .set('a', 5)
        .store(4, 'a', LOW + 4)
        .load(4, 'a', LOW + 4)
        .store(4, 'a', MMIO);
    });
    const { assert } = context;
    const rom = machine.vm.mapMemory(LOW, SIZE, { readOnly: true });
    rom.bytes.set([0x11, 0x22, 0x33, 0x44], 4);
    assert.ok(rom.readOnly, 'the region says that it is read-only');
    assert.equal(machine.runToMmio().value, 0x4433_2211, 'load');
    const store = machine.runToMmio();
    assert.equal([store.address, store.length, store.write, store.value], [LOW + 4, 4, true, 5], 'store');
    assert.equal(machine.runToMmio().value, 0x4433_2211, 'load after the store');
    assert.equal([...rom.bytes.subarray(4, 8)], [0x11, 0x22, 0x33, 0x44], 'the bytes themselves');
  }),

  guestTest('code runs in read-only memory', async (context) => {
    await using machine = await context.createMachine();
    const rom = machine.vm.mapMemory(LOW, SIZE, { readOnly: true });
    machine.load((program) => program.set('a', 9).store(4, 'a', MMIO));
    rom.bytes.set(machine.ram.bytes.subarray(0, 64));
    machine.ram.bytes.fill(0, 0, 64);
    machine.begin(machine.vcpu, LOW);
    context.assert.equal(machine.runToMmio().value, 9, 'what the code stored');
  }),
];
