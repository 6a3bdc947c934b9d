import fc from 'fast-check';
import { Bus } from '../bus.ts';
import type { VmDeviceErrorCode } from '../errors.ts';
import { MockInterrupt, MockMsiController } from '../mock/index.ts';
import type { PciBarOptions } from './bar.ts';
import { PciFunction } from './function.ts';
import * as pci from './registers.ts';
import { PciRoot } from './root.ts';
import type { PciRootOptions } from './root.ts';

const withCode = (code: VmDeviceErrorCode): Error => expect.objectContaining({ code }) as Error;

const MEMORY32 = { address: 0xc000_0000, size: 0x10_0000 };
const MEMORY64 = { address: 0x80_0000_0000, size: 2 ** 34 };
const IO = { address: 0x1000, size: 0x100 };

interface Rig {
  readonly mmio: Bus;
  readonly ports: Bus;
  readonly lines: readonly MockInterrupt[];
  readonly root: PciRoot;
}

function setUp(options: Partial<PciRootOptions> = {}): Rig {
  const mmio = new Bus({ name: 'mmio' });
  const ports = new Bus({ name: 'ports', limit: 0x10000 });
  const lines = Array.from({ length: 4 }, () => new MockInterrupt());
  const root = new PciRoot({
    mmio,
    ports,
    memory32: MEMORY32,
    memory64: MEMORY64,
    io: IO,
    interrupts: lines,
    msi: new MockMsiController(),
    ...options,
  });
  return { mmio, ports, lines, root };
}

/** A function whose BARs answer a number of its own. */
function makeFunction(answer: number, bars: readonly Omit<PciBarOptions, 'device'>[] = []): PciFunction {
  const device = { read: (): number => answer, write: (): void => undefined };
  return new PciFunction({
    name: `function ${answer}`,
    vendorId: 0x1af4,
    deviceId: 0x1000 + answer,
    classCode: 0xff_00_00,
    intx: true,
    bars: bars.map((bar) => ({ ...bar, device })),
  });
}

const BAR32: Omit<PciBarOptions, 'device'> = { index: 0, kind: 'memory32', size: 0x2000 };
const at = (device: number, fn: number, offset: number): number => (device << 15) | (fn << 12) | offset;

describe('configuration space in memory, PCI Express Base 3.0 §7.2.2', () => {
  it('has the host bridge at 00:00.0', () => {
    const { root } = setUp();
    expect(root.ecamSize).toBe(0x10_0000);
    expect(root.ecam.read(0, 4)).toBe(0x0008_1b36);
    expect(root.ecam.read(pci.PCI_CLASS_CODE + 1, 2)).toBe(0x0600);
  });

  it('answers ones where nothing is, beyond the last bus, and across doublewords', () => {
    const { root } = setUp({ buses: 2 });
    expect(root.ecamSize).toBe(0x20_0000);
    expect(root.ecam.read(at(1, 0, 0), 4)).toBe(0xffff_ffff);
    expect(root.ecam.read(at(1, 0, 0), 2)).toBe(0xffff);
    expect(root.ecam.read(at(1, 0, 3), 1)).toBe(0xff);
    expect(root.ecam.read(0x10_0000, 4)).toBe(0xffff_ffff);
    expect(root.ecam.read(1, 4)).toBe(0xffff_ffff);
    expect(root.ecam.read(3, 2)).toBe(0xffff);
    expect(root.ecam.read(1, 2)).toBe(0x081b);
    expect(root.ecam.read(0x100, 4)).toBe(0);
  });

  it('ignores a write across doublewords', () => {
    const { root } = setUp();
    root.ecam.write(pci.PCI_INTERRUPT_LINE - 1, 2, 0xffff);
    expect(root.ecam.read(pci.PCI_INTERRUPT_LINE, 1)).toBe(0);
    root.ecam.write(pci.PCI_INTERRUPT_LINE, 1, 0x55);
    expect(root.ecam.read(pci.PCI_INTERRUPT_LINE, 1)).toBe(0x55);
  });
});

describe('configuration ports, PCI Local Bus 3.0 §3.2.2.3.2', () => {
  it('reach the register that CONFIG_ADDRESS names', () => {
    const { root } = setUp();
    root.add(makeFunction(5));
    root.configPorts.write(0, 4, 0x8000_0800);
    expect(root.configPorts.read(0, 4)).toBe(0x8000_0800);
    expect(root.configPorts.read(4, 4)).toBe(0x1005_1af4);
    expect(root.configPorts.read(6, 2)).toBe(0x1005);
    root.configPorts.write(0, 4, 0x8000_0800 | pci.PCI_INTERRUPT_LINE);
    root.configPorts.write(4, 1, 9);
    expect(root.ecam.read(at(1, 0, pci.PCI_INTERRUPT_LINE), 1)).toBe(9);
  });

  it('answer ones when disabled, for another bus, and to narrow reads of CONFIG_ADDRESS', () => {
    const { root } = setUp();
    root.configPorts.write(0, 4, 0x0000_0000);
    expect(root.configPorts.read(4, 4)).toBe(0xffff_ffff);
    root.configPorts.write(0, 4, 0x8001_0000);
    expect(root.configPorts.read(4, 4)).toBe(0xffff_ffff);
    expect(root.configPorts.read(0, 2) & 0xffff).toBe(0xffff);
  });

  it('take whole doublewords of CONFIG_ADDRESS only, without its reserved bits', () => {
    const { root } = setUp();
    root.configPorts.write(0, 4, 0xffff_ffff);
    expect(root.configPorts.read(0, 4)).toBe(0x80ff_fffc);
    root.configPorts.write(3, 1, 0);
    root.configPorts.write(0, 2, 0);
    expect(root.configPorts.read(0, 4)).toBe(0x80ff_fffc);
  });
});

describe('slots', () => {
  it('are given in order, then the functions of devices that are there', () => {
    const { root } = setUp();
    const places = Array.from({ length: 40 }, (_, i) => root.add(makeFunction(i)));
    expect(places[0]).toEqual({ bus: 0, device: 1, function: 0 });
    expect(places[30]).toEqual({ bus: 0, device: 31, function: 0 });
    expect(places[31]).toEqual({ bus: 0, device: 1, function: 1 });
    expect(places[38]).toEqual({ bus: 0, device: 2, function: 1 });
    const multi = (device: number, fn: number): number =>
      root.ecam.read(at(device, fn, pci.PCI_HEADER_TYPE), 1);
    expect([multi(1, 0), multi(1, 1), multi(3, 0)]).toEqual([0x80, 0x80, 0]);
  });

  it('can be chosen, and run out', () => {
    const { root } = setUp();
    expect(root.add(makeFunction(1), 7)).toEqual({ bus: 0, device: 7, function: 0 });
    expect(root.add(makeFunction(2), 7)).toEqual({ bus: 0, device: 7, function: 1 });
    expect(root.add(makeFunction(3))).toEqual({ bus: 0, device: 1, function: 0 });
    for (let i = 0; i < 6; i++) root.add(makeFunction(i), 7);
    expect(() => root.add(makeFunction(9), 7)).toThrow(withCode('EXHAUSTED'));
    expect(() => root.add(makeFunction(9), 32)).toThrow(withCode('INVALID_ARGUMENT'));
    const twice = makeFunction(4);
    root.add(twice);
    expect(() => root.add(twice)).toThrow(withCode('INVALID_ARGUMENT'));
  });
});

describe('windows', () => {
  it('give every BAR an address from the start, each in its window', () => {
    const { root } = setUp();
    const fn = makeFunction(1, [
      BAR32,
      { index: 1, kind: 'io', size: 32 },
      { index: 2, kind: 'memory64', size: 2 ** 33, prefetchable: true },
      { index: 4, kind: 'memory64', size: 0x1000 },
    ]);
    root.add(fn);
    expect(fn.bars.map((bar) => bar.address)).toEqual([0xc000_0000, 0x1000, 0x80_0000_0000, 0xc000_2000]);
    expect(fn.bars.map((bar) => bar.mapped)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it('are exhausted without leaving anything behind', () => {
    const { root } = setUp({ memory32: { address: 0xc000_0000, size: 0x4000 } });
    const large = makeFunction(1, [BAR32, { index: 1, kind: 'memory32', size: 0x4000 }]);
    expect(() => root.add(large)).toThrow(withCode('EXHAUSTED'));
    expect(large.attached).toBe(false);
    root.add(makeFunction(2, [BAR32, { ...BAR32, index: 1 }]));
    expect(root.functions).toHaveLength(2);
  });

  it('must be there for I/O, and lie where 32-bit BARs reach', () => {
    const ports = new Bus({ limit: 0x10000 });
    const { root } = setUp({ ports, io: IO });
    root.add(makeFunction(1, [{ index: 0, kind: 'io', size: 4 }]));
    const bare = new PciRoot({ mmio: new Bus(), memory32: MEMORY32 });
    expect(() => bare.add(makeFunction(1, [{ index: 0, kind: 'io', size: 4 }]))).toThrow(
      withCode('INVALID_ARGUMENT'),
    );
    expect(() => setUp({ memory32: MEMORY64 })).toThrow(withCode('INVALID_ARGUMENT'));
    expect(() => setUp({ buses: 0 })).toThrow(withCode('INVALID_ARGUMENT'));
  });
});

describe('decoding', () => {
  const command = (rig: Rig, device: number, value: number): void =>
    rig.root.ecam.write(at(device, 0, pci.PCI_COMMAND), 2, value);
  const bar = (rig: Rig, device: number, value: number): void =>
    rig.root.ecam.write(at(device, 0, 0x10), 4, value);

  it('follows Command and the BAR', () => {
    const rig = setUp();
    const fn = makeFunction(7, [BAR32, { index: 1, kind: 'io', size: 4 }]);
    rig.root.add(fn);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(0);
    command(rig, 1, pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_IO);
    expect(rig.mmio.read(0xc000_1ffc, 4)).toBe(7);
    expect(rig.ports.read(0x1000, 1)).toBe(7);
    bar(rig, 1, 0xc00f_0000);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(0);
    expect(rig.mmio.read(0xc00f_0000, 4)).toBe(7);
    command(rig, 1, 0);
    expect(rig.mmio.read(0xc00f_0000, 4)).toBe(0);
    expect(rig.mmio.registrations).toEqual([]);
  });

  it('stops while a guest sizes with decoding enabled', () => {
    const rig = setUp();
    rig.root.add(makeFunction(7, [BAR32]));
    command(rig, 1, pci.PCI_COMMAND_MEMORY);
    bar(rig, 1, 0xffff_ffff);
    expect(rig.mmio.registrations).toEqual([]);
    expect(rig.root.statistics.refusedBars).toBe(1);
    bar(rig, 1, 0xc000_0000);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(7);
  });

  it('leaves a place to who has it, and gives it to who waits when it becomes free', () => {
    const rig = setUp();
    rig.root.add(makeFunction(1, [BAR32]));
    rig.root.add(makeFunction(2, [BAR32]));
    command(rig, 1, pci.PCI_COMMAND_MEMORY);
    command(rig, 2, pci.PCI_COMMAND_MEMORY);
    bar(rig, 2, 0xc000_0000);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(1);
    expect(rig.mmio.read(0xc000_2000, 4)).toBe(0);
    command(rig, 1, 0);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(2);
    command(rig, 1, pci.PCI_COMMAND_MEMORY);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(2);
    command(rig, 2, 0);
    expect(rig.mmio.read(0xc000_0000, 4)).toBe(1);
  });

  it('cannot take the place of a device outside the windows', () => {
    const rig = setUp();
    rig.mmio.register(0xd000_0000, 0x1000, { read: () => 99, write: () => undefined }, 'other');
    rig.root.add(makeFunction(1, [BAR32]));
    command(rig, 1, pci.PCI_COMMAND_MEMORY);
    for (const address of [0xd000_0000, 0xcfff_f000, 0xc00f_f000, 0x0000_0000, 0xbfff_e000]) {
      bar(rig, 1, address);
      expect(rig.mmio.read(0xd000_0000, 4)).toBe(99);
      expect(rig.mmio.registrations).toHaveLength(1 + (address === 0xc00f_f000 ? 1 : 0));
    }
  });
});

describe('interrupt pins', () => {
  it('are spread over the lines by device, and a line is high while any function asserts it', () => {
    const { root, lines } = setUp();
    const functions = [1, 2, 3, 4, 5].map((i) => makeFunction(i));
    for (const fn of functions) root.add(fn);
    const levels = (): boolean[] => lines.map((line) => line.level);
    expect([1, 2, 3, 4, 5].map((device) => root.interruptLine(device, 1))).toEqual([1, 2, 3, 0, 1]);
    functions[0]!.setInterrupt(true);
    functions[4]!.setInterrupt(true);
    expect(levels()).toEqual([false, true, false, false]);
    functions[0]!.setInterrupt(false);
    expect(levels()).toEqual([false, true, false, false]);
    root.reset();
    expect(levels()).toEqual([false, false, false, false]);
  });
});

describe('state', () => {
  it('covers CONFIG_ADDRESS and the host bridge, and is checked', () => {
    const { root } = setUp();
    root.configPorts.write(0, 4, 0x8000_0010);
    root.ecam.write(pci.PCI_INTERRUPT_LINE, 1, 3);
    const state: unknown = structuredClone(root.save());
    const other = setUp().root;
    other.restore(state);
    expect(other.save()).toEqual(state);
    for (const bad of [null, { ...root.save(), version: 2 }, { ...root.save(), configAddress: -1 }]) {
      expect(() => other.restore(bad)).toThrow(withCode('INVALID_STATE'));
    }
    other.reset();
    expect(other.configPorts.read(0, 4)).toBe(0);
    expect(other.ecam.read(pci.PCI_INTERRUPT_LINE, 1)).toBe(0);
  });
});

it('never throws, overlaps or leaves the windows, whatever a guest does, and is whole after a reset', () => {
  const word = fc.oneof(
    fc.constantFrom(0, 0xffff_ffff, 0xc000_0000, 0xc000_2000, 0xc000_1000, 0x80, 0x81, 0x1000),
    fc.nat(0xffff_ffff),
  );
  const access = fc.record({
    ports: fc.boolean(),
    write: fc.boolean(),
    device: fc.nat(4),
    offset: fc.oneof(fc.constantFrom(4, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x42, 0x48), fc.nat(0x120)),
    length: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
    value: fc.oneof(fc.nat(0x7ff), word),
  });
  const bars: readonly Omit<PciBarOptions, 'device'>[] = [
    BAR32,
    { index: 1, kind: 'io', size: 16 },
    { index: 2, kind: 'memory64', size: 0x1_0000, prefetchable: true },
  ];
  fc.assert(
    fc.property(fc.array(access, { maxLength: 80 }), (accesses) => {
      const { root, mmio, ports } = setUp();
      mmio.register(0xb000_0000, 0x1000, { read: () => 99, write: () => undefined }, 'other');
      const functions = [1, 2, 3].map((i) => makeFunction(i, bars));
      for (const fn of functions) root.add(fn);
      const first = functions.map((fn) => fn.bars.map((each) => each.address));
      for (const { ports: byPort, write, device, offset, length, value } of accesses) {
        if (byPort) {
          root.configPorts.write(0, 4, 0x8000_0000 + (device << 11) + (offset & 0xfc));
          if (write) root.configPorts.write(4 + (offset & 3), length, value);
          else expect(root.configPorts.read(4 + (offset & 3), length)).toBeGreaterThanOrEqual(0);
        } else if (write) root.ecam.write(at(device, 0, offset), length, value);
        else {
          const answer = root.ecam.read(at(device, 0, offset), length);
          expect(answer).toBe(answer >>> 0);
        }
        const ranges = mmio.registrations.filter(({ name }) => name !== 'other');
        for (const { address, size } of ranges) {
          const inside = [MEMORY32, MEMORY64].some(
            (window) => address >= window.address && address + size <= window.address + window.size,
          );
          expect(inside).toBe(true);
        }
        expect(mmio.read(0xb000_0000, 4)).toBe(99);
      }
      root.reset();
      expect([...mmio.registrations, ...ports.registrations].map(({ name }) => name)).toEqual(['other']);
      expect(functions.map((fn) => fn.bars.map((each) => each.address))).toEqual(first);
      for (const device of [1, 2, 3]) root.ecam.write(at(device, 0, pci.PCI_COMMAND), 2, 3);
      for (const [i, addresses] of first.entries()) {
        expect(mmio.read(addresses[0]!, 4)).toBe(i + 1);
        expect(ports.read(addresses[1]!, 4)).toBe(i + 1);
        expect(mmio.read(addresses[2]!, 4)).toBe(i + 1);
      }
    }),
    { numRuns: 100 },
  );
});
