import type { MsiController } from '../device.ts';
import { MockMsiController } from '../mock/index.ts';
import { PciFunction } from './function.ts';
import type { PciMsix } from './msix.ts';
import * as pci from './registers.ts';

const TABLE = 0;
const PBA = 0x1000;
const VECTORS = 70;

/** A function with MSI-X, of which each vector sends its number and 100; all unmasked, MSI-X enabled. */
function setUp(controller: MsiController = new MockMsiController()): {
  fn: PciFunction;
  msix: PciMsix;
  control: (value: number) => void;
  mask: (vector: number, masked: boolean) => void;
  pending: (word: number) => number;
} {
  const fn = new PciFunction({
    name: 'test',
    vendorId: 1,
    deviceId: 2,
    classCode: 0,
    bars: [
      { index: 0, kind: 'memory32', size: 0x2000, device: { read: () => 0x77, write: () => undefined } },
    ],
    msix: { vectors: VECTORS, bar: 0, tableOffset: TABLE, pbaOffset: PBA },
  });
  fn.attach({ deviceId: 0x18, msi: controller, mapBar: () => undefined, setIntx: () => undefined }, false);
  const capability = fn.readConfig(pci.PCI_CAPABILITIES_POINTER, 1);
  const mask = (vector: number, masked: boolean): void =>
    fn.writeBar(0, TABLE + vector * 16 + 12, 4, masked ? 1 : 0);
  const control = (value: number): void => fn.writeConfig(capability + 2, 2, value);
  for (let vector = 0; vector < VECTORS; vector++) {
    fn.writeBar(0, TABLE + vector * 16, 4, 0xfee0_0000);
    fn.writeBar(0, TABLE + vector * 16 + 8, 4, 100 + vector);
    mask(vector, false);
  }
  control(pci.PCI_MSIX_CONTROL_ENABLE);
  return { fn, msix: fn.msix!, control, mask, pending: (word) => fn.readBar(0, PBA + 4 * word, 4) };
}

describe('MSI-X, PCI Local Bus 3.0 §6.8.2', () => {
  it('has a capability that says how many vectors there are, and where', () => {
    const { fn } = setUp();
    const at = fn.readConfig(pci.PCI_CAPABILITIES_POINTER, 1);
    expect(fn.readConfig(at, 1)).toBe(pci.PCI_CAP_ID_MSIX);
    expect(fn.readConfig(at + 2, 2) & 0x7ff).toBe(VECTORS - 1);
    expect(fn.readConfig(at + 4, 4)).toBe(TABLE);
    expect(fn.readConfig(at + 8, 4)).toBe(PBA);
  });

  it('sends the message of a vector', () => {
    const controller = new MockMsiController();
    const { fn, msix } = setUp(controller);
    fn.writeBar(0, TABLE + 5 * 16 + 4, 4, 0x12);
    msix.trigger(5);
    msix.trigger(69);
    msix.trigger(70);
    msix.trigger(0xffff);
    expect(controller.sent).toEqual([
      { deviceId: 0x18, message: { address: 0xfee0_0000, addressHigh: 0x12, data: 105 } },
      { deviceId: 0x18, message: { address: 0xfee0_0000, addressHigh: 0, data: 169 } },
    ]);
    // Nothing is taken from the controller for vectors that are not used.
    expect(controller.size).toBe(2);
  });

  it('sends what the table holds when it is sent', () => {
    const controller = new MockMsiController();
    const { fn, msix } = setUp(controller);
    msix.trigger(1);
    fn.writeBar(0, TABLE + 16 + 8, 4, 7);
    msix.trigger(1);
    expect(controller.take()).toEqual([101, 7]);
  });

  it('begins with every vector masked and MSI-X disabled, also after a reset', () => {
    const { fn, msix, control } = setUp();
    fn.reset();
    expect(msix.enabled).toBe(false);
    expect(fn.readBar(0, TABLE + 12, 4)).toBe(1);
    expect(fn.readBar(0, TABLE + 69 * 16 + 12, 4)).toBe(1);
    expect(fn.readBar(0, TABLE, 4)).toBe(0);
    control(pci.PCI_MSIX_CONTROL_ENABLE);
    msix.trigger(0);
    expect(msix.statistics).toEqual({ sent: 0, masked: 1, dropped: 0 });
  });

  it('keeps what is triggered behind a vector mask pending, and sends it once on unmask', () => {
    const controller = new MockMsiController();
    const { msix, mask, pending } = setUp(controller);
    mask(33, true);
    msix.trigger(33);
    msix.trigger(33);
    expect(controller.take()).toEqual([]);
    expect([pending(0), pending(1), pending(2)]).toEqual([0, 2, 0]);
    mask(33, false);
    expect(controller.take()).toEqual([133]);
    expect(pending(1)).toBe(0);
    mask(33, false);
    expect(controller.take()).toEqual([]);
  });

  it('does the same behind the function mask', () => {
    const controller = new MockMsiController();
    const { msix, mask, control, pending } = setUp(controller);
    control(pci.PCI_MSIX_CONTROL_ENABLE | pci.PCI_MSIX_CONTROL_MASK);
    msix.trigger(0);
    msix.trigger(31);
    msix.trigger(64);
    mask(31, true);
    mask(0, false);
    expect(controller.take()).toEqual([]);
    expect([pending(0), pending(1), pending(2)]).toEqual([0x8000_0001, 0, 1]);
    control(pci.PCI_MSIX_CONTROL_ENABLE);
    expect(controller.take()).toEqual([100, 164]);
    mask(31, false);
    expect(controller.take()).toEqual([131]);
  });

  it('sends and keeps nothing while it is disabled', () => {
    const controller = new MockMsiController();
    const { msix, control, pending } = setUp(controller);
    control(0);
    msix.trigger(3);
    control(pci.PCI_MSIX_CONTROL_ENABLE);
    expect(controller.take()).toEqual([]);
    expect(pending(0)).toBe(0);
  });

  it('lets software write neither the Pending Bit Array nor reserved bits', () => {
    const { fn, pending } = setUp();
    fn.writeBar(0, PBA, 4, 0xffff_ffff);
    expect(pending(0)).toBe(0);
    fn.writeBar(0, TABLE + 12, 4, 0xffff_fffe);
    expect(fn.readBar(0, TABLE + 12, 4)).toBe(0);
    fn.writeBar(0, TABLE, 4, 0xffff_ffff);
    expect(fn.readBar(0, TABLE, 4)).toBe(0xffff_fffc);
    // Only whole words are written (§6.8.2).
    fn.writeBar(0, TABLE, 2, 0);
    expect(fn.readBar(0, TABLE + 1, 2)).toBe(0xffff);
  });

  it('leaves the rest of its BAR to the device', () => {
    const { fn } = setUp();
    expect(fn.readBar(0, VECTORS * 16, 4)).toBe(0x77);
    expect(fn.readBar(0, PBA - 4, 4)).toBe(0x77);
    expect(fn.readBar(0, PBA + 16, 4)).toBe(0x77);
  });

  it('loses an interrupt when the machine can deliver none, and goes on', () => {
    let fails = true;
    const controller = new MockMsiController();
    const { msix } = setUp({
      createMsi: (deviceId) => {
        if (fails) throw new Error('no route left');
        return controller.createMsi(deviceId);
      },
    });
    msix.trigger(0);
    fails = false;
    msix.trigger(0);
    expect(msix.statistics).toEqual({ sent: 1, masked: 0, dropped: 1 });
  });

  it.each([
    [{ vectors: 0, bar: 0, tableOffset: 0, pbaOffset: 0x800 }],
    [{ vectors: 2049, bar: 0, tableOffset: 0, pbaOffset: 0x800 }],
    [{ vectors: 2, bar: 1, tableOffset: 0, pbaOffset: 0x800 }],
    [{ vectors: 2, bar: 0, tableOffset: 4, pbaOffset: 0x800 }],
    [{ vectors: 2, bar: 0, tableOffset: 0, pbaOffset: 24 }],
    [{ vectors: 256, bar: 0, tableOffset: 0x800, pbaOffset: 0 }],
  ])('refuses %j', (msix) => {
    const bars = [{ index: 0, kind: 'memory32', size: 0x1000 }] as const;
    expect(
      () => new PciFunction({ name: 'test', vendorId: 1, deviceId: 2, classCode: 0, bars, msix }),
    ).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error);
  });
});
