import { readFdt } from '@vmm/fdt';
import { codeOf, decompile } from '../../test/support.ts';
import * as aarch64 from './index.ts';
import type { DeviceTreeConfig, GicDescription } from './index.ts';

const GICV3: GicDescription = {
  version: 3,
  distributor: aarch64.GICD.guestAddress,
  redistributor: aarch64.GICR.guestAddress,
};
const GICV2: GicDescription = {
  version: 2,
  distributor: aarch64.GICD.guestAddress,
  cpuInterface: aarch64.GICC.guestAddress,
};

const BASE: DeviceTreeConfig = {
  memory: aarch64.memoryRegions(3 * 2 ** 30),
  vcpus: 2,
  gic: GICV3,
  cmdline: 'console=ttyAMA0 root=/dev/vda',
  initrd: { guestAddress: 0x0f00_0000, size: 12_345 },
  uart: { address: aarch64.PL011.guestAddress, intid: aarch64.PL011_INTID },
  rtc: { address: aarch64.PL031.guestAddress, intid: aarch64.PL031_INTID },
  gpio: {
    address: aarch64.PL061.guestAddress,
    intid: aarch64.PL061_INTID,
    powerButton: aarch64.POWER_BUTTON_PIN,
  },
  virtioMmio: [aarch64.virtioMmioSlot(0), aarch64.virtioMmioSlot(1)],
  rngSeed: new Uint8Array(32).fill(7),
  kaslrSeed: 0x0123456789abcdefn,
};

const V2M = { address: aarch64.GICV2M.guestAddress, ...aarch64.gicV2mInterrupts(0) };
const PCI = {
  ecam: { ...aarch64.PCI_ECAM, size: 2 ** 20 },
  memory: aarch64.PCI_MMIO,
  memory64: { guestAddress: 64 * 2 ** 30, size: 64 * 2 ** 30 },
  intids: aarch64.PCI_INTIDS,
};

const build = (changes: Partial<DeviceTreeConfig> = {}) =>
  readFdt(aarch64.buildDeviceTree({ ...BASE, ...changes }));

describe('buildDeviceTree', () => {
  it.each<[string, Partial<DeviceTreeConfig>]>([
    ['everything', {}],
    ['GICv2', { gic: GICV2, vcpus: 8 }],
    ['an ITS', { gic: { ...GICV3, its: aarch64.GITS.guestAddress } }],
    ['PCI without message-signalled interrupts', { pci: { ...PCI, memory64: undefined } }],
    ['PCI and a GICv2m frame', { pci: PCI, gic: { ...GICV3, v2m: V2M } }],
    [
      'PCI of 256 buses and a GICv2m frame of a GICv2',
      { pci: { ...PCI, ecam: aarch64.PCI_ECAM }, gic: { ...GICV2, v2m: V2M } },
    ],
    ['PCI and an ITS', { pci: PCI, gic: { ...GICV3, its: aarch64.GITS.guestAddress } }],
    [
      'PCI, a GICv2m frame and an ITS',
      { pci: PCI, gic: { ...GICV3, v2m: V2M, its: aarch64.GITS.guestAddress } },
    ],
    ['512 CPUs', { vcpus: 512 }],
    [
      'nothing but CPU and memory',
      {
        initrd: undefined,
        uart: undefined,
        rtc: undefined,
        gpio: undefined,
        virtioMmio: undefined,
        rngSeed: undefined,
        kaslrSeed: undefined,
      },
    ],
    ['200 devices', { virtioMmio: Array.from({ length: 200 }, (_, index) => aarch64.virtioMmioSlot(index)) }],
  ])('with %s is a tree that dtc has nothing to say about', (_, changes) => {
    const blob = aarch64.buildDeviceTree({ ...BASE, ...changes });
    expect(decompile(blob).warnings).toBe('');
    expect(blob.length).toBeLessThan(aarch64.MAX_DEVICE_TREE_SIZE);
  });

  it('describes memory in one node for each region', () => {
    const nodes = build().root.children.filter((node) => node.name.startsWith('memory@'));
    expect(nodes.map((node) => [node.name, node.string('device_type'), node.cells('reg')])).toEqual([
      ['memory@0', 'memory', [0, 0, 0, 0x4000_0000]],
      ['memory@80000000', 'memory', [0, 0x8000_0000, 0, 0x8000_0000]],
    ]);
  });

  it('starts CPUs through PSCI by HVC, each at its affinity', () => {
    const tree = build({ vcpus: 18 });
    const cpus = tree.find('/cpus')!.children;
    expect(cpus.map((cpu) => cpu.u32('reg'))).toEqual(
      Array.from({ length: 18 }, (_, id) => aarch64.mpidr(id)),
    );
    expect(new Set(cpus.map((cpu) => cpu.string('enable-method')))).toEqual(new Set(['psci']));
    expect(tree.find('/psci')?.strings('compatible')).toContain('arm,psci-1.0');
    expect(tree.find('/psci')?.string('method')).toBe('hvc');
  });

  it('hands command line, RAM disk, seeds and console to the kernel in /chosen', () => {
    const chosen = build().find('/chosen')!;
    expect(chosen.string('bootargs')).toBe('console=ttyAMA0 root=/dev/vda');
    expect(chosen.u64('linux,initrd-start')).toBe(0x0f00_0000n);
    expect(chosen.u64('linux,initrd-end')).toBe(0x0f00_0000n + 12_345n);
    expect(chosen.bytes('rng-seed')).toEqual(new Uint8Array(32).fill(7));
    expect(chosen.u64('kaslr-seed')).toBe(0x0123456789abcdefn);
    expect(build().find(chosen.string('stdout-path'))?.strings('compatible')).toEqual([
      'arm,pl011',
      'arm,primecell',
    ]);
  });

  it('leaves out what the machine does not have', () => {
    const tree = build({
      initrd: undefined,
      uart: undefined,
      rtc: undefined,
      gpio: undefined,
      virtioMmio: [],
      rngSeed: undefined,
      kaslrSeed: undefined,
    });
    expect([...tree.find('/chosen')!.properties.keys()]).toEqual(['bootargs']);
    expect(tree.compatible('fixed-clock')).toEqual([]);
    expect(tree.compatible('virtio,mmio')).toEqual([]);
    expect([...tree.compatible('arm,pl061'), ...tree.compatible('gpio-keys')]).toEqual([]);
  });

  it('has the power button as a key at a pin of the PL061', () => {
    const tree = build();
    const [button] = tree.compatible('gpio-keys')[0]!.children;
    expect(button!.u32('linux,code')).toBe(116);
    const [controller, pin, flags] = button!.cells('gpios');
    expect([pin, flags]).toEqual([aarch64.POWER_BUTTON_PIN, 0]);
    const gpio = tree.byPhandle(controller!)!;
    expect(gpio.strings('compatible')).toEqual(['arm,pl061', 'arm,primecell']);
    expect(gpio.cells('interrupts')).toEqual([0, aarch64.PL061_INTID - 32, 4]);
    expect([gpio.has('gpio-controller'), gpio.u32('#gpio-cells')]).toEqual([true, 2]);
    const bare = build({ gpio: { address: aarch64.PL061.guestAddress, intid: aarch64.PL061_INTID } });
    expect(bare.compatible('arm,pl061')).toHaveLength(1);
    expect(bare.compatible('gpio-keys')).toEqual([]);
  });

  it('makes virtio interrupts rising edges and the others high levels (arm,gic bindings)', () => {
    const tree = build();
    expect(
      tree.compatible('virtio,mmio').map((node) => [node.cells('reg'), node.cells('interrupts')]),
    ).toEqual([
      [
        [0, 0x4003_0000, 0, 0x1000],
        [0, 16, 1],
      ],
      [
        [0, 0x4003_1000, 0, 0x1000],
        [0, 17, 1],
      ],
    ]);
    expect(tree.compatible('virtio,mmio').every((node) => node.has('dma-coherent'))).toBe(true);
    expect(tree.compatible('arm,pl011')[0]?.cells('interrupts')).toEqual([0, 0, 4]);
    expect(tree.compatible('arm,pl031')[0]?.cells('interrupts')).toEqual([0, 1, 4]);
  });

  it('gives the timer its four private interrupts', () => {
    expect(build().find('/timer')?.cells('interrupts')).toEqual([1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    // GICv2: the CPUs it is wired to are in bits 15:8.
    expect(build({ gic: GICV2, vcpus: 3 }).find('/timer')?.cells('interrupts').slice(0, 3)).toEqual([
      1, 13, 0x704,
    ]);
  });

  it('describes the interrupt controller, which every interrupt goes to', () => {
    const v3 = build({ vcpus: 3 });
    const gic = v3.byPhandle(v3.root.u32('interrupt-parent'))!;
    expect(gic.string('compatible')).toBe('arm,gic-v3');
    expect(gic.cells('reg')).toEqual([0, 0x4000_0000, 0, 0x1_0000, 0, 0x4800_0000, 0, 0x6_0000]);
    const v2 = build({ gic: GICV2 });
    expect(v2.byPhandle(v2.root.u32('interrupt-parent'))?.cells('reg')).toEqual([
      0, 0x4000_0000, 0, 0x1000, 0, 0x4001_0000, 0, 0x2000,
    ]);
    const its = build({ gic: { ...GICV3, its: 0x4c00_0000 } }).compatible('arm,gic-v3-its')[0];
    expect(its?.cells('reg')).toEqual([0, 0x4c00_0000, 0, 0x2_0000]);
  });

  it('describes PCI by its configuration space and windows (pci-host-ecam-generic binding)', () => {
    const node = build({ pci: PCI, gic: { ...GICV3, v2m: V2M } }).compatible('pci-host-ecam-generic')[0]!;
    expect(node.cells('reg')).toEqual([0, 0x5000_0000, 0, 0x10_0000]);
    expect(node.cells('bus-range')).toEqual([0, 0]);
    expect(node.cells('ranges')).toEqual([
      ...[0x0200_0000, 0, 0x6000_0000, 0, 0x6000_0000, 0, 511 * 2 ** 20],
      ...[0x4300_0000, 0x10, 0, 0x10, 0, 0x10, 0],
    ]);
    expect(node.has('dma-coherent')).toBe(true);
  });

  it.each<[string, GicDescription]>([
    ['a GICv3', GICV3],
    ['a GICv2 with a frame', { ...GICV2, v2m: V2M }],
  ])('leads each pin of each PCI device to its line of %s', (_, gic) => {
    const tree = build({ pci: PCI, gic });
    const node = tree.compatible('pci-host-ecam-generic')[0]!;
    const parent = tree.byPhandle(tree.root.u32('interrupt-parent'))!;
    const width = 3 + 1 + 1 + parent.u32('#address-cells') + 3;
    const map = node.cells('interrupt-map');
    const mask = node.cells('interrupt-map-mask');
    const rows = Array.from({ length: map.length / width }, (__, row) =>
      map.slice(row * width, (row + 1) * width),
    );
    for (let device = 0; device < 32; device++) {
      for (let pin = 1; pin <= 4; pin++) {
        const unit = [(device << 11) & mask[0]!, 0, 0, pin & mask[3]!];
        const found = rows.filter((row) => unit.every((cell, index) => row[index] === cell));
        expect(found.map((row) => row.slice(-3))).toEqual([
          [0, aarch64.PCI_INTIDS[(device + pin - 1) % 4]! - 32, 4],
        ]);
        expect(tree.byPhandle(found[0]![4]!)).toBe(parent);
      }
    }
  });

  it.each<[string, GicDescription, string | undefined]>([
    ['a frame', { ...GICV3, v2m: V2M }, 'arm,gic-v2m-frame'],
    ['a frame rather than an ITS', { ...GICV3, v2m: V2M, its: 0x4c00_0000 }, 'arm,gic-v2m-frame'],
    ['an ITS', { ...GICV3, its: 0x4c00_0000 }, 'arm,gic-v3-its'],
    ['nothing', GICV2, undefined],
  ])('sends messages of PCI to %s', (_, gic, compatible) => {
    const tree = build({ pci: PCI, gic });
    const node = tree.compatible('pci-host-ecam-generic')[0]!;
    const phandle = node.has('msi-parent')
      ? node.u32('msi-parent')
      : node.has('msi-map')
        ? node.cells('msi-map')[1]!
        : 0;
    expect(tree.byPhandle(phandle)?.string('compatible')).toBe(compatible);
    if (compatible !== 'arm,gic-v2m-frame') return;
    const frame = tree.byPhandle(phandle)!;
    expect([frame.cells('reg'), frame.u32('arm,msi-base-spi'), frame.u32('arm,msi-num-spis')]).toEqual([
      [0, 0x4c02_0000, 0, 0x1000],
      V2M.base,
      V2M.count,
    ]);
  });

  it('has the clocks that PL011 and PL031 ask for', () => {
    const tree = build();
    for (const [model, names] of [
      ['arm,pl011', ['uartclk', 'apb_pclk']],
      ['arm,pl031', ['apb_pclk']],
      ['arm,pl061', ['apb_pclk']],
    ] as const) {
      const device = tree.compatible(model)[0]!;
      expect(device.strings('clock-names')).toEqual(names);
      for (const clock of device.cells('clocks')) {
        expect(tree.byPhandle(clock)?.string('compatible')).toBe('fixed-clock');
      }
    }
  });

  it.each<[string, Partial<DeviceTreeConfig>, string]>([
    ['no CPU', { vcpus: 0 }, 'INVALID_ARGUMENT'],
    ['half a CPU', { vcpus: 1.5 }, 'INVALID_ARGUMENT'],
    ['513 CPUs', { vcpus: 513 }, 'INVALID_ARGUMENT'],
    ['9 CPUs on a GICv2', { vcpus: 9, gic: GICV2 }, 'INVALID_ARGUMENT'],
    ['no memory', { memory: [] }, 'INVALID_ARGUMENT'],
    ['a private interrupt for a device', { uart: { address: 0, intid: 31 } }, 'INVALID_ARGUMENT'],
    ['an interrupt beyond the controller', { virtioMmio: [{ address: 0, intid: 992 }] }, 'INVALID_ARGUMENT'],
    ['a frame beyond the controller', { gic: { ...GICV3, v2m: { ...V2M, base: 900 } } }, 'INVALID_ARGUMENT'],
    ['a private interrupt for pins', { gpio: { address: 0, intid: 31 } }, 'INVALID_ARGUMENT'],
    [
      'a power button beyond the pins',
      { gpio: { address: 0, intid: 34, powerButton: 8 } },
      'INVALID_ARGUMENT',
    ],
    ['a private interrupt for PCI', { pci: { ...PCI, intids: [31, 37, 38, 39] } }, 'INVALID_ARGUMENT'],
    [
      'PCI with half a bus',
      { pci: { ...PCI, ecam: { guestAddress: 0, size: 2 ** 19 } } },
      'INVALID_ARGUMENT',
    ],
    [
      'PCI with 257 buses',
      { pci: { ...PCI, ecam: { guestAddress: 0, size: 257 * 2 ** 20 } } },
      'INVALID_ARGUMENT',
    ],
    ['a command line that the kernel would cut', { cmdline: 'a'.repeat(2048) }, 'COMMAND_LINE_TOO_LONG'],
    ['a command line with a line end', { cmdline: 'a\nb' }, 'BAD_COMMAND_LINE'],
  ])('refuses %s', async (_, changes, code) => {
    expect(await codeOf(() => build(changes))).toBe(code);
  });
});
