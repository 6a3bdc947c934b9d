import { existsSync } from 'node:fs';
import type { X86Vm } from '@vmm/hypervisor';
import { createKvmX86Hypervisor } from '@vmm/hypervisor/kvm';
import { createVmIrqChip, type VmIrqChip } from '../src/index.ts';
import { KvmGuest, type Entry } from './kvm-guest.ts';

const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const QUIET = 50;

const hypervisor = createKvmX86Hypervisor();

interface Machine extends AsyncDisposable {
  readonly chip: VmIrqChip;
  guest(entries: readonly Entry[]): KvmGuest;
}

async function machine(mode: 'kernel' | 'split'): Promise<Machine> {
  const vm: X86Vm = await hypervisor.createVm({ vcpus: 1, maxMemory: 0x1_0000 });
  const chip = createVmIrqChip(vm, mode === 'kernel' ? { mode, pit: false } : { mode });
  return {
    chip,
    guest: (entries) => new KvmGuest(vm, chip, entries),
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}

// Where there is none, the compliance suite's interrupts and stock kernels in both modes run in the emulated machine.
const describeOnKvm = process.arch === 'x64' && existsSync('/dev/kvm') ? describe : undefined;

if (describeOnKvm === undefined) {
  it('a machine without KVM for x86-64 says so', async () => {
    await expect(hypervisor.createVm({ vcpus: 1, maxMemory: 0x1_0000 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    });
  });
}

describeOnKvm?.each(['kernel', 'split'] as const)('interrupts of a guest of KVM, %s mode', (mode) => {
  it('come once for each edge', async () => {
    await using m = await machine(mode);
    const five = m.chip.createLine(5, 'edge');
    const twentyThree = m.chip.createLine(23, 'edge');
    const guest = m.guest([
      { input: 5, low: 0x45 },
      { input: 23, low: 0x57 },
    ]);
    await guest.idle(1);
    const expected: number[] = [];
    for (const [line, vector] of [
      [five, 0x45],
      [twentyThree, 0x57],
      [five, 0x45],
    ] as const) {
      line.trigger();
      expected.push(vector);
      expect(await guest.vectors(expected.length)).toEqual(expected);
    }
    await guest.idle(QUIET);
    expect(guest.events).toEqual(expected);
  });

  it('do not come from a masked input', async () => {
    await using m = await machine(mode);
    const masked = m.chip.createLine(5, 'edge');
    const open = m.chip.createLine(6, 'edge');
    const guest = m.guest([
      { input: 5, low: MASKED | 0x45 },
      { input: 6, low: 0x46 },
    ]);
    await guest.idle(1);
    masked.trigger();
    open.trigger();
    expect(await guest.vectors(1)).toEqual([0x46]);
    await guest.idle(QUIET);
    expect(guest.events).toEqual([0x46]);
  });

  it('come again after each end while the level is high', async () => {
    await using m = await machine(mode);
    const line = m.chip.createLine(9, 'level');
    const guest = m.guest([{ input: 9, low: LEVEL | 0x49 }]);
    await guest.idle(1);
    let left = 3;
    guest.onVector = () => {
      left--;
      if (left === 0) line.setLevel(false);
    };
    line.setLevel(true);
    expect((await guest.vectors(3)).slice(0, 3)).toEqual([0x49, 0x49, 0x49]);
    await guest.idle(QUIET);
    // A KVM that emulates the guest may look at the line once more when it should not.
    const seen = guest.events.length;
    const each = mode === 'split' ? 2 : 1;
    expect(seen).toBeGreaterThanOrEqual(3 * each);
    expect(seen).toBeLessThanOrEqual(mode === 'split' ? 6 : 4);
    await guest.idle(QUIET);
    expect(guest.events.length).toBe(seen);
    line.setLevel(true);
    line.setLevel(false);
    await guest.idle(QUIET);
    expect(guest.events.slice(seen)).toEqual(mode === 'split' ? [0x49, -0x49] : [0x49]);
  });

  it('end at the device of a resampled line, which raises it again or not', async () => {
    await using m = await machine(mode);
    let ends = 0;
    const line = m.chip.createLine(10, 'level', {
      onResample: () => {
        ends++;
        if (ends < 3) line.setLevel(true);
      },
    });
    const guest = m.guest([{ input: 10, low: LEVEL | 0x4a }]);
    await guest.idle(1);
    line.setLevel(true);
    expect(await guest.vectors(3)).toEqual([0x4a, 0x4a, 0x4a]);
    await guest.idle(QUIET);
    expect([ends, guest.events.filter((event) => event >= 0).length]).toEqual([3, 3]);
  });

  it('come by message, wherever it is changed to, beside those of the I/O APIC', async () => {
    await using m = await machine(mode);
    const line = m.chip.createLine(5, 'edge');
    using first = m.chip.createMsi(8);
    using second = m.chip.createMsi(8);
    // The masked entries are there for their handlers.
    const guest = m.guest([
      { input: 5, low: 0x45 },
      ...[0x61, 0x62, 0x63].map((vector, index) => ({ input: 10 + index, low: MASKED | vector })),
    ]);
    await guest.idle(1);
    const to = (data: number) => ({ address: 0xfee0_0000, addressHigh: 0, data });
    first.setMessage(to(0x61));
    second.setMessage(to(0x62));
    const expected: number[] = [];
    const expectNext = async (vector: number, raise: () => void): Promise<void> => {
      raise();
      expected.push(vector);
      expect(await guest.vectors(expected.length)).toEqual(expected);
    };
    await expectNext(0x61, () => first.trigger());
    await expectNext(0x62, () => second.trigger());
    await expectNext(0x45, () => line.trigger());
    first.setMessage(to(0x63));
    await expectNext(0x63, () => first.trigger());
    await expectNext(0x62, () => second.trigger());
    second.setMessage(undefined);
    second.trigger();
    await guest.idle(QUIET);
    expect(guest.events).toEqual(expected);
  });

  it('go on in a machine that the state is restored in', async () => {
    await using first = await machine(mode);
    first.chip.createLine(9, 'level').setLevel(true);
    await first.guest([{ input: 9, low: MASKED | LEVEL | 0x49 }]).idle(1);
    const state = structuredClone(first.chip.save());

    await using second = await machine(mode);
    const line = second.chip.createLine(9, 'level');
    const guest = second.guest([{ input: 9, low: LEVEL | 0x49 }]);
    second.chip.restore(state);
    guest.onVector = () => line.setLevel(false);
    expect((await guest.vectors(1))[0]).toBe(0x49);
    await guest.idle(QUIET);
    const seen = guest.events.length;
    await guest.idle(QUIET);
    expect(guest.events.length).toBe(seen);
  });
});
