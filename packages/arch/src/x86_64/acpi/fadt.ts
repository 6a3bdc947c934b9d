import {
  ACPI_RESET_PORT,
  ACPI_RESET_VALUE,
  ACPI_SLEEP_CONTROL_PORT,
  ACPI_SLEEP_STATUS_PORT,
} from '../layout.ts';
import { littleEndian } from './aml.ts';
import { SDT_HEADER_SIZE, buildSdt } from './sdt.ts';

/** Bytes of the FADT of ACPI 6.0 and later (ACPI 6.5 §5.2.9). */
export const FADT_SIZE = 276;

const FADT_MAJOR_VERSION = 6;
const FADT_MINOR_VERSION = 5;

/** Offsets in the table (ACPI 6.5 table 5.9). */
const DSDT = 40;
const CENTURY = 108;
const IAPC_BOOT_ARCH = 109;
const FLAGS = 112;
const RESET_REG = 116;
const RESET_VALUE = 128;
const MINOR_VERSION = 131;
const X_DSDT = 140;
const SLEEP_CONTROL_REG = 244;
const SLEEP_STATUS_REG = 256;

/** Fixed feature flags (ACPI 6.5 table 5.10). */
const WBINVD = 1 << 0;
const PROC_C1 = 1 << 2;
/** There is no fixed-feature power button, sleep button, wake-up by the RTC. */
const PWR_BUTTON = 1 << 4;
const SLP_BUTTON = 1 << 5;
const FIX_RTC = 1 << 6;
const RESET_REG_SUP = 1 << 10;
const HW_REDUCED_ACPI = 1 << 20;

/**
 * IA-PC boot architecture flags (ACPI 6.5 table 5.11). The bits for an 8042 and for a PCI bus without MSI stay clear: the
 * keyboard controller of these machines is there for its reset pulse only, and drivers would look for keyboards.
 */
const LEGACY_DEVICES = 1 << 0;
const VGA_NOT_PRESENT = 1 << 2;
const CMOS_RTC_NOT_PRESENT = 1 << 5;

/** Where PC firmware keeps the century in CMOS RAM. */
const CMOS_CENTURY = 0x32;

/** Generic address structure of a register of one byte at an I/O port (ACPI 6.5 §5.2.3.2). */
function bytePort(port: number): Uint8Array {
  const SYSTEM_IO = 1;
  const BYTE_ACCESS = 1;
  return Uint8Array.of(SYSTEM_IO, 8, 0, BYTE_ACCESS, ...littleEndian(port, 8));
}

/**
 * FADT of a hardware-reduced platform (ACPI 6.5 §4.1, §5.2.9): no SCI, no FACS, no PM timer; power goes through the
 * sleep and reset registers.
 *
 * @param config `dsdt`: guest physical address of the DSDT; `isaDevices`: there is a serial port or a clock at ISA's
 *   ports; `rtc`: there is a CMOS clock
 */
export function buildFadt(config: {
  readonly dsdt: number;
  readonly isaDevices: boolean;
  readonly rtc: boolean;
}): Uint8Array {
  const fields = new Uint8Array(FADT_SIZE - SDT_HEADER_SIZE);
  const put = (offset: number, bytes: Uint8Array): void => fields.set(bytes, offset - SDT_HEADER_SIZE);
  // Both, and the same: systems that know ACPI 1.0 only read the first.
  put(DSDT, littleEndian(config.dsdt, 4));
  put(X_DSDT, littleEndian(config.dsdt, 8));
  put(CENTURY, Uint8Array.of(config.rtc ? CMOS_CENTURY : 0));
  const boot =
    VGA_NOT_PRESENT | (config.isaDevices ? LEGACY_DEVICES : 0) | (config.rtc ? 0 : CMOS_RTC_NOT_PRESENT);
  put(IAPC_BOOT_ARCH, littleEndian(boot, 2));
  const flags = WBINVD | PROC_C1 | PWR_BUTTON | SLP_BUTTON | FIX_RTC | RESET_REG_SUP | HW_REDUCED_ACPI;
  put(FLAGS, littleEndian(flags, 4));
  put(RESET_REG, bytePort(ACPI_RESET_PORT));
  put(RESET_VALUE, Uint8Array.of(ACPI_RESET_VALUE));
  put(MINOR_VERSION, Uint8Array.of(FADT_MINOR_VERSION));
  put(SLEEP_CONTROL_REG, bytePort(ACPI_SLEEP_CONTROL_PORT));
  put(SLEEP_STATUS_REG, bytePort(ACPI_SLEEP_STATUS_PORT));
  return buildSdt('FACP', FADT_MAJOR_VERSION, fields);
}
