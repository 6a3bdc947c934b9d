import { HypervisorError, type GsiRoute, type MsiMessage, type X86IrqChipConfig } from '@vmm/hypervisor';
import { createVmIrqChip, type VmIrqChip } from '../src/index.ts';

const MODES = ['kernel', 'split'] as const;
const VECTOR = 0x61;

/** A VM whose interrupt controllers record what is sent, along the routes that they have been given. */
class FakeVm {
  readonly sent: string[] = [];
  tables: (readonly GsiRoute[])[] = [];
  inputs = new Set<number>();
  inputsLeft = Infinity;
  disposed = false;
  refusal: HypervisorError | undefined;

  createIrqChip({
    mode,
  }: X86IrqChipConfig): ReturnType<Parameters<typeof createVmIrqChip>[0]['createIrqChip']> {
    return {
      mode,
      setLine: () => undefined,
      pulseLine: () => undefined,
      signalMsi: ({ data }: MsiMessage) => {
        this.#check();
        if (this.refusal !== undefined) throw this.refusal;
        this.sent.push(`message ${data}`);
        return true;
      },
      setRoutes: (routes) => {
        this.#check();
        if (this.refusal !== undefined) throw this.refusal;
        this.tables.push(structuredClone(routes));
      },
      save: () => ({ version: 1, mode, opaque: new Uint8Array() }),
      restore: () => void this.tables.push([{ gsi: 100, kind: 'msi', message: message(1) }]),
    };
  }

  createInterrupt(gsi: number): ReturnType<Parameters<typeof createVmIrqChip>[0]['createInterrupt']> {
    this.#check();
    if (this.inputs.size >= this.inputsLeft) throw new HypervisorError('SYSTEM', 'no descriptors');
    this.inputs.add(gsi);
    return {
      gsi,
      trigger: () => {
        this.#check();
        const routes = this.tables.at(-1)!.filter((route) => route.gsi === gsi && route.kind === 'msi');
        for (const route of routes) {
          if (route.kind === 'msi') this.sent.push(`route ${route.message.data}`);
        }
      },
      [Symbol.dispose]: () => void this.inputs.delete(gsi),
    };
  }

  #check(): void {
    if (this.disposed) throw new HypervisorError('DISPOSED', 'the VM is gone');
  }
}

function message(data: number, address = 0xfee0_0000, addressHigh = 0): MsiMessage {
  return { address, addressHigh, data };
}

function rig(mode: 'kernel' | 'split'): { vm: FakeVm; chip: VmIrqChip } {
  const vm = new FakeVm();
  const chip = createVmIrqChip(vm, { mode });
  vm.tables = [];
  return { vm, chip };
}

describe.each(MODES)('message-signalled interrupts of a PC, %s mode', (mode) => {
  it('go along a route of their own, beyond the inputs of the I/O APIC', () => {
    const { vm, chip } = rig(mode);
    const [first, second] = [chip.createMsi(8), chip.createMsi(8)];
    expect(vm.inputs.size).toBe(0);
    first.setMessage(message(VECTOR));
    second.setMessage(message(VECTOR + 1));
    second.trigger();
    first.trigger();
    expect(vm.sent).toEqual([`route ${VECTOR + 1}`, `route ${VECTOR}`]);
    expect([...vm.inputs].every((gsi) => gsi >= chip.inputs)).toBe(true);
  });

  it('cost one table for any number of messages before the next interrupt, and none for the same message again', () => {
    const { vm, chip } = rig(mode);
    const all = Array.from({ length: 8 }, () => chip.createMsi(8));
    all.forEach((msi, index) => msi.setMessage(message(0x40 + index)));
    all.forEach((msi, index) => msi.setMessage(message(0x50 + index)));
    for (const msi of all) msi.trigger();
    expect(vm.tables.length).toBe(1);
    for (const msi of all) {
      msi.setMessage(undefined);
      msi.trigger();
    }
    all.forEach((msi, index) => msi.setMessage(message(0x50 + index)));
    all[3]!.trigger();
    expect(vm.tables.length).toBe(1);
    expect(vm.sent.length).toBe(9);
  });

  it('keep the wired routes in the table', () => {
    const { vm, chip } = rig(mode);
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    msi.trigger();
    if (mode === 'kernel') {
      expect(vm.tables[0]!.filter((route) => route.kind === 'irqchip').length).toBe(38);
      return;
    }
    chip.ioApic!.write(0, 4, 0x10 + 2 * 5);
    chip.ioApic!.write(0x10, 4, 0x45);
    expect(vm.tables.at(-1)!.map(({ gsi }) => gsi)).toEqual([5, 24]);
    msi.trigger();
    expect(vm.sent).toEqual([`route ${VECTOR}`, `route ${VECTOR}`]);
  });

  it.each([
    ['memory', message(VECTOR, 0x1000)],
    ['the I/O APIC', message(VECTOR, 0xfec0_0000)],
    ['memory beyond 4 GiB', message(VECTOR, 0xfee0_0000, 1)],
  ])('to %s are dropped', (_, hostile) => {
    const { vm, chip } = rig(mode);
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    msi.setMessage(hostile);
    msi.trigger();
    expect(vm.sent).toEqual([]);
    expect(vm.tables).toEqual([]);
  });

  it('are sent by a call where no file descriptor is left, and along routes once there is one again', () => {
    const { vm, chip } = rig(mode);
    vm.inputsLeft = 0;
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    msi.trigger();
    vm.inputsLeft = 1;
    msi.setMessage(message(VECTOR));
    msi.trigger();
    expect(vm.sent).toEqual([`message ${VECTOR}`, `route ${VECTOR}`]);
  });

  it('are sent by a call where no GSI is left', () => {
    const { vm, chip } = rig(mode);
    const many = Array.from({ length: 5000 }, () => chip.createMsi(8));
    for (const msi of many) msi.setMessage(message(VECTOR));
    many.at(-1)!.trigger();
    expect(vm.sent).toEqual([`message ${VECTOR}`]);
    const table = (): readonly GsiRoute[] => vm.tables.at(-1)!;
    many[0]!.trigger();
    expect(table().length).toBeLessThanOrEqual(4096);
    expect(table().every(({ gsi }) => gsi < 4096)).toBe(true);
    for (const msi of many.slice(0, 10)) msi[Symbol.dispose]();
    many.at(-1)!.setMessage(message(VECTOR));
    many.at(-1)!.trigger();
    expect(vm.sent.at(-1)).toBe(`route ${VECTOR}`);
  });

  it('that the hypervisor refuses are dropped', () => {
    const { vm, chip } = rig(mode);
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    vm.refusal = new HypervisorError('INVALID_ARGUMENT', 'no such message');
    msi.trigger();
    expect(vm.sent).toEqual([]);
    vm.refusal = undefined;
    msi.trigger();
    expect(vm.sent).toEqual([`route ${VECTOR}`]);
  });

  it('go nowhere once disposed, and their GSI is free', () => {
    const { vm, chip } = rig(mode);
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    msi[Symbol.dispose]();
    msi[Symbol.dispose]();
    msi.setMessage(message(VECTOR));
    msi.trigger();
    expect([vm.sent, vm.inputs.size]).toEqual([[], 0]);
    const other = chip.createMsi(8);
    other.setMessage(message(VECTOR + 1));
    other.trigger();
    expect(vm.tables.at(-1)!.filter((route) => route.kind === 'msi').length).toBe(1);
  });

  it('of devices that outlive the VM reach nothing', () => {
    const { vm, chip } = rig(mode);
    const msi = chip.createMsi(8);
    msi.setMessage(message(VECTOR));
    vm.disposed = true;
    msi.trigger();
    msi[Symbol.dispose]();
    expect(vm.sent).toEqual([]);
  });

  it('have the messages of this machine after a restore, not those of the saved table', () => {
    const { vm, chip } = rig(mode);
    const state = chip.save();
    const msi = chip.createMsi(8);
    chip.restore(state);
    expect(vm.tables.at(-1)!.filter(({ gsi }) => gsi >= chip.inputs)).toEqual([]);
    msi.setMessage(message(VECTOR));
    msi.trigger();
    expect(vm.sent).toEqual([`route ${VECTOR}`]);
  });
});
