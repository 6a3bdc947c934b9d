import { ArchError } from '../../errors.ts';
import { concat, littleEndian } from './aml.ts';

/** Bytes of the header of every table but the RSDP (DESCRIPTION_HEADER, ACPI 6.5 §5.2.6). */
export const SDT_HEADER_SIZE = 36;
/** Bytes of the RSDP of revision 2 (ACPI 6.5 §5.2.5.3). */
export const RSDP_SIZE = 36;

const OEM_ID = 'VMM';
const OEM_TABLE_ID = 'VMMTS';
const OEM_REVISION = 1;
const CREATOR_ID = 'VMMT';
const CREATOR_REVISION = 1;

/** Characters of a fixed-width field, blanks behind them. */
function text(value: string, width: number): number[] {
  return Array.from(value.padEnd(width, ' '), (char) => char.charCodeAt(0));
}

/** What makes the sum of all bytes 0 modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

/**
 * A system description table: header, content, checksum (ACPI 6.5 §5.2.6).
 *
 * @param signature four characters
 */
export function buildSdt(signature: string, revision: number, ...content: readonly Uint8Array[]): Uint8Array {
  if (!/^[A-Z0-9]{4}$/.test(signature)) {
    throw new ArchError('INVALID_ARGUMENT', `"${signature}" is no signature of an ACPI table`);
  }
  const length = SDT_HEADER_SIZE + content.reduce((sum, part) => sum + part.length, 0);
  const table = concat(
    text(signature, 4),
    littleEndian(length, 4),
    [revision, 0],
    text(OEM_ID, 6),
    text(OEM_TABLE_ID, 8),
    littleEndian(OEM_REVISION, 4),
    text(CREATOR_ID, 4),
    littleEndian(CREATOR_REVISION, 4),
    ...content,
  );
  table[9] = checksum(table);
  return table;
}

/** XSDT: the guest physical addresses of the other tables (ACPI 6.5 §5.2.8). */
export function buildXsdt(tables: readonly number[]): Uint8Array {
  return buildSdt('XSDT', 1, ...tables.map((address) => littleEndian(address, 8)));
}

/** RSDP of revision 2, without an RSDT (ACPI 6.5 §5.2.5.3). */
export function buildRsdp(xsdt: number): Uint8Array {
  const rsdp = concat(
    text('RSD PTR ', 8),
    [0],
    text(OEM_ID, 6),
    [2],
    littleEndian(0, 4),
    littleEndian(RSDP_SIZE, 4),
    littleEndian(xsdt, 8),
    [0, 0, 0, 0],
  );
  // The first checksum is of the 20 bytes that ACPI 1.0 had, the second of everything.
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  return rsdp;
}
