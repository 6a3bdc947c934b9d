import type { GuestTest } from './guest-test.ts';
import { guestTest } from './guest-test.ts';
import type { Machine } from './machine.ts';
import { DATA, MMIO, RAM, RAM_SIZE } from './machine.ts';
import { eventually, expectCode, nextTurn } from './suite.ts';
import type { GuestMemoryRegion } from '../vm.ts';

const PAGE = 4096;
const LOW = 0x4000_0000;
/** Pages of a region whose bitmap ends within a word. */
const ODD_PAGES = 41;

/** Guest physical addresses of the pages that a bitmap tells of. */
function pagesOf({ guestAddress, bytes }: GuestMemoryRegion, bits: Uint32Array): number[] {
  const pages: number[] = [];
  for (let page = 0; page * PAGE < bytes.length; page++) {
    if (((bits[page >>> 5]! >>> (page & 31)) & 1) !== 0) pages.push(guestAddress + page * PAGE);
  }
  return pages;
}

/** Guests have their stack and tables from here on. */
const TABLES = RAM + 0xc_0000;

/** Takes the log; which of the pages from DATA on, where guests have nothing of their own, it tells of. */
function takeData(machine: Machine): number[] {
  const pages = pagesOf(machine.ram, machine.vm.takeDirtyPages(machine.ram));
  return pages
    .filter((address) => address >= DATA && address < TABLES)
    .map((address) => (address - DATA) / PAGE);
}

export const dirtyLogTests: readonly GuestTest[] = [
  guestTest('the dirty log tells each page that a guest stored to, once', async (context) => {
    await using machine = await context.running((program) => {
      program.set('a', 1);
      // Before the log is on: what the processor remembers of these pages must not hide later stores.
      program.store(8, 'a', DATA).store(1, 'a', DATA + 5 * PAGE);
      program.load(4, 'b', DATA + 3 * PAGE).store(4, 'a', MMIO);
      program.store(8, 'a', DATA).store(1, 'a', DATA + 3 * PAGE + 4095);
      program.load(4, 'b', DATA + PAGE).store(4, 'a', MMIO);
      program.store(2, 'a', DATA + 8).store(4, 'a', MMIO);
      program
        .load(8, 'a', DATA)
        .load(8, 'a', DATA + 3 * PAGE)
        .store(4, 'a', MMIO);
      program.store(4, 'a', DATA + 32 * PAGE).store(4, 'a', MMIO);
    });
    const { vm } = machine;
    const { assert } = context;
    assert.equal(vm.dirtyLog, false, 'it is off');
    machine.runToMmio();
    vm.startDirtyLog();
    assert.equal(vm.dirtyLog, true, 'it is on');
    assert.equal(takeData(machine), [], 'at its beginning');
    machine.runToMmio();
    assert.equal(takeData(machine), [0, 3], 'pages that were stored to');
    assert.equal(takeData(machine), [], 'taken again');
    machine.runToMmio();
    assert.equal(takeData(machine), [0], 'a page that is stored to again');
    machine.runToMmio();
    assert.equal(takeData(machine), [], 'pages that were read');
    machine.runToMmio();
    assert.equal(takeData(machine), [32], 'a page in a later word');
  }),

  guestTest('atomic accesses are in the dirty log', async (context) => {
    await using machine = await context.running((program) => {
      program.incrementAtomically(DATA + 2 * PAGE).store(4, 'a', MMIO);
      program.incrementAtomically(DATA + 2 * PAGE).store(4, 'a', MMIO);
    });
    machine.vm.startDirtyLog();
    for (const round of [1, 2]) {
      machine.runToMmio();
      context.assert.equal(takeData(machine), [2], `round ${round}`);
    }
  }),

  guestTest('regions have dirty logs of their own', async (context) => {
    await using machine = await context.createMachine();
    const { vm } = machine;
    const { assert } = context;
    const region = vm.mapMemory(LOW, ODD_PAGES * PAGE);
    const rom = vm.mapMemory(LOW + ODD_PAGES * PAGE, PAGE, { readOnly: true });
    machine.load((program) => {
      program.store(4, 'a', LOW).store(4, 'a', LOW + 40 * PAGE);
      program.store(4, 'a', DATA).store(4, 'a', MMIO);
      program.store(4, 'a', LOW + 64 * PAGE).store(4, 'a', MMIO);
    });
    vm.startDirtyLog();
    const late = vm.mapMemory(LOW + 64 * PAGE, PAGE);
    machine.runToMmio();
    const bits = vm.takeDirtyPages(region);
    assert.equal(bits.length, 2, 'words of 41 pages');
    assert.equal(pagesOf(region, bits), [LOW, LOW + 40 * PAGE], 'its pages');
    assert.equal(bits[1], 1 << 8, 'bits beyond its end');
    assert.equal([...vm.takeDirtyPages(rom)], [0], 'read-only memory');
    assert.equal([...vm.takeDirtyPages(late)], [0], 'memory that was mapped later');
    assert.equal(takeData(machine), [0], 'the other region');
    machine.runToMmio();
    assert.equal([...vm.takeDirtyPages(late)], [1], 'a store to memory that was mapped later');
  }),

  guestTest('a dirty log that is ended can be begun anew and is empty then', async (context) => {
    await using machine = await context.running((program) => {
      program.store(4, 'a', DATA).store(4, 'a', MMIO);
      program.store(4, 'a', DATA + PAGE).store(4, 'a', MMIO);
      program.store(4, 'a', DATA + 2 * PAGE).store(4, 'a', MMIO);
    });
    const { vm, ram } = machine;
    const { assert } = context;
    await expectCode(assert, 'WRONG_STATE', 'taking before it is on', () => vm.takeDirtyPages(ram));
    vm.stopDirtyLog();
    vm.startDirtyLog();
    await expectCode(assert, 'WRONG_STATE', 'a second beginning', () => vm.startDirtyLog());
    const foreign: GuestMemoryRegion = { guestAddress: RAM, bytes: ram.bytes, readOnly: false };
    await expectCode(assert, 'INVALID_ARGUMENT', 'a region of somebody else', () =>
      vm.takeDirtyPages(foreign),
    );
    machine.runToMmio();
    vm.stopDirtyLog();
    assert.equal(vm.dirtyLog, false, 'it is off');
    machine.runToMmio();
    await expectCode(assert, 'WRONG_STATE', 'taking after its end', () => vm.takeDirtyPages(ram));
    vm.startDirtyLog();
    machine.runToMmio();
    assert.equal(takeData(machine), [2], 'what was stored since');
  }),

  guestTest('a copy by the dirty log is the memory, while a vCPU runs', async (context) => {
    await using machine = await context.running((program) => {
      program.label('again').add('a', 1);
      for (const page of [0, 1, 2, 40]) program.store(8, 'a', DATA + page * PAGE);
      program.jump('again');
    });
    const thread = machine.vcpu.start(() => 'resume');
    await copies(machine);
    await machine.vcpu.stop();
    await thread;
  }),

  guestTest(
    'a copy by the dirty log is the memory, while two vCPUs run',
    async (context) => {
      await using machine = await context.running(
        (program) => {
          program.label('again').incrementAtomically(DATA);
          for (const page of [1, 2, 40]) program.add('a', 1).store(8, 'a', DATA + page * PAGE);
          program.jump('again');
        },
        { vcpus: 2 },
      );
      const second = machine.vm.createVcpu(1);
      machine.begin(second, RAM);
      const threads = [machine.vcpu.start(() => 'resume'), second.start(() => 'resume')];
      await copies(machine, async () => second.pause());
      await Promise.all([machine.vcpu.stop(), second.stop(), ...threads]);
    },
    ['smp'],
  ),
];

/** Copies memory by its log, as a migration does, until the vCPUs are paused, and compares. */
async function copies(machine: Machine, pauseOthers?: () => PromiseLike<void>): Promise<void> {
  const { vm, ram, vcpu, assert } = machine;
  await eventually(() => machine.word(DATA) !== 0);
  vm.startDirtyLog();
  const copy = ram.bytes.slice();
  let told = 0;
  const take = (): void => {
    for (const address of pagesOf(ram, vm.takeDirtyPages(ram))) {
      const at = address - RAM;
      copy.set(ram.bytes.subarray(at, at + PAGE), at);
      if (address >= DATA) told++;
    }
  };
  for (let round = 0; round < 40; round++) {
    take();
    const before = machine.word(DATA);
    if (round % 4 === 0) await eventually(() => machine.word(DATA) !== before);
    else await nextTurn();
  }
  await vcpu.pause();
  await pauseOthers?.();
  take();
  const differs = Array.from({ length: RAM_SIZE / PAGE }, (_, page) => page).filter((page) =>
    copy.subarray(page * PAGE, (page + 1) * PAGE).some((byte, at) => byte !== ram.bytes[page * PAGE + at]),
  );
  assert.equal(differs, [], 'pages in which the copy differs');
  assert.ok(told > 20, 'stores were told again and again');
}
