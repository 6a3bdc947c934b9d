import { IO_APIC, IO_APIC_ID, LOCAL_APIC } from '../layout.ts';
import { concat, littleEndian } from './aml.ts';
import { buildSdt } from './sdt.ts';

/** Types of interrupt controller structures (ACPI 6.5 table 5.21). */
const PROCESSOR_LOCAL_APIC = 0;
const IO_APIC_STRUCTURE = 1;
const LOCAL_APIC_NMI = 4;
const PROCESSOR_LOCAL_X2APIC = 9;
const LOCAL_X2APIC_NMI = 0xa;

const MADT_REVISION = 5;
/** Local APIC flags: Enabled (ACPI 6.5 table 5.23). */
const ENABLED = 1;
/** Identifiers from here on are those of x2APICs: 255 addresses all local APICs. */
const FIRST_X2APIC_ID = 255;
/** Processor UIDs that stand for all processors. */
const ALL_PROCESSORS = 0xff;
const ALL_X2APIC_PROCESSORS = 0xffff_ffff;
/** MPS INTI flags: as the bus has it (ACPI 6.5 table 5.26). */
const CONFORMS = 0;
const LINT1 = 1;

/**
 * MADT (ACPI 6.5 §5.2.12): a local APIC for each vCPU, whose identifier and processor UID are the vCPU's number; one I/O
 * APIC for global system interrupts from 0 on; NMIs at LINT1. No ISA interrupt is overridden: what the DSDT describes is
 * named by global system interrupts, and no 8259 is announced (PCAT_COMPAT), since a hardware-reduced platform uses none.
 */
export function buildMadt(vcpus: number): Uint8Array {
  const ids = Array.from({ length: vcpus }, (_, id) => id);
  return buildSdt(
    'APIC',
    MADT_REVISION,
    littleEndian(LOCAL_APIC.guestAddress, 4),
    littleEndian(0, 4),
    ...ids.map(localApic),
    Uint8Array.of(IO_APIC_STRUCTURE, 12, IO_APIC_ID, 0, ...littleEndian(IO_APIC.guestAddress, 4), 0, 0, 0, 0),
    Uint8Array.of(LOCAL_APIC_NMI, 6, ALL_PROCESSORS, CONFORMS, 0, LINT1),
    ...(vcpus > FIRST_X2APIC_ID ? [x2ApicNmi()] : []),
  );
}

function localApic(id: number): Uint8Array {
  if (id < FIRST_X2APIC_ID) {
    return Uint8Array.of(PROCESSOR_LOCAL_APIC, 8, id, id, ...littleEndian(ENABLED, 4));
  }
  return concat(
    [PROCESSOR_LOCAL_X2APIC, 16, 0, 0],
    littleEndian(id, 4),
    littleEndian(ENABLED, 4),
    littleEndian(id, 4),
  );
}

function x2ApicNmi(): Uint8Array {
  return concat([LOCAL_X2APIC_NMI, 12, CONFORMS, 0], littleEndian(ALL_X2APIC_PROCESSORS, 4), [
    LINT1,
    0,
    0,
    0,
  ]);
}
