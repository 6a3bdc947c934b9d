import { PciFunction } from './function.ts';
import type { PciFunctionHost, PciFunctionOptions } from './function.ts';
import type { VmDeviceErrorCode } from '../errors.ts';
import * as pci from './registers.ts';

const withCode = (code: VmDeviceErrorCode): Error => expect.objectContaining({ code }) as Error;

const OPTIONS: PciFunctionOptions = {
  name: 'test',
  vendorId: 0x1af4,
  deviceId: 0x1050,
  revision: 1,
  classCode: 0x02_80_01,
  subsystemVendorId: 0x1234,
  subsystemId: 0x5678,
  intx: true,
  bars: [
    { index: 0, kind: 'memory32', size: 0x4000 },
    { index: 2, kind: 'memory64', size: 2 ** 33, prefetchable: true },
    { index: 4, kind: 'io', size: 64 },
  ],
};

/** A function that is plugged in nowhere in particular. */
function plug(options: Partial<PciFunctionOptions> = {}): {
  fn: PciFunction;
  bars: Map<string, number | undefined>;
  pin: () => boolean;
} {
  const fn = new PciFunction({ ...OPTIONS, ...options });
  const bars = new Map<string, number | undefined>();
  let level = false;
  const host: PciFunctionHost = {
    deviceId: 8,
    msi: undefined,
    mapBar: (bar, address) => void bars.set(bar.name, address),
    setIntx: (high) => {
      level = high;
    },
  };
  fn.attach(host, false);
  return { fn, bars, pin: () => level };
}

describe('the header, PCI Local Bus 3.0 §6.1', () => {
  it('shows what the function is, in any width', () => {
    const { fn } = plug();
    expect(fn.readConfig(pci.PCI_VENDOR_ID, 4)).toBe(0x1050_1af4);
    expect(fn.readConfig(pci.PCI_DEVICE_ID, 2)).toBe(0x1050);
    expect(fn.readConfig(pci.PCI_REVISION_ID, 4)).toBe(0x0280_0101);
    expect(fn.readConfig(pci.PCI_CLASS_CODE + 2, 1)).toBe(0x02);
    expect(fn.readConfig(pci.PCI_SUBSYSTEM_VENDOR_ID, 4)).toBe(0x5678_1234);
    expect(fn.readConfig(pci.PCI_INTERRUPT_PIN, 1)).toBe(1);
    expect(fn.readConfig(pci.PCI_HEADER_TYPE, 1)).toBe(0);
  });

  it('keeps read-only bits whatever is written', () => {
    const { fn } = plug();
    const before = Array.from({ length: 64 }, (_, word) => fn.readConfig(4 * word, 4));
    for (let offset = 0; offset < 0x100; offset += 4) fn.writeConfig(offset, 4, 0xffff_ffff);
    const changed = before.flatMap((value, word) => {
      const difference = (fn.readConfig(4 * word, 4) ^ value) >>> 0;
      return difference === 0 ? [] : [[4 * word, difference]];
    });
    expect(changed).toEqual([
      [pci.PCI_COMMAND, 0x0547],
      [pci.PCI_CACHE_LINE_SIZE, 0xff],
      [0x10, 0xffff_c000],
      // A BAR of 8 GiB has no bit in its lower half.
      [0x1c, 0xffff_fffe],
      [0x20, 0xffff_ffc0],
      [pci.PCI_INTERRUPT_LINE, 0xff],
    ]);
  });

  it('changes only the bytes that an access covers', () => {
    const { fn } = plug();
    fn.writeConfig(0x11, 1, 0xff);
    fn.writeConfig(0x12, 2, 0xabcd);
    expect(fn.readConfig(0x10, 4)).toBe(0xabcd_c000);
  });

  it('reads as 0 beyond the 256 bytes, and takes nothing there', () => {
    const { fn } = plug();
    fn.writeConfig(0x100, 4, 1);
    expect(fn.readConfig(0x100, 4)).toBe(0);
    expect(fn.readConfig(0xfff, 1)).toBe(0);
  });
});

describe('Base Address registers, §6.2.5.1', () => {
  it('tell their size and kind', () => {
    const { fn } = plug();
    const size = (offset: number): number => {
      fn.writeConfig(offset, 4, 0xffff_ffff);
      return fn.readConfig(offset, 4);
    };
    expect(size(0x10)).toBe(0xffff_c000);
    expect(size(0x14)).toBe(0);
    expect([size(0x18), size(0x1c)]).toEqual([0x0000_000c, 0xffff_fffe]);
    expect(size(0x20)).toBe(0xffff_ffc1);
    expect(size(0x30)).toBe(0);
  });

  it('are decoded at what they hold while Command says so', () => {
    const { fn, bars } = plug();
    fn.writeConfig(0x10, 4, 0xc001_2345);
    fn.writeConfig(0x1c, 4, 0x42);
    fn.writeConfig(0x20, 4, 0x1040);
    expect([...bars.values()]).toEqual([undefined, undefined, undefined]);
    fn.writeConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
    expect(Object.fromEntries(bars)).toEqual({
      'test BAR 0': 0xc001_0000,
      'test BAR 2': 0x42_0000_0000,
      'test BAR 4': undefined,
    });
    fn.writeConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_IO);
    expect(bars.get('test BAR 4')).toBe(0x1040);
    expect(bars.get('test BAR 0')).toBeUndefined();
  });

  it.each([
    [[{ index: 5, kind: 'memory64', size: 16 }]],
    [[{ index: 0, kind: 'memory32', size: 8 }]],
    [[{ index: 0, kind: 'memory32', size: 48 }]],
    [[{ index: 0, kind: 'io', size: 512 }]],
    [[{ index: 0, kind: 'io', size: 16, prefetchable: true }]],
    [
      [
        { index: 0, kind: 'memory64', size: 16 },
        { index: 1, kind: 'memory32', size: 16 },
      ],
    ],
  ] as const)('refuses %j', (bars) => {
    expect(() => new PciFunction({ ...OPTIONS, bars })).toThrow(withCode('INVALID_ARGUMENT'));
  });
});

describe('the interrupt pin, §6.2.3', () => {
  it('shows in Status, and is silent while Command disables it', () => {
    const { fn, pin } = plug();
    fn.setInterrupt(true);
    expect(pin()).toBe(true);
    expect(fn.readConfig(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT).toBe(pci.PCI_STATUS_INTERRUPT);
    fn.writeConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_INTX_DISABLE);
    expect(pin()).toBe(false);
    expect(fn.readConfig(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT).toBe(pci.PCI_STATUS_INTERRUPT);
    fn.writeConfig(pci.PCI_COMMAND, 2, 0);
    expect(pin()).toBe(true);
    fn.setInterrupt(false);
    expect(pin()).toBe(false);
    expect(fn.readConfig(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT).toBe(0);
  });

  it('is silent while MSI-X is enabled (§6.8.3.3)', () => {
    const { fn, pin } = plug({ msix: { vectors: 1, bar: 0, tableOffset: 0, pbaOffset: 0x1000 } });
    fn.setInterrupt(true);
    const msix = fn.readConfig(pci.PCI_CAPABILITIES_POINTER, 1);
    fn.writeConfig(msix + 2, 2, pci.PCI_MSIX_CONTROL_ENABLE);
    expect(pin()).toBe(false);
    fn.writeConfig(msix + 2, 2, 0);
    expect(pin()).toBe(true);
  });
});

describe('capabilities, §6.7', () => {
  it('are a list that begins where the pointer says', () => {
    const fn = new PciFunction(OPTIONS);
    expect(fn.readConfig(pci.PCI_STATUS, 2) & pci.PCI_STATUS_CAPABILITIES_LIST).toBe(0);
    fn.addCapability(9, [1, 2, 3]);
    fn.addCapability(5, [4]);
    expect(fn.readConfig(pci.PCI_STATUS, 2) & pci.PCI_STATUS_CAPABILITIES_LIST).toBe(
      pci.PCI_STATUS_CAPABILITIES_LIST,
    );
    const first = fn.readConfig(pci.PCI_CAPABILITIES_POINTER, 1);
    expect(first).toBe(0x40);
    expect(fn.readConfig(first, 4)).toBe(0x0201_4809);
    expect(fn.readConfig(0x48, 4)).toBe(0x0004_0005);
  });

  it('take writes where they allow them, and are told of accesses to themselves only', () => {
    const fn = new PciFunction(OPTIONS);
    const calls: string[] = [];
    const capability = fn.addCapability(9, [0x11, 0x22, 0x33, 0x44], {
      writable: [0, 0xf0],
      onRead: (offset, length) => calls.push(`read ${offset} ${length}`),
      onWrite: (offset, length) => calls.push(`write ${offset} ${length}`),
    });
    fn.writeConfig(0x40, 4, 0xffff_ffff);
    expect([...capability.body]).toEqual([0x11, 0xf2, 0x33, 0x44]);
    capability.body[3] = 0x55;
    expect(fn.readConfig(0x44, 2)).toBe(0x5533);
    fn.readConfig(0x3c, 4);
    fn.readConfig(0x46, 2);
    fn.writeConfig(0x40, 2, 0);
    expect(calls).toEqual(['write -2 4', 'read 2 2']);
  });

  it('are refused when there is no room', () => {
    const fn = new PciFunction(OPTIONS);
    fn.addCapability(9, new Uint8Array(0xbc));
    expect(() => fn.addCapability(9, [])).toThrow(withCode('EXHAUSTED'));
  });
});

describe('reset', () => {
  it('by Function Level Reset puts everything back (PCI Express Base 3.0 §6.6.2)', () => {
    let resets = 0;
    const { fn, bars, pin } = plug({ express: true, onReset: () => resets++ });
    const express = fn.readConfig(pci.PCI_CAPABILITIES_POINTER, 1);
    expect(fn.readConfig(express, 1)).toBe(pci.PCI_CAP_ID_EXPRESS);
    // Version 2, root complex integrated endpoint, Function Level Reset.
    expect(fn.readConfig(express + 2, 2)).toBe(0x0092);
    expect(fn.readConfig(express + 4, 4) & 0x1000_0000).not.toBe(0);
    fn.writeConfig(0x10, 4, 0xc000_0000);
    fn.writeConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
    fn.setInterrupt(true);
    fn.writeConfig(express + 8, 2, 0x8000);
    expect(resets).toBe(1);
    expect(fn.readConfig(express + 8, 2)).toBe(0);
    expect(fn.readConfig(pci.PCI_COMMAND, 2)).toBe(0);
    expect(fn.readConfig(0x10, 4)).toBe(0);
    expect(bars.get('test BAR 0')).toBeUndefined();
    expect(pin()).toBe(false);
  });
});

describe('state', () => {
  const make = (): ReturnType<typeof plug> =>
    plug({ msix: { vectors: 3, bar: 0, tableOffset: 0, pbaOffset: 0x1000 } });

  it('goes on where it was saved', () => {
    const { fn } = make();
    fn.writeConfig(0x10, 4, 0xc000_0000);
    fn.writeConfig(pci.PCI_COMMAND, 2, pci.PCI_COMMAND_MEMORY);
    fn.writeBar(0, 0x18, 4, 77);
    fn.setInterrupt(true);
    const state: unknown = structuredClone(fn.save());
    const other = make();
    other.fn.restore(state);
    expect(other.bars.get('test BAR 0')).toBe(0xc000_0000);
    expect(other.fn.readBar(0, 0x18, 4)).toBe(77);
    expect(other.pin()).toBe(true);
    expect(other.fn.save()).toEqual(state);
  });

  it('is refused when it is damaged or of another function', () => {
    const { fn } = make();
    const state = fn.save();
    const otherId = state.config.slice();
    otherId[2] = 0x99;
    const bad: unknown[] = [
      null,
      7,
      { ...state, version: 2 },
      { ...state, config: otherId },
      { ...state, config: state.config.slice(1) },
      { ...state, msix: null },
      { ...state, msix: { ...state.msix, table: [1, 2] } },
      { ...state, msix: { ...state.msix, pending: [-1, 0] } },
    ];
    for (const each of bad) expect(() => fn.restore(each)).toThrow(withCode('INVALID_STATE'));
    expect(fn.save()).toEqual(state);
  });
});
