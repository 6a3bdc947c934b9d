import fc from 'fast-check';
import { codeOf } from '../../test/support.ts';
import * as x86_64 from './index.ts';
import type { AddressRange } from './index.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function expectAscending(ranges: readonly AddressRange[]): void {
  ranges.reduce((before, range) => {
    expect(range.guestAddress).toBeGreaterThanOrEqual(before.guestAddress + before.size);
    return range;
  });
}

describe('the memory map', () => {
  it('has no two ranges that overlap', () => {
    expectAscending([
      x86_64.RAM_LOW,
      x86_64.PCI_MMIO,
      x86_64.VIRTIO_MMIO,
      x86_64.PCI_ECAM,
      x86_64.IO_APIC,
      x86_64.LOCAL_APIC,
      x86_64.KVM_IDENTITY_MAP,
      x86_64.KVM_TSS,
      x86_64.RAM_HIGH,
    ]);
    expectAscending([
      x86_64.BOOT_GDT,
      x86_64.PVH_START_INFO,
      x86_64.BOOT_PARAMS,
      x86_64.SETUP_DATA,
      x86_64.BOOT_PAGE_TABLES,
      x86_64.CMDLINE,
      x86_64.MP_TABLE,
      x86_64.BIOS_HOLE,
    ]);
  });

  it('has the ACPI tables in the BIOS hole, which ends where kernels may lie', () => {
    const { ACPI_TABLES, BIOS_HOLE, HIGH_MEMORY_START, MP_TABLE } = x86_64;
    expect(ACPI_TABLES.guestAddress).toBeGreaterThanOrEqual(BIOS_HOLE.guestAddress);
    expect(ACPI_TABLES.guestAddress + ACPI_TABLES.size).toBe(HIGH_MEMORY_START);
    expect(BIOS_HOLE.guestAddress + BIOS_HOLE.size).toBe(HIGH_MEMORY_START);
    expect(MP_TABLE.guestAddress + MP_TABLE.size).toBe(BIOS_HOLE.guestAddress);
  });
});

describe('pciMmio64', () => {
  it('is behind all memory, and none where the address space ends', () => {
    for (const [memory, at] of [
      [64 * MIB, 64 * GIB],
      [59 * GIB, 64 * GIB],
      [64 * GIB, 128 * GIB],
      [960 * GIB - 64 * GIB, 960 * GIB],
    ] as const) {
      const { guestAddress = 0, size = 0 } = x86_64.pciMmio64(memory) ?? {};
      expect([guestAddress, size]).toEqual([at, 64 * GIB]);
      expectAscending([...x86_64.memoryRegions(memory), { guestAddress, size }]);
    }
    expect(x86_64.pciMmio64(x86_64.MAX_RAM_SIZE)).toBeUndefined();
  });
});

describe('memoryRegions', () => {
  it.each([
    [2 * MIB, [[0, 2 * MIB]]],
    [64 * MIB, [[0, 64 * MIB]]],
    [3 * GIB, [[0, 3 * GIB]]],
    [
      3 * GIB + 4096,
      [
        [0, 3 * GIB],
        [4 * GIB, 4096],
      ],
    ],
    [
      6 * GIB,
      [
        [0, 3 * GIB],
        [4 * GIB, 3 * GIB],
      ],
    ],
    [
      x86_64.MAX_RAM_SIZE,
      [
        [0, 3 * GIB],
        [4 * GIB, 2 ** 40 - 4 * GIB],
      ],
    ],
  ])('puts %d bytes where the map says', (bytes, expected) => {
    expect(x86_64.memoryRegions(bytes).map(({ guestAddress, size }) => [guestAddress, size])).toEqual(
      expected,
    );
  });

  it.each([0, -4096, 4096, 2 * MIB - 4096, 64 * MIB + 1, 1.5, NaN, Infinity, x86_64.MAX_RAM_SIZE + 4096])(
    'refuses %d bytes',
    async (bytes) => {
      expect(await codeOf(() => x86_64.memoryRegions(bytes))).toBe('INVALID_ARGUMENT');
      expect(await codeOf(() => x86_64.memoryMap(bytes))).toBe('INVALID_ARGUMENT');
    },
  );
});

describe('memoryMap', () => {
  const sizes = fc.integer({ min: 512, max: 2 ** 22 }).map((pages) => pages * 4096);

  it('is in order and overlaps nowhere', () => {
    fc.assert(
      fc.property(sizes, (bytes) => {
        expectAscending(x86_64.memoryMap(bytes));
      }),
    );
  });

  it('calls usable exactly what is memory and neither MP table nor BIOS hole', () => {
    fc.assert(
      fc.property(sizes, (bytes) => {
        const usable = x86_64
          .memoryMap(bytes)
          .filter(({ type }) => type === x86_64.E820_RAM)
          .reduce((sum, { size }) => sum + size, 0);
        expect(usable).toBe(bytes - x86_64.MP_TABLE.size - x86_64.BIOS_HOLE.size);
      }),
    );
  });

  it('has devices nowhere in usable memory', () => {
    const usable = x86_64.memoryMap(16 * GIB).filter(({ type }) => type === x86_64.E820_RAM);
    const { PCI_MMIO, VIRTIO_MMIO, PCI_ECAM, IO_APIC, LOCAL_APIC, KVM_TSS, ACPI_TABLES } = x86_64;
    for (const device of [PCI_MMIO, VIRTIO_MMIO, PCI_ECAM, IO_APIC, LOCAL_APIC, KVM_TSS, ACPI_TABLES]) {
      for (const { guestAddress, size } of usable) {
        const apart =
          guestAddress + size <= device.guestAddress || device.guestAddress + device.size <= guestAddress;
        expect(apart).toBe(true);
      }
    }
  });
});

describe('virtioMmioSlot', () => {
  it('has a page and an interrupt of its own for each of 16 devices', () => {
    const slots = Array.from({ length: x86_64.MAX_VIRTIO_MMIO }, (_, index) => x86_64.virtioMmioSlot(index));
    expect(slots.map(({ gsi }) => gsi)).toEqual([
      5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
    ]);
    expect(slots.map(({ address }) => address)).toEqual(slots.map((_, index) => 0xd000_0000 + index * 4096));
    const others = [x86_64.COM1_GSI, x86_64.I8042_GSI, x86_64.RTC_GSI, x86_64.PIT_GSI];
    for (const { gsi } of slots) {
      expect(others).not.toContain(gsi);
      expect(gsi).toBeLessThan(x86_64.IO_APIC_INPUTS);
    }
  });

  it.each([-1, 0.5, NaN, x86_64.MAX_VIRTIO_MMIO])('refuses device %d', async (index) => {
    expect(await codeOf(() => x86_64.virtioMmioSlot(index))).toBe('INVALID_ARGUMENT');
    expect(await codeOf(() => x86_64.virtioMmioParameter(index))).toBe('INVALID_ARGUMENT');
  });

  it('reads as a kernel parameter: size, address, interrupt', () => {
    expect(x86_64.virtioMmioParameter(0)).toBe('virtio_mmio.device=4K@0xd0000000:5');
    expect(x86_64.virtioMmioParameter(3)).toBe('virtio_mmio.device=4K@0xd0003000:10');
  });
});
