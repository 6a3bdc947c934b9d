import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../../errors.ts';
import { ACPI_TABLES } from '../layout.ts';
import { RESET_VECTOR } from '../reset-vector.ts';
import { PCI_BUS_CONFIG_SIZE, checkAcpiConfig } from './config.ts';
import type { AcpiConfig } from './config.ts';
import { buildDsdt } from './dsdt.ts';
import { buildFadt } from './fadt.ts';
import { buildMadt } from './madt.ts';
import { buildMcfg } from './mcfg.ts';
import { RSDP_SIZE, buildRsdp, buildXsdt } from './sdt.ts';

/** Tables start at multiples of this; for the RSDP it is the rule (ACPI 6.5 §5.2.5.1). */
const ALIGNMENT = 16;

/** A table and where it goes. */
export interface AcpiTable {
  /** `RSDP`, or the table's own signature. */
  readonly signature: string;
  readonly guestAddress: number;
  readonly bytes: Uint8Array;
}

/** Tables that refer to each other. */
export interface AcpiTables {
  /** Guest physical address of the RSDP: the first 16-byte boundary that a guest looks at. */
  readonly rsdp: number;
  /** In order of address; the first is the RSDP. */
  readonly tables: readonly AcpiTable[];
}

/**
 * The ACPI tables of a machine: RSDP, DSDT, FADT, MADT, MCFG where there is PCI, and XSDT, from the start of
 * {@link ACPI_TABLES} to the {@link RESET_VECTOR} at most.
 *
 * @throws ArchError `INVALID_ARGUMENT` for a machine that cannot be, or whose tables do not fit
 */
export function buildAcpiTables(config: AcpiConfig): AcpiTables {
  checkAcpiConfig(config);
  const rsdp = ACPI_TABLES.guestAddress;
  let end = rsdp + RSDP_SIZE;
  const tables: AcpiTable[] = [];
  const place = (signature: string, bytes: Uint8Array): number => {
    const guestAddress = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = guestAddress + bytes.length;
    tables.push({ signature, guestAddress, bytes });
    return guestAddress;
  };
  const dsdt = place('DSDT', buildDsdt(config));
  const isaDevices = config.uart !== undefined || config.rtc !== undefined;
  const described = [
    place('FACP', buildFadt({ dsdt, isaDevices, rtc: config.rtc !== undefined })),
    place('APIC', buildMadt(config.vcpus)),
    ...(config.pci === undefined ? [] : [place('MCFG', mcfg(config.pci))]),
  ];
  const xsdt = place('XSDT', buildXsdt(described));
  if (end > RESET_VECTOR) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `ACPI tables of ${end - rsdp} bytes: there is room for ${RESET_VECTOR - rsdp}`,
    );
  }
  return { rsdp, tables: [{ signature: 'RSDP', guestAddress: rsdp, bytes: buildRsdp(xsdt) }, ...tables] };
}

function mcfg({ ecam }: NonNullable<AcpiConfig['pci']>): Uint8Array {
  const buses = ecam.size / PCI_BUS_CONFIG_SIZE;
  return buildMcfg([{ segment: 0, address: ecam.guestAddress, firstBus: 0, lastBus: buses - 1 }]);
}

/**
 * Writes the tables into guest memory.
 *
 * @returns guest physical address of the RSDP, for the kernel's boot parameters
 * @throws ArchError as {@link buildAcpiTables}; VmMemoryError where guest memory has no room at {@link ACPI_TABLES}
 */
export function writeAcpiTables(memory: GuestMemory, config: AcpiConfig): number {
  const { rsdp, tables } = buildAcpiTables(config);
  for (const { guestAddress, bytes } of tables) memory.write(guestAddress, bytes);
  return rsdp;
}
