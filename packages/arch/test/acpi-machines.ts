import fc from 'fast-check';
import type { AcpiConfig } from '../src/x86_64/index.ts';
import { IO_APIC_INPUTS, PCI_ECAM, PCI_MMIO, VIRTIO_MMIO } from '../src/x86_64/index.ts';

const MIB = 2 ** 20;
const PCI_LINES = 4;

/** A machine with everything that the tables can describe. */
export const FULL_MACHINE: AcpiConfig & Required<Pick<AcpiConfig, 'virtioMmio'>> = {
  vcpus: 3,
  virtioMmio: [
    { address: 0xd000_0000, gsi: 5 },
    { address: 0xd000_1000, gsi: 23 },
  ],
  uart: { port: 0x3f8, gsi: 4 },
  rtc: { port: 0x70, gsi: 8 },
  powerButton: { gsi: 9 },
  pci: {
    ecam: PCI_ECAM,
    memory: PCI_MMIO,
    memory64: { guestAddress: 2 ** 39, size: 2 ** 36 },
    io: { port: 0x1000, size: 0xe000 },
    gsis: [16, 17, 18, 19],
  },
};

const pci = fc.record(
  {
    ecam: fc.integer({ min: 1, max: 256 }).map((buses) => ({ ...PCI_ECAM, size: buses * MIB })),
    memory: fc.integer({ min: 1, max: 256 }).map((size) => ({ ...PCI_MMIO, size: size * MIB })),
    memory64: fc.record({
      guestAddress: fc.integer({ min: 4096, max: 2 ** 20 }).map((mib) => mib * MIB),
      size: fc.integer({ min: 1, max: 2 ** 20 }).map((mib) => mib * MIB),
    }),
    io: fc.integer({ min: 1, max: 0xe000 }).map((size) => ({ port: 0x1000, size })),
  },
  { requiredKeys: ['ecam', 'memory'] },
);

/** Machines that can be, of up to `mostVcpus` vCPUs. */
export function machines(mostVcpus: number): fc.Arbitrary<AcpiConfig> {
  const inputs = Array.from({ length: IO_APIC_INPUTS }, (_, gsi) => gsi);
  return fc
    .record({
      vcpus: fc.integer({ min: 1, max: mostVcpus }),
      gsis: fc.shuffledSubarray(inputs, { minLength: IO_APIC_INPUTS }),
      pages: fc.uniqueArray(fc.integer({ min: 0, max: VIRTIO_MMIO.size / 4096 - 1 }), { maxLength: 17 }),
      uart: fc.option(fc.constantFrom(0x3f8, 0x2f8, 0x3e8)),
      rtc: fc.option(fc.boolean()),
      button: fc.boolean(),
      pci: fc.option(pci),
      // Four lines of PCI, one that all share, or none.
      pciGsis: fc.constantFrom<readonly (0 | 1 | 2 | 3)[]>([0, 1, 2, 3], [0, 0, 0, 0], []),
    })
    .map(({ gsis, ...machine }) => {
      const [uartGsi = 0, rtcGsi = 0, buttonGsi = 0, ...rest] = gsis;
      const lines = machine.pciGsis.map((index) => rest[index] ?? 0);
      const free = rest.slice(PCI_LINES);
      const [a, b, c, d] = lines;
      return {
        vcpus: machine.vcpus,
        virtioMmio: machine.pages.map((page, index) => ({
          address: VIRTIO_MMIO.guestAddress + page * 4096,
          gsi: free[index] ?? 0,
        })),
        uart: machine.uart === null ? undefined : { port: machine.uart, gsi: uartGsi },
        rtc: machine.rtc === null ? undefined : { port: 0x70, gsi: machine.rtc ? rtcGsi : undefined },
        powerButton: machine.button ? { gsi: buttonGsi } : undefined,
        pci:
          machine.pci === null
            ? undefined
            : {
                ...machine.pci,
                ...(a !== undefined &&
                  b !== undefined &&
                  c !== undefined &&
                  d !== undefined && { gsis: [a, b, c, d] as const }),
              },
      };
    });
}
