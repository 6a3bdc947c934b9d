import { GuestMemory } from '@vmm/vm-memory';
import fc from 'fast-check';
import { FULL_MACHINE, machines } from '../../../test/acpi-machines.ts';
import { codeOf, same } from '../../../test/support.ts';
import { ACPI_TABLES } from '../layout.ts';
import type { AcpiConfig, AcpiPciConfig } from './config.ts';
import { buildAcpiTables, writeAcpiTables } from './tables.ts';
import type { AcpiTables } from './tables.ts';

const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

function table(tables: AcpiTables, signature: string): Uint8Array {
  const found = tables.tables.find((candidate) => candidate.signature === signature);
  if (found === undefined) throw new Error(`no ${signature}`);
  return found.bytes;
}

const build = (changes: Partial<AcpiConfig> = {}): AcpiTables =>
  buildAcpiTables({ ...FULL_MACHINE, ...changes });
const firmwareMemory = (): GuestMemory =>
  new GuestMemory([{ guestAddress: 0, bytes: new Uint8Array(2 ** 20) }]);

/** Follows the tables as a guest does (ACPI 6.5 §5.2.4 to §5.2.9), and answers the signatures it comes by. */
function walk(memory: GuestMemory, rsdp: number): string[] {
  const found = memory.slice(rsdp, 36);
  expect(text(found.subarray(0, 8))).toBe('RSD PTR ');
  expect(found[15]).toBe(2);
  expect([sum(found.subarray(0, 20)), sum(found)]).toEqual([0, 0]);
  const read = (address: number): Uint8Array => {
    const bytes = memory.slice(address, memory.readUint32(address + 4));
    expect(sum(bytes)).toBe(0);
    return bytes;
  };
  const xsdt = read(memory.readUint64(rsdp + 24));
  expect(text(xsdt.subarray(0, 4))).toBe('XSDT');
  const signatures = [];
  for (let at = 36; at < xsdt.length; at += 8) {
    const bytes = read(Number(view(xsdt).getBigUint64(at, true)));
    signatures.push(text(bytes.subarray(0, 4)));
    if (signatures.at(-1) !== 'FACP') continue;
    expect(view(bytes).getUint32(40, true)).toBe(Number(view(bytes).getBigUint64(140, true)));
    signatures.push(text(read(view(bytes).getUint32(40, true)).subarray(0, 4)));
  }
  return signatures;
}

describe('writeAcpiTables', () => {
  it('writes tables that a guest finds from the RSDP on, each summing up to 0', () => {
    const memory = firmwareMemory();
    const rsdp = writeAcpiTables(memory, FULL_MACHINE);
    expect(rsdp).toBe(0xe0000);
    expect(walk(memory, rsdp)).toEqual(['FACP', 'DSDT', 'APIC', 'MCFG']);
  });

  it('leaves MCFG out where there is no PCI', () => {
    const memory = firmwareMemory();
    expect(walk(memory, writeAcpiTables(memory, { vcpus: 1 }))).toEqual(['FACP', 'DSDT', 'APIC']);
  });

  it('touches nothing but its range', () => {
    const memory = firmwareMemory();
    memory.fill(0, 2 ** 20, 0xa5);
    writeAcpiTables(memory, FULL_MACHINE);
    const before = new Uint8Array(ACPI_TABLES.guestAddress).fill(0xa5);
    expect(same(memory.slice(0, ACPI_TABLES.guestAddress), before)).toBe(true);
  });
});

describe('buildAcpiTables', () => {
  it('places tables at 16-byte boundaries without overlap in their range', () => {
    fc.assert(
      fc.property(machines(500), (config) => {
        const { rsdp, tables } = buildAcpiTables(config);
        expect(tables[0]?.guestAddress).toBe(rsdp);
        let end = ACPI_TABLES.guestAddress;
        for (const { guestAddress, bytes } of tables) {
          expect(guestAddress % 16).toBe(0);
          expect(guestAddress).toBeGreaterThanOrEqual(end);
          end = guestAddress + bytes.length;
        }
        expect(end).toBeLessThanOrEqual(0xffff0);
      }),
      { numRuns: 50 },
    );
  });

  it('FADT describes a hardware-reduced platform (ACPI 6.5 §5.2.9)', () => {
    const fadt = view(table(build(), 'FACP'));
    expect([fadt.byteLength, fadt.getUint8(8), fadt.getUint8(131)]).toEqual([276, 6, 5]);
    const flags = fadt.getUint32(112, true);
    // HW_REDUCED_ACPI, RESET_REG_SUP, no fixed power and sleep button.
    for (const bit of [20, 10, 4, 5]) expect((flags >> bit) & 1).toBe(1);
    // No FACS, SCI, SMI command port, PM1, PM2, PM timer or GPE block.
    for (const offset of [36, 48, 56, 60, 64, 68, 72, 76, 80, 84])
      expect(fadt.getUint32(offset, true)).toBe(0);
    expect(fadt.getUint16(46, true)).toBe(0);
    for (let offset = 148; offset < 244; offset++) expect(fadt.getUint8(offset)).toBe(0);
  });

  it.each([
    ['RESET_REG', 116, 0x602],
    ['SLEEP_CONTROL_REG', 244, 0x600],
    ['SLEEP_STATUS_REG', 256, 0x601],
  ])('%s is a byte at an I/O port (ACPI 6.5 §5.2.3.2)', (_, offset, port) => {
    const fadt = table(build(), 'FACP');
    const address = [1, 8, 0, 1, port & 0xff, port >> 8, 0, 0, 0, 0, 0, 0];
    expect([...fadt.subarray(offset, offset + 12)]).toEqual(address);
    expect(fadt[128]).toBe(1);
  });

  it.each<[string, Partial<AcpiConfig>, number, number]>([
    ['serial port and clock', {}, 0b000101, 0x32],
    ['no clock', { rtc: undefined }, 0b100101, 0],
    ['neither', { rtc: undefined, uart: undefined }, 0b100100, 0],
  ])(
    'IAPC_BOOT_ARCH with %s: no 8042, no VGA, MSI, and only then a CMOS clock (ACPI 6.5 table 5.11)',
    (_, changes, boot, century) => {
      const fadt = view(table(build(changes), 'FACP'));
      expect(fadt.getUint16(109, true)).toBe(boot);
      expect(fadt.getUint8(108)).toBe(century);
    },
  );

  /** Interrupt controller structures of the MADT (ACPI 6.5 §5.2.12). */
  function interruptControllers(vcpus: number): number[][] {
    const madt = table(build({ vcpus }), 'APIC');
    expect(view(madt).getUint32(36, true)).toBe(0xfee0_0000);
    const structures = [];
    for (let at = 44; at < madt.length; at += madt[at + 1]!) {
      structures.push([...madt.subarray(at, at + madt[at + 1]!)]);
    }
    return structures;
  }

  it('MADT has a local APIC for each vCPU, an I/O APIC and the NMI', () => {
    expect(interruptControllers(2)).toEqual([
      [0, 8, 0, 0, 1, 0, 0, 0],
      [0, 8, 1, 1, 1, 0, 0, 0],
      [1, 12, 0, 0, 0x00, 0x00, 0xc0, 0xfe, 0, 0, 0, 0],
      [4, 6, 0xff, 0, 0, 1],
    ]);
  });

  it('MADT names processors from 255 on by their x2APIC, since 255 is everybody (ACPI 6.5 §5.2.12.12)', () => {
    const structures = interruptControllers(257);
    expect(structures.filter(([type]) => type === 0)).toHaveLength(255);
    expect(structures.slice(255, 257)).toEqual([
      [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0],
      [9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0],
    ]);
    expect(structures.at(-1)).toEqual([0xa, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    expect(interruptControllers(255).some(([type]) => type === 9 || type === 0xa)).toBe(false);
  });

  it('MCFG says where configuration space is and how many buses it has', () => {
    const ecam = { guestAddress: 0xe000_0000, size: 64 * 2 ** 20 };
    const mcfg = table(build({ pci: { ...FULL_MACHINE.pci!, ecam } }), 'MCFG');
    expect([...mcfg.subarray(36)]).toEqual([
      ...[0, 0, 0, 0, 0, 0, 0, 0],
      ...[0, 0, 0, 0xe0, 0, 0, 0, 0],
      ...[0, 0, 0, 63, 0, 0, 0, 0],
    ]);
  });

  const PCI: AcpiPciConfig = FULL_MACHINE.pci!;
  const at = (address: number, gsi: number): Partial<AcpiConfig> => ({ virtioMmio: [{ address, gsi }] });
  it.each<[string, Partial<AcpiConfig>]>([
    ['no vCPU', { vcpus: 0 }],
    ['half a vCPU', { vcpus: 1.5 }],
    ['4097 vCPUs', { vcpus: 4097 }],
    ['more vCPUs than there is room for', { vcpus: 4096 }],
    ['an interrupt that the I/O APIC does not have', at(0xd000_0000, 24)],
    ['a negative interrupt', at(0xd000_0000, -1)],
    ['an interrupt that is no integer', { uart: { port: 0x3f8, gsi: NaN } }],
    ['an interrupt for two devices', at(0xd000_0000, 4)],
    ['an interrupt for clock and power button', { powerButton: { gsi: 8 } }],
    ['a device that is not on a page', at(0xd000_0800, 5)],
    ['a device above 4 GiB', at(2 ** 32, 5)],
    ['a device at a negative address', at(-4096, 5)],
    ['a device over the I/O APIC', at(0xfec0_0000, 5)],
    ['a device over the local APICs', at(0xfee0_0000, 5)],
    ['a device in the PCI window', at(0xc000_0000, 5)],
    [
      'two devices at one address',
      {
        virtioMmio: [
          { address: 0xd000_0000, gsi: 5 },
          { address: 0xd000_0000, gsi: 6 },
        ],
      },
    ],
    ['a serial port beyond the ports', { uart: { port: 0xfffc, gsi: 4 } }],
    ['a serial port over the ACPI registers', { uart: { port: 0x5f9, gsi: 4 } }],
    ['a clock over the serial port', { rtc: { port: 0x3ff } }],
    ['PCI ports over the serial port', { pci: { ...PCI, io: { port: 0, size: 0x400 } } }],
    ['PCI without a bus', { pci: { ...PCI, ecam: { guestAddress: 0xe000_0000, size: 0 } } }],
    ['PCI with half a bus', { pci: { ...PCI, ecam: { guestAddress: 0xe000_0000, size: 2 ** 19 } } }],
    ['PCI with 257 buses', { pci: { ...PCI, ecam: { guestAddress: 0xe000_0000, size: 257 * 2 ** 20 } } }],
    [
      'PCI configuration space above 4 GiB',
      { pci: { ...PCI, ecam: { guestAddress: 2 ** 32, size: 2 ** 20 } } },
    ],
    [
      'a 32-bit PCI window beyond 4 GiB',
      { pci: { ...PCI, memory: { guestAddress: 0xffff_0000, size: 2 ** 17 } } },
    ],
    [
      'a 64-bit PCI window below 4 GiB',
      { pci: { ...PCI, memory64: { guestAddress: 2 ** 29, size: 2 ** 20 } } },
    ],
    ['an interrupt of PCI for a device with edges', { pci: { ...PCI, gsis: [16, 17, 18, 5] } }],
    ['an interrupt of PCI that the I/O APIC does not have', { pci: { ...PCI, gsis: [16, 17, 18, 24] } }],
    ['PCI ports over the configuration ports', { pci: { ...PCI, io: { port: 0xc00, size: 0x100 } } }],
    ['PCI windows that overlap', { pci: { ...PCI, memory: PCI.ecam } }],
  ])('refuses %s', async (_, changes) => {
    expect(await codeOf(() => build(changes))).toBe('INVALID_ARGUMENT');
  });
});
