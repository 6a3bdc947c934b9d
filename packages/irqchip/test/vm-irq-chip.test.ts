import {
  HypervisorError,
  type GsiRoute,
  type HypervisorInterrupt,
  type MsiMessage,
  type X86IrqChip,
  type X86IrqChipConfig,
  type X86IrqChipState,
} from '@vmm/hypervisor';
import { createVmIrqChip, type VmIrqChip, type VmIrqChipState } from '../src/index.ts';

/** A VM that records what reaches its interrupt controllers. */
class FakeVm {
  readonly calls: unknown[][] = [];
  readonly resample = new Map<number, () => void>();
  routes: readonly GsiRoute[] = [];
  disposed = false;
  failing: Error | undefined;

  createIrqChip(config: X86IrqChipConfig): X86IrqChip {
    this.#call('create', config);
    return {
      mode: config.mode,
      setLine: (gsi, level) => this.#call('line', gsi, level),
      pulseLine: (gsi) => this.#call('pulse', gsi),
      signalMsi: (message: MsiMessage) => {
        this.#call('msi', message.data);
        return true;
      },
      setRoutes: (routes) => void (this.routes = routes),
      save: () => ({ version: 4, mode: config.mode, opaque: Uint8Array.of(1) }),
      restore: (state: X86IrqChipState) => this.#call('restore', state.opaque),
    };
  }

  createInterrupt(gsi: number, onResample?: () => void): HypervisorInterrupt {
    this.#call('interrupt', gsi, onResample !== undefined);
    if (onResample !== undefined) this.resample.set(gsi, onResample);
    return {
      gsi,
      trigger: () => this.#call('trigger', gsi),
      [Symbol.dispose]: () => void this.calls.push(['closed', gsi]),
    };
  }

  /** Calls since the last time. */
  take(): unknown[][] {
    return this.calls.splice(0);
  }

  #call(...call: unknown[]): void {
    if (this.disposed) throw new HypervisorError('DISPOSED', 'the VM is gone');
    if (this.failing !== undefined) throw this.failing;
    this.calls.push(call);
  }
}

function rig(mode: 'kernel' | 'split', pit?: boolean): { vm: FakeVm; chip: VmIrqChip } {
  const vm = new FakeVm();
  const chip = createVmIrqChip(vm, pit === undefined ? { mode } : { mode, pit });
  vm.take();
  return { vm, chip };
}

/** Writes the low word of a redirection entry. */
function program(chip: VmIrqChip, input: number, low: number): void {
  chip.ioApic!.write(0x00, 4, 0x10 + 2 * input);
  chip.ioApic!.write(0x10, 4, low);
}

const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const MODES = ['kernel', 'split'] as const;

describe.each(MODES)('interrupt controllers of a PC, %s mode', (mode) => {
  it('have 24 inputs, each for one device at a time', () => {
    const { vm, chip } = rig(mode);
    expect([chip.mode, chip.inputs]).toEqual([mode, 24]);
    const line = chip.createLine(4, 'edge');
    expect(line.input).toBe(4);
    expect(() => chip.createLine(4, 'level')).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'IN_USE' }),
    );
    line[Symbol.dispose]();
    line[Symbol.dispose]();
    expect(vm.take()).toEqual([
      ['interrupt', 4, false],
      ['closed', 4],
    ]);
    chip.createLine(4, 'level');
  });

  it.each([-1, 24, 1.5, NaN])('refuse GSI %d', (gsi) => {
    expect(() => rig(mode).chip.createLine(gsi, 'edge')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('refuse to resample an edge-triggered line', () => {
    expect(() => rig(mode).chip.createLine(5, 'edge', { onResample: () => {} })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it('leave an input free whose line could not be made', () => {
    const { vm, chip } = rig(mode);
    vm.failing = new HypervisorError('OUT_OF_MEMORY', 'no more descriptors');
    expect(() => chip.createLine(5, 'edge')).toThrow('no more descriptors');
    vm.failing = undefined;
    expect(chip.createLine(5, 'edge').input).toBe(5);
  });

  it('ignore lines of devices that outlive the VM, and no other error', () => {
    const { vm, chip } = rig(mode);
    const lines = [chip.createLine(5, 'edge'), chip.createLine(6, 'level')];
    const other = chip.createLine(7, 'edge');
    if (mode === 'split')
      [5, 6, 7].forEach((input) => program(chip, input, input === 6 ? LEVEL | 0x40 : 0x40));
    vm.failing = new HypervisorError('SYSTEM', 'broken');
    expect(() => other.trigger()).toThrow('broken');
    vm.failing = undefined;
    vm.disposed = true;
    for (const line of lines) {
      line.trigger();
      line.setLevel(true);
      line[Symbol.dispose]();
    }
  });

  it.each([
    null,
    7,
    {},
    { version: 1, model: 'vm-x86', mode },
    { version: 1, model: 'vm-x86', mode, chip: {}, asserted: [24] },
    { version: 1, model: 'vm-x86', mode, chip: {}, asserted: 'x' },
    { version: 1, model: 'vm-x86', mode, chip: null, asserted: [] },
    { version: 2, model: 'vm-x86', mode, chip: {}, asserted: [] },
    { version: 1, model: 'vm-x86', mode: 'both', chip: {}, asserted: [] },
  ])('refuse %p as a state', (state) => {
    const { vm, chip } = rig(mode);
    expect(() => chip.restore(state as unknown as VmIrqChipState)).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_STATE' }),
    );
    expect(vm.take()).toEqual([]);
  });
});

describe('interrupt controllers of a PC in the kernel', () => {
  it('are asked for with a PIT unless told otherwise', () => {
    for (const [pit, expected] of [
      [undefined, true],
      [true, true],
      [false, false],
    ] as const) {
      const vm = new FakeVm();
      createVmIrqChip(vm, pit === undefined ? { mode: 'kernel' } : { mode: 'kernel', pit });
      expect(vm.take()).toEqual([['create', { mode: 'kernel', pit: expected }]]);
    }
  });

  it('have ISA interrupts at both controllers, and the timer at input 2 of the I/O APIC', () => {
    const { vm } = rig('kernel');
    const pins = (chip: string): [number, number][] =>
      vm.routes.flatMap((route) =>
        route.kind === 'irqchip' && route.chip === chip ? [[route.gsi, route.pin]] : [],
      );
    expect(pins('pic-master')).toEqual([0, 1, 3, 4, 5, 6, 7].map((gsi) => [gsi, gsi]));
    expect(pins('pic-slave')).toEqual([8, 9, 10, 11, 12, 13, 14, 15].map((gsi) => [gsi, gsi - 8]));
    expect(pins('ioapic')).toEqual([
      [0, 2],
      ...Array.from({ length: 23 }, (_, i) => i + 1)
        .filter((gsi) => gsi !== 2)
        .map((gsi) => [gsi, gsi]),
    ]);
  });

  it('keep what the timer needs', () => {
    const code = (pit: boolean, gsi: number): unknown => {
      try {
        return rig('kernel', pit).chip.createLine(gsi, 'edge').input;
      } catch (error) {
        return (error as { code: unknown }).code;
      }
    };
    expect([code(true, 0), code(true, 2), code(false, 0), code(false, 2)]).toEqual([
      'IN_USE',
      'IN_USE',
      0,
      'IN_USE',
    ]);
  });

  it('raise edges by eventfd, also for a level that rises', () => {
    const { vm, chip } = rig('kernel');
    const line = chip.createLine(5, 'edge');
    line.trigger();
    line.setLevel(true);
    line.setLevel(true);
    line.setLevel(false);
    line.setLevel(true);
    expect(vm.take()).toEqual([
      ['interrupt', 5, false],
      ['trigger', 5],
      ['trigger', 5],
      ['trigger', 5],
    ]);
  });

  it('hand levels on when they change', () => {
    const { vm, chip } = rig('kernel');
    const line = chip.createLine(9, 'level');
    line.setLevel(true);
    line.setLevel(true);
    line.setLevel(false);
    line.trigger();
    line.setLevel(true);
    line[Symbol.dispose]();
    expect(vm.take()).toEqual([
      ['line', 9, true],
      ['line', 9, false],
      ['pulse', 9],
      ['line', 9, true],
      ['line', 9, false],
    ]);
  });

  it('tell the device of a resampled line that its interrupt has ended', () => {
    const { vm, chip } = rig('kernel');
    let ends = 0;
    const line = chip.createLine(9, 'level', { onResample: () => (ends += 1) });
    line.setLevel(true);
    vm.resample.get(9)!();
    line.setLevel(false);
    expect(ends).toBe(1);
    expect(vm.take()).toEqual([
      ['interrupt', 9, true],
      ['trigger', 9],
    ]);
    chip.endOfInterrupt(0x40);
  });

  it('restore the levels of lines with the state', () => {
    const { chip } = rig('kernel');
    chip.createLine(9, 'level').setLevel(true);
    chip.createLine(10, 'level');
    const state = structuredClone(chip.save());
    const copy = rig('kernel');
    const [, ten] = [copy.chip.createLine(9, 'level'), copy.chip.createLine(10, 'level')];
    ten.setLevel(true);
    copy.vm.take();
    copy.chip.restore(state);
    expect(copy.vm.take()).toEqual([
      ['restore', Uint8Array.of(1)],
      ['line', 9, true],
      ['line', 10, false],
    ]);
    expect(copy.chip.save()).toEqual(state);
  });
});

describe('interrupt controllers of a PC, split', () => {
  it('have no PIT', () => {
    expect(() => createVmIrqChip(new FakeVm(), { mode: 'split', pit: true })).toThrow(
      expect.objectContaining({ name: 'IrqChipError', code: 'INVALID_ARGUMENT' }),
    );
    const vm = new FakeVm();
    createVmIrqChip(vm, { mode: 'split' });
    expect(vm.take()).toEqual([['create', { mode: 'split', inputs: 24 }]]);
  });

  it('raise edges along the routes that the model keeps', () => {
    const { vm, chip } = rig('split');
    const line = chip.createLine(5, 'edge');
    vm.take();
    line.trigger();
    expect(vm.take()).toEqual([]);
    program(chip, 5, 0x45);
    expect(vm.routes).toEqual([
      { gsi: 5, kind: 'msi', message: { address: 0xfee0_0000, addressHigh: 0, data: 0x4045 } },
    ]);
    line.trigger();
    expect(vm.take()).toEqual([['trigger', 5]]);
    program(chip, 5, MASKED | 0x45);
    line.trigger();
    expect([vm.take(), vm.routes]).toEqual([[], []]);
  });

  it('send an edge themselves where the guest expects a level', () => {
    const { vm, chip } = rig('split');
    const line = chip.createLine(5, 'edge');
    program(chip, 5, LEVEL | 0x45);
    vm.take();
    line.trigger();
    expect(vm.take()).toEqual([['msi', 0xc045]]);
    program(chip, 5, MASKED | LEVEL | 0x45);
    chip.endOfInterrupt(0x45);
    line.trigger();
    expect(vm.take()).toEqual([]);
  });

  it('send levels until they are low at the end of an interrupt', () => {
    const { vm, chip } = rig('split');
    const line = chip.createLine(9, 'level');
    program(chip, 9, LEVEL | 0x49);
    line.setLevel(true);
    chip.endOfInterrupt(0x49);
    line.setLevel(false);
    chip.endOfInterrupt(0x49);
    expect(vm.take()).toEqual([
      ['msi', 0xc049],
      ['msi', 0xc049],
    ]);
    line.trigger();
    chip.endOfInterrupt(0x49);
    expect(vm.take()).toEqual([['msi', 0xc049]]);
  });

  it('lower a resampled line at the end, and ask the device', () => {
    const { vm, chip } = rig('split');
    let reasons = 2;
    const line = chip.createLine(9, 'level', {
      onResample: () => {
        reasons--;
        if (reasons > 0) line.setLevel(true);
      },
    });
    program(chip, 9, LEVEL | 0x49);
    line.trigger();
    for (let i = 0; i < 4; i++) chip.endOfInterrupt(0x49);
    expect([reasons, vm.take()]).toEqual([
      0,
      [
        ['msi', 0xc049],
        ['msi', 0xc049],
      ],
    ]);
    line[Symbol.dispose]();
    const next = chip.createLine(9, 'level');
    next.setLevel(true);
    chip.endOfInterrupt(0x49);
    expect([reasons, vm.take().length]).toEqual([0, 2]);
  });

  it('restore the model and its routes with the state', () => {
    const { chip } = rig('split');
    program(chip, 9, LEVEL | 0x49);
    chip.createLine(9, 'level').setLevel(true);
    const state = structuredClone(chip.save());
    const copy = rig('split');
    copy.chip.restore(state);
    expect(copy.chip.save()).toEqual(state);
    expect(copy.vm.routes.length).toBe(1);
    expect(copy.vm.take()).toEqual([['restore', Uint8Array.of(1)]]);
    copy.chip.endOfInterrupt(0x49);
    expect(copy.vm.take()).toEqual([['msi', 0xc049]]);
  });

  it('stay as they were when the hypervisor refuses its part of a state', () => {
    const { vm, chip } = rig('split');
    const state = chip.save();
    program(chip, 9, 0x49);
    const before = chip.save();
    vm.failing = new HypervisorError('INVALID_ARGUMENT', 'no state');
    expect(() => chip.restore(state)).toThrow('no state');
    vm.failing = undefined;
    expect([chip.save(), vm.routes.length]).toEqual([before, 1]);
  });
});
