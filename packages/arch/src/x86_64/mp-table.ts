import type { GuestMemory } from '@vmm/vm-memory';
import { ArchError } from '../errors.ts';
import { concat, littleEndian } from './acpi/aml.ts';
import { checksum } from './acpi/sdt.ts';
import { IO_APIC, IO_APIC_INPUTS, LOCAL_APIC, MP_TABLE, PIT_GSI } from './layout.ts';

/** Version 1.4 (MP 1.4 §4.1). */
const SPEC_REV = 4;

/** Entry types of the base table (MP 1.4 §4.3). */
const PROCESSOR = 0;
const BUS = 1;
const IO_APIC_ENTRY = 2;
const IO_INTERRUPT = 3;
const LOCAL_INTERRUPT = 4;

/** Interrupt types (MP 1.4 table 4-11). */
const INT = 0;
const NMI = 1;
const EXT_INT = 3;

/** CPU flags: enabled, boot processor (MP 1.4 §4.3.1). */
const CPU_EN = 1;
const CPU_BP = 2;
/** Version registers of an integrated local APIC and of an 82093AA I/O APIC. */
const LOCAL_APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x11;
/** I/O APIC flag: usable (MP 1.4 §4.3.3). */
const IO_APIC_EN = 1;
/** Polarity and trigger as the bus has them: for ISA active high and edge (MP 1.4 table 4-10). */
const CONFORMS = 0;
const ALL_LOCAL_APICS = 0xff;
const ISA_BUS_ID = 0;
/** Feature flags: CPUID.1:EDX bits FPU and APIC; kernels ask CPUID itself. */
const FEATURE_FPU = 1 << 0;
const FEATURE_APIC = 1 << 9;

const FLOATING_POINTER_SIZE = 16;
const HEADER_SIZE = 44;
const PROCESSOR_SIZE = 20;
const ENTRY_SIZE = 8;
/** The bus, the I/O APIC and two local interrupts, beside the interrupts of {@link ioInterrupts}. */
const OTHER_ENTRIES = 4;
/** Most vCPUs whose table fits the last KiB of base memory. */
export const MAX_MP_TABLE_VCPUS: number = Math.floor(
  (MP_TABLE.size - FLOATING_POINTER_SIZE - HEADER_SIZE - ENTRY_SIZE * (OTHER_ENTRIES + IO_APIC_INPUTS - 1)) /
    PROCESSOR_SIZE,
);

/** The MP floating pointer structure with the configuration table behind it. */
export interface MpTable {
  readonly guestAddress: number;
  readonly bytes: Uint8Array;
}

/**
 * Floating pointer structure and MP configuration table (Intel MultiProcessor Specification 1.4 §4) for kernels that do
 * without ACPI: processors, whose local APIC identifiers are their numbers; one bus, ISA; one I/O APIC; and local
 * interrupts. An ISA interrupt goes to the input of its number, the timer's (0) to input {@link PIT_GSI}. Numbers 16…23,
 * which no ISA bus has, name the remaining inputs, so that `virtio_mmio.device=` can ask for them.
 *
 * @param vcpus 1…{@link MAX_MP_TABLE_VCPUS}
 * @throws ArchError `INVALID_ARGUMENT`
 */
export function buildMpTable(vcpus: number): MpTable {
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_MP_TABLE_VCPUS) {
    throw new ArchError(
      'INVALID_ARGUMENT',
      `an MP table of ${vcpus} vCPUs: 1 to ${MAX_MP_TABLE_VCPUS} are possible`,
    );
  }
  // The identifiers of all APICs share one space here, unlike in ACPI (MP 1.4 §4.3.3).
  const ioApicId = vcpus;
  const entries = [
    ...Array.from({ length: vcpus }, (_, id) => processor(id)),
    concat([BUS, ISA_BUS_ID], ascii('ISA', 6)),
    concat([IO_APIC_ENTRY, ioApicId, IO_APIC_VERSION, IO_APIC_EN], littleEndian(IO_APIC.guestAddress, 4)),
    ...ioInterrupts(ioApicId),
    interruptEntry(LOCAL_INTERRUPT, EXT_INT, 0, 0, 0),
    interruptEntry(LOCAL_INTERRUPT, NMI, 0, ALL_LOCAL_APICS, 1),
  ];
  const guestAddress = MP_TABLE.guestAddress;
  const pointer = floatingPointer(guestAddress + FLOATING_POINTER_SIZE);
  return { guestAddress, bytes: concat(pointer, configurationTable(entries)) };
}

/**
 * Writes {@link buildMpTable} into guest memory, at the start of the last KiB of base memory.
 *
 * @throws ArchError `INVALID_ARGUMENT`; VmMemoryError where guest memory has no room there
 */
export function writeMpTable(memory: GuestMemory, vcpus: number): void {
  const { guestAddress, bytes } = buildMpTable(vcpus);
  memory.write(guestAddress, bytes);
}

function ascii(value: string, width: number): number[] {
  return Array.from(value.padEnd(width, ' '), (char) => char.charCodeAt(0));
}

/** MP 1.4 §4.1. Feature byte 2: no IMCR, so the machine starts in virtual wire mode. */
function floatingPointer(configurationTableAddress: number): Uint8Array {
  const bytes = concat(ascii('_MP_', 4), littleEndian(configurationTableAddress, 4), [
    FLOATING_POINTER_SIZE / 16,
    SPEC_REV,
    0,
    0,
    0,
    0,
    0,
    0,
  ]);
  bytes[10] = checksum(bytes);
  return bytes;
}

/** MP 1.4 §4.2: no OEM table, no extended entries. */
function configurationTable(entries: readonly Uint8Array[]): Uint8Array {
  const body = concat(...entries);
  const bytes = concat(
    ascii('PCMP', 4),
    littleEndian(HEADER_SIZE + body.length, 2),
    [SPEC_REV, 0],
    ascii('VMM', 8),
    ascii('VMMTS', 12),
    littleEndian(0, 4),
    littleEndian(0, 2),
    littleEndian(entries.length, 2),
    littleEndian(LOCAL_APIC.guestAddress, 4),
    littleEndian(0, 4),
    body,
  );
  bytes[7] = checksum(bytes);
  return bytes;
}

function processor(id: number): Uint8Array {
  return concat(
    [PROCESSOR, id, LOCAL_APIC_VERSION, CPU_EN | (id === 0 ? CPU_BP : 0)],
    littleEndian(0, 4),
    littleEndian(FEATURE_FPU | FEATURE_APIC, 4),
    littleEndian(0, 8),
  );
}

/** Input 2 takes the timer, as ISA IRQ 2 is the second 8259's cascade. */
function ioInterrupts(ioApicId: number): Uint8Array[] {
  const irqs = Array.from({ length: IO_APIC_INPUTS }, (_, irq) => irq).filter((irq) => irq !== PIT_GSI);
  return irqs.map((irq) => interruptEntry(IO_INTERRUPT, INT, irq, ioApicId, irq === 0 ? PIT_GSI : irq));
}

/** I/O and local interrupt assignments have the same form (MP 1.4 §4.3.4, §4.3.5). */
function interruptEntry(type: number, kind: number, irq: number, apic: number, input: number): Uint8Array {
  return concat([type, kind], littleEndian(CONFORMS, 2), [ISA_BUS_ID, irq, apic, input]);
}
