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
  virtioMmio: [aarch64.virtioMmioSlot(0), aarch64.virtioMmioSlot(1)],
  rngSeed: new Uint8Array(32).fill(7),
  kaslrSeed: 0x0123456789abcdefn,
};

const build = (changes: Partial<DeviceTreeConfig> = {}) =>
  readFdt(aarch64.buildDeviceTree({ ...BASE, ...changes }));

describe('buildDeviceTree', () => {
  it.each<[string, Partial<DeviceTreeConfig>]>([
    ['everything', {}],
    ['GICv2', { gic: GICV2, vcpus: 8 }],
    ['an ITS', { gic: { ...GICV3, its: aarch64.GITS.guestAddress } }],
    ['512 CPUs', { vcpus: 512 }],
    [
      'nothing but CPU and memory',
      {
        initrd: undefined,
        uart: undefined,
        rtc: undefined,
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
      virtioMmio: [],
      rngSeed: undefined,
      kaslrSeed: undefined,
    });
    expect([...tree.find('/chosen')!.properties.keys()]).toEqual(['bootargs']);
    expect(tree.compatible('fixed-clock')).toEqual([]);
    expect(tree.compatible('virtio,mmio')).toEqual([]);
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

  it('has the clocks that PL011 and PL031 ask for', () => {
    const tree = build();
    for (const [model, names] of [
      ['arm,pl011', ['uartclk', 'apb_pclk']],
      ['arm,pl031', ['apb_pclk']],
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
    ['a command line that the kernel would cut', { cmdline: 'a'.repeat(2048) }, 'COMMAND_LINE_TOO_LONG'],
    ['a command line with a line end', { cmdline: 'a\nb' }, 'BAD_COMMAND_LINE'],
  ])('refuses %s', async (_, changes, code) => {
    expect(await codeOf(() => build(changes))).toBe(code);
  });
});
