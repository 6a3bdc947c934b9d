import fc from 'fast-check';
import { codeOf } from '../../test/support.ts';
import * as aarch64 from './index.ts';

const GIB = 2 ** 30;

describe('the memory map', () => {
  it('has no two ranges that overlap', () => {
    const {
      RAM_LOW,
      GICD,
      GICC,
      PL011,
      VIRTIO_MMIO,
      GICR,
      GITS,
      GICV2M,
      PL031,
      PL061,
      PCI_ECAM,
      PCI_MMIO,
      PCI_IO,
      RAM_HIGH,
    } = aarch64;
    const ranges = [
      RAM_LOW,
      GICD,
      GICC,
      PL011,
      VIRTIO_MMIO,
      GICR,
      GITS,
      GICV2M,
      PL031,
      PL061,
      PCI_ECAM,
      PCI_MMIO,
      PCI_IO,
      RAM_HIGH,
    ];
    ranges.reduce((before, range) => {
      expect(range.guestAddress).toBeGreaterThanOrEqual(before.guestAddress + before.size);
      return range;
    });
  });

  it('has room for the redistributors of 512 vCPUs and a page for each virtio-mmio device', () => {
    expect(aarch64.MAX_VCPUS).toBe(512);
    const last = aarch64.virtioMmioSlot(aarch64.MAX_VIRTIO_MMIO - 1);
    expect(last.address + aarch64.VIRTIO_MMIO_STRIDE).toBeLessThanOrEqual(aarch64.GICR.guestAddress);
    expect(last.intid).toBe(aarch64.SPI_END - 1);
  });
});

describe('pciMmio64', () => {
  it('is behind all memory, and none where the address space ends', () => {
    for (const [memory, at] of [
      [64 * 2 ** 20, 64 * GIB],
      [63 * GIB, 64 * GIB],
      [63 * GIB + 4096, 128 * GIB],
    ] as const) {
      expect(aarch64.pciMmio64(memory)).toEqual({ guestAddress: at, size: 64 * GIB });
    }
    expect(aarch64.pciMmio64(aarch64.MAX_RAM_SIZE)).toBeUndefined();
  });
});

describe('memoryRegions', () => {
  it.each([
    [4096, [[0, 4096]]],
    [256 * 2 ** 20, [[0, 256 * 2 ** 20]]],
    [GIB, [[0, GIB]]],
    [
      GIB + 4096,
      [
        [0, GIB],
        [0x8000_0000, 4096],
      ],
    ],
    [
      4 * GIB,
      [
        [0, GIB],
        [0x8000_0000, 3 * GIB],
      ],
    ],
    [
      aarch64.MAX_RAM_SIZE,
      [
        [0, GIB],
        [0x8000_0000, 2 ** 40 - 0x8000_0000],
      ],
    ],
  ])('puts %d bytes where the map says', (bytes, expected) => {
    expect(aarch64.memoryRegions(bytes).map(({ guestAddress, size }) => [guestAddress, size])).toEqual(
      expected,
    );
  });

  it.each([0, -4096, 4095, 6000, 1.5, NaN, Infinity, aarch64.MAX_RAM_SIZE + 4096])(
    'refuses %d bytes',
    async (bytes) => {
      expect(await codeOf(() => aarch64.memoryRegions(bytes))).toBe('INVALID_ARGUMENT');
    },
  );

  it('loses and doubles nothing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 22 }), (pages) => {
        const regions = aarch64.memoryRegions(pages * 4096);
        expect(regions.reduce((sum, { size }) => sum + size, 0)).toBe(pages * 4096);
      }),
    );
  });
});

describe('interrupt numbers', () => {
  it('are one for each device', () => {
    const slots = Array.from({ length: aarch64.MAX_VIRTIO_MMIO }, (_, index) =>
      aarch64.virtioMmioSlot(index),
    );
    const intids = [aarch64.PL011_INTID, aarch64.PL031_INTID, ...slots.map(({ intid }) => intid)];
    expect(new Set(intids).size).toBe(intids.length);
    expect(slots[0]?.intid).toBe(aarch64.VIRTIO_MMIO_INTID);
    expect(slots[2]).toEqual({ address: 0x4003_2000, intid: 50 });
  });

  it.each([-1, 0.5, aarch64.MAX_VIRTIO_MMIO])('are refused for device %d', async (index) => {
    expect(await codeOf(() => aarch64.virtioMmioSlot(index))).toBe('INVALID_ARGUMENT');
  });

  it('fit in what the interrupt controller is asked for', () => {
    for (let devices = 0; devices <= aarch64.MAX_VIRTIO_MMIO; devices++) {
      const identifiers = aarch64.interruptIdentifiers(devices);
      expect(identifiers % 32).toBe(0);
      expect(identifiers).toBeGreaterThanOrEqual(64);
      expect(identifiers).toBeLessThanOrEqual(992);
      if (devices > 0) expect(aarch64.virtioMmioSlot(devices - 1).intid).toBeLessThan(identifiers);
    }
  });
});

describe('interrupts of PCI', () => {
  it('are free of those of other devices, with any number of these', async () => {
    const fixed = [aarch64.PL011_INTID, aarch64.PL031_INTID, ...aarch64.PCI_INTIDS];
    expect(new Set(fixed).size).toBe(6);
    for (const devices of [0, 1, 16, 17, 100]) {
      const { base, count } = aarch64.gicV2mInterrupts(devices);
      expect([base % 32, count % 32]).toEqual([0, 0]);
      const others = Array.from({ length: devices }, (_, index) => aarch64.virtioMmioSlot(index).intid);
      expect(base).toBeGreaterThan(Math.max(...fixed, ...others));
      expect(base + count).toBeLessThanOrEqual(aarch64.SPI_END);
    }
    expect(await codeOf(() => aarch64.gicV2mInterrupts(aarch64.MAX_VIRTIO_MMIO))).toBe('INVALID_ARGUMENT');
  });
});

describe('mpidr', () => {
  it('puts 16 vCPUs into a cluster, and no two at the same affinity', () => {
    expect([0, 1, 15, 16, 17, 511].map(aarch64.mpidr)).toEqual([0, 1, 15, 0x100, 0x101, 0x1f0f]);
    expect(new Set(Array.from({ length: 512 }, (_, id) => aarch64.mpidr(id))).size).toBe(512);
  });
});
